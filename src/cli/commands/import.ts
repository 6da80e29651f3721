import { Command } from 'commander';
import {
  IMPORT_OPTIONS,
  type ImportName,
  type ImportResult,
  importTraffic,
} from '../../app/import/import.ts';
import { systemClock } from '../../core/clock.ts';
import { type Asked, type OptionShape, toggle } from '../../core/options.ts';
import { formatBytes, formatInstantUs } from '../../core/units.ts';
import { IMPORT_FORMATS } from '../../formats/index.ts';
import { addOptions, askedOf, optionsOf } from '../options.ts';
import { interruptible } from '../signals.ts';
import { terminal } from '../terminal.ts';

/** Numeric times before this surely count from the start of the trace, not from 1970. */
const PLAUSIBLE_US = Date.UTC(2000, 0) * 1000;
/** Skipped files that are named at most. */
const SKIPPED_SHOWN = 5;
const IMPORT_SCHEMA_VERSION = 1;

export function importCommand(): Command {
  const command = new Command('import').description("Build a capture from another tool's files.");
  for (const name of Object.keys(IMPORT_FORMATS) as ImportName[]) command.addCommand(formatCommand(name));
  return command;
}

function formatCommand(name: ImportName): Command {
  const { summary, description, files } = IMPORT_FORMATS[name];
  const options = { ...IMPORT_OPTIONS[name], json: toggle('--json', 'print one JSON document') };
  return addOptions(new Command(name), options)
    .summary(`${summary}, plain, gzip or zlib`)
    .description(description ?? `Build a capture ${summary}, plain, gzip or zlib.`)
    .argument(...files)
    .action(async (given: string | string[] | undefined, _: object, command: Command) => {
      const { json, out } = optionsOf(command, options);
      await runImport(name, [given ?? []].flat(), { command, json, out });
    });
}

/** Runs an import until it ends or a signal stops it. */
async function runImport(
  name: ImportName,
  files: readonly string[],
  { command, json, out }: { readonly command: Command; readonly json: boolean; readonly out: string },
): Promise<void> {
  const asked = askedOf(command, IMPORT_OPTIONS[name]);
  const { rows: noun } = IMPORT_FORMATS[name];
  await interruptible(async ({ signal }) => {
    const result = await importTraffic(name, files, asked, {
      clock: systemClock,
      signal,
      onProgress: ({ rows }) => terminal.progress(`${count(rows)} ${noun} imported`),
      onListening: (address) => terminal.note(`reprise: taking events at ${address}`),
    });
    terminal.note(...notesOn(result, countsFromEpoch(asked)));
    if (json) terminal.json(documentOf(name, result));
    else terminal.print(...textOf(noun, result));
  }, out);
}

/** Whether times are numbers without a stated start. */
function countsFromEpoch({ stated, originOf }: Asked<OptionShape>): boolean {
  return (stated['unit'] ?? 'iso') !== 'iso' && originOf('origin') === null;
}

/** Notes on results that the user may not expect. */
function notesOn({ outOfOrder, firstArrivalUs, payloads }: ImportResult, fromEpoch: boolean): string[] {
  const notes: string[] = [];
  if (outOfOrder > 0) {
    notes.push(
      `note: ${count(outOfOrder)} rows arrive before the row above them; the capture is ordered by arrival`,
    );
  }
  if (fromEpoch && (firstArrivalUs ?? PLAUSIBLE_US) < PLAUSIBLE_US) {
    notes.push('note: the times count from 1970; set the start of the trace with --origin');
  }
  const skipped = payloads?.skippedFiles ?? [];
  if (skipped.length > 0) {
    const hidden = skipped.length - SKIPPED_SHOWN;
    const more = hidden > 0 ? ` and ${count(hidden)} more` : '';
    notes.push(`note: skipped, not a request: ${skipped.slice(0, SKIPPED_SHOWN).join(', ')}${more}`);
  }
  return notes;
}

function documentOf(format: ImportName, result: ImportResult): object {
  const { outOfOrder, missing, lacking, payloads } = result;
  return {
    schemaVersion: IMPORT_SCHEMA_VERSION,
    format,
    capture: result.capture,
    exchanges: result.rows,
    firstArrival: instantOf(result.firstArrivalUs),
    lastArrival: instantOf(result.lastArrivalUs),
    segments: result.segments,
    bytes: { disk: result.diskBytes },
    outOfOrder,
    missing,
    lacking,
    ...(IMPORT_FORMATS[format].rows === 'arrivals'
      ? { paired: !missing.includes('requests'), payloads, seed: payloads?.seed ?? null }
      : {}),
  };
}

function textOf(noun: string, result: ImportResult): string[] {
  const { payloads, missing, lacking } = result;
  return [
    `Imported ${count(result.rows)} ${noun} into ${result.capture}`,
    `  arrivals  ${instantOf(result.firstArrivalUs)} to ${instantOf(result.lastArrivalUs)}`,
    ...(payloads === null
      ? []
      : [
          `  requests  drawn from ${count(payloads.requests)} (${formatBytes(payloads.bytes)}), seed ${payloads.seed}`,
        ]),
    ...(missing.includes('requests')
      ? ['  requests  none: the capture can be profiled and planned (replay --dry-run), not replayed']
      : []),
    `  not in a file of this format: ${missing.join('; ')}`,
    ...Object.entries(lacking).map(([what, exchanges]) => `  ${count(exchanges)} with ${what}`),
    `  segments  ${count(result.segments)}, ${formatBytes(result.diskBytes)}`,
  ];
}

function instantOf(us: number | null): string | null {
  return us === null ? null : formatInstantUs(us);
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}
