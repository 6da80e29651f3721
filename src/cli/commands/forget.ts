import { Command } from 'commander';
import { FORGET_OPTIONS, forget } from '../../app/forget.ts';
import { toggle } from '../../core/options.ts';
import { formatBytes } from '../../core/units.ts';
import type { ForgetDocument, RemainReason } from '../../storage/capture/forget.ts';
import { EXIT } from '../exit.ts';
import { addOptions, optionsOf } from '../options.ts';
import { interruptible } from '../signals.ts';
import { terminal } from '../terminal.ts';

const OPTIONS = { ...FORGET_OPTIONS, json: toggle('--json', 'print one JSON document') };

const REMAINS: Readonly<Record<RemainReason, string>> = {
  expiring: 'is being deleted by retention; run this again to check that it is gone',
  open: 'is still being written; run this again after it is sealed',
  nobody_named:
    'was recorded without a session or client key (record --identify-session, --identify-client), so owners are unknown',
  other_hash_key: 'was hashed with another key; run this again with --hash-key-file',
  damaged: 'is damaged and was not changed; reprise verify shows details',
  set_aside: 'was set aside as damaged and is not read; delete it if it may hold this data',
};

/** `reprise forget DIR`: removes the exchanges of a session, a client or a time range from a capture. */
export function forgetCommand(): Command {
  return addOptions(new Command('forget'), OPTIONS)
    .description(
      'Remove the exchanges of a session, a client or a time range from a capture, with their bodies.',
    )
    .argument('<capture>', 'a capture')
    .action(async (directory: string, _: object, command: Command) => {
      const { json, ...options } = optionsOf(command, OPTIONS);
      await interruptible(async (interruption) => {
        const document = await forget(directory, options, {
          signal: interruption.signal,
          onSegment: (file) => terminal.progress(`rewriting ${file}`),
        });
        if (document !== null) tell(document, json);
        else {
          terminal.note('Interrupted. What is already removed stays removed; run this again for the rest.');
          process.exitCode = interruption.status ?? EXIT.unexpected;
        }
      });
    });
}

function tell(document: ForgetDocument, json: boolean): void {
  if (json) terminal.json(document);
  else terminal.print(...linesOf(document));
  if (!document.dryRun && document.exchanges > 0) {
    terminal.note('Copies elsewhere (shipped segments, backups, snapshots) still hold it.');
  }
  if (!document.complete) process.exitCode = EXIT.inconclusive;
}

function linesOf({ dryRun, exchanges, bytes, segments, remaining }: ForgetDocument): string[] {
  const amount = `${exchanges} exchanges (${formatBytes(bytes)} of bodies)`;
  return [
    `${dryRun ? 'would be forgotten' : 'forgotten'}: ${amount} in ${segments.length} segments`,
    ...segments.map((segment) => `  ${segment.file}: ${segment.exchanges} exchanges`),
    ...remaining.map(
      ({ file, why, exchanges: left }) =>
        `  ${file}${left === null ? '' : ` (${left} exchanges)`} ${REMAINS[why]}`,
    ),
  ];
}
