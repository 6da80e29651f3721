import { Command } from 'commander';
import { VERIFY_OPTIONS, verify } from '../../app/inspect.ts';
import { toggle } from '../../core/options.ts';
import { countOf } from '../../core/units.ts';
import type { VerifyDocument } from '../../storage/capture/verify.ts';
import { EXIT } from '../exit.ts';
import { addOptions, optionsOf } from '../options.ts';
import { terminal } from '../terminal.ts';

const OPTIONS = { ...VERIFY_OPTIONS, json: toggle('--json', 'print one JSON document') };

/** `reprise verify DIR`: whether the files of a capture are as they were written. */
export function verifyCommand(): Command {
  return addOptions(new Command('verify'), OPTIONS)
    .description('Read every byte of a capture and check it against its manifests and checksums.')
    .argument('<capture>', 'a capture')
    .action((directory: string, _: object, command: Command) => {
      const options = optionsOf(command, OPTIONS);
      const document = verify(directory, options, (file, index, count) =>
        terminal.progress(`${index + 1} of ${count}: ${file}`),
      );
      if (options.json) terminal.json(document);
      else terminal.print(...linesOf(document));
      if (!document.ok) process.exitCode = EXIT.fail;
    });
}

function linesOf(document: VerifyDocument): string[] {
  const { segments, problems, missing, expiring, leftovers } = document;
  const open = segments.filter(({ sealed }) => !sealed);
  const unread = segments.filter(({ decoded }) => !decoded);
  const blocks = segments.reduce((sum, segment) => sum + segment.blocks, 0);
  return [
    ...problems.map(({ file, kind, what }) => `${file}: ${kind}: ${what}`),
    ...open.map(({ file }) => `${file}: not sealed yet: only checksums are checked, there is no hash`),
    ...unread.map(({ file }) => `${file}: encrypted: checksums only (--encryption-key-file reads the rest)`),
    ...missing.map(
      ({ recorder, from, to }) =>
        `recorder ${recorder}: ${from === to ? `segment ${from} is` : `segments ${from} to ${to} are`} missing: moved or lost, the reason is not recorded here`,
    ),
    ...expiring.map((file) => `${file}: an expiry that is not recorded yet`),
    ...leftovers.map(
      (file) => `${file}: left by an interrupted forget; the next forget or recorder start removes it`,
    ),
    `${countOf(segments.length, 'segment')}, ${countOf(document.exchanges, 'exchange')}, ${countOf(blocks, 'block')}: ${verdictOf(document)}`,
  ];
}

function verdictOf({ problems, missing }: VerifyDocument): string {
  const gone = missing.reduce((sum, { from, to }) => sum + to - from + 1, 0);
  if (problems.length === 0) return `no damage found${gone > 0 ? ` in what is here, ${gone} missing` : ''}`;
  const files = new Set(problems.map(({ file }) => file)).size;
  return `${problems.length} problems in ${files} ${files === 1 ? 'file' : 'files'}`;
}
