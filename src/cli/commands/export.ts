import { Command } from 'commander';
import { planLines, planTitle } from '../../analysis/plan/view.ts';
import {
  EXPORT_OPTIONS,
  type Exported,
  exportCapture,
  exportTraffic,
  formatNamed,
} from '../../app/export.ts';
import { planFacts } from '../../app/replay/plan.ts';
import { AppError } from '../../core/errors.ts';
import { toggle } from '../../core/options.ts';
import { picked } from '../../core/picked.ts';
import { formatBytes, formatMs } from '../../core/units.ts';
import { EXPORT_FORMATS } from '../../formats/index.ts';
import { addOptions, askedOf, optionsOf } from '../options.ts';
import { interruptible } from '../signals.ts';
import { terminal } from '../terminal.ts';

const EXPORT_SCHEMA_VERSION = 1;
const MOST_NAMED = 4;
/** The one format that is not another tool's. */
const COPY = { name: 'capture', summary: 'a copy as one capture' };
const OPTIONS = { ...EXPORT_OPTIONS, json: toggle('--json', 'print one JSON document') };
const COMMON = [
  ...(['out', 'target', 'multiplier', 'window'] as const),
  ...(['maxRequests', 'slo', 'json'] as const),
];

export function exportCommand(): Command {
  return addOptions(new Command('export'), OPTIONS, COMMON)
    .description("Turn a capture, or a window of it at a multiple of its pace, into another tool's file.")
    .argument(
      '<format>',
      [...EXPORT_FORMATS, COPY].map(({ name, summary }) => `${name}: ${summary}`).join('; '),
    )
    .argument('<capture...>', 'directory of a capture')
    .action(async (format: string, directories: string[], _: object, command: Command) => {
      const [directory = '', ...more] = directories;
      if (format === COPY.name) {
        await copyCaptures(directories, command);
        return;
      }
      // First, because a mistyped format would be reported as a problem of its options.
      formatNamed(format);
      if (more.length === 0) await runExport(format, directory, command);
      else {
        throw new AppError(
          'OPTION_INVALID',
          `export ${format} takes one capture, not ${directories.length}`,
          {
            hint: 'Put them into one first: reprise export capture DIR... --out DIR.',
          },
        );
      }
    });
}

/** A copy has no window, no pace and no target. */
async function copyCaptures(directories: readonly string[], command: Command): Promise<void> {
  const { json, out } = optionsOf(command, OPTIONS);
  const taken = new Set(['out', 'json']);
  const other = Object.keys(OPTIONS).find(
    (name) => !taken.has(name) && command.getOptionValueSource(name) === 'cli',
  );
  if (other !== undefined) {
    throw new AppError(
      'OPTION_INVALID',
      'export capture copies all of a capture, and takes --out and --json alone',
      {
        hint: 'A window is chosen when the copy is replayed, profiled or exported.',
      },
    );
  }
  await interruptible(async ({ signal }) => {
    const onSegment = (file: string) => terminal.progress(file);
    const copied = await exportCapture(directories, out, { signal, onSegment });
    if (json) terminal.json(copied);
    else {
      const { segments, open, duplicates, bytes } = copied;
      terminal.print(
        `Copied ${count(segments)} segments of ${count(directories.length)} ${directories.length === 1 ? 'capture' : 'captures'} to ${out}, ${formatBytes(bytes)}`,
        ...(open === 0 ? [] : [`  ${count(open)} of them not sealed yet, with all that was committed`]),
        ...(duplicates === 0 ? [] : [`  ${count(duplicates)} were in several captures, copied once`]),
      );
    }
  }, out);
}

async function runExport(name: string, directory: string, command: Command): Promise<void> {
  const { json, out: asked } = optionsOf(command, OPTIONS);
  await interruptible(async ({ signal }) => {
    const result = await exportTraffic(name, directory, askedOf(command, OPTIONS), {
      signal,
      onPlan: (plan) => {
        const facts = planFacts(plan);
        if (!json) terminal.note(planTitle(facts), ...planLines(facts));
      },
      onProgress: (sends) => terminal.progress(`${sends.toLocaleString('en-US')} requests exported`),
    });
    if (json) terminal.json(documentOf(result));
    else terminal.print(...textOf(result));
  }, asked);
}

function documentOf({
  format,
  out,
  plan,
  cannotCarry,
  audit,
  filtered,
  spanNs,
  ...written
}: Exported): object {
  const { files, recorded, exported, lost, usage } = written;
  return {
    schemaVersion: EXPORT_SCHEMA_VERSION,
    kind: 'export',
    format: format.name,
    out,
    files,
    ...planFacts(plan),
    recorded,
    exported,
    durationS: spanNs / 1e9,
    skipped: { ...audit.skipped, filtered },
    ...picked(audit, 'unreplayableByReason', 'maskedHeaders', 'maskedQueryKeys'),
    cannotCarry,
    lost,
    usage,
  };
}

function textOf({ format, out, audit, ...result }: Exported): string[] {
  const what = format.holds === 'rows' ? 'rows' : 'requests';
  const left = Object.entries({
    ...audit.skipped,
    filtered: result.filtered,
    ...audit.unreplayableByReason,
  }).filter(([, count]) => count > 0);
  const size = result.files.reduce((sum, { bytes }) => sum + bytes, 0);
  const named = result.files.flatMap(({ name }) => (name === null ? [] : [name]));
  return [
    `Exported ${count(result.exported)} ${what} of ${count(result.recorded)} exchanges to ${out}`,
    `  ${format.name}${filesText(named)}, ${formatBytes(size)}, ${formatMs(result.spanNs / 1e6)}`,
    ...(left.length === 0
      ? []
      : [`  left out: ${left.map(([why, sends]) => `${why} ${count(sends)}`).join(', ')}`]),
    ...(audit.maskedRequests === 0 || format.holds === 'rows'
      ? []
      : [`  ${count(audit.maskedRequests)} requests lack masked credentials; set them in the tool`]),
    `${format.name} cannot carry`,
    ...result.cannotCarry.map((text) => `  ${text}`),
    ...(Object.keys(result.lost).length === 0 ? [] : ['In this export']),
    ...Object.entries(result.lost).map(([text, sends]) => `  ${count(sends)} with ${text}`),
    ...(result.usage.length === 0 ? [] : ['Use']),
    ...result.usage.map((line) => `  ${line.replace('FILE', () => out)}`),
  ];
}

/** A dataset may have thousands of files (one for each day and recorder). A long list is shown as a count. */
function filesText(names: readonly string[]): string {
  if (names.length === 0) return '';
  return names.length > MOST_NAMED ? ` (${count(names.length)} files)` : ` (${names.join(', ')})`;
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}
