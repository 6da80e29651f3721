import { Command } from 'commander';
import {
  IMPORT_OPTIONS,
  type ImportFormat,
  type ImportResult,
  importTraffic,
} from '../../app/import/import.ts';
import { systemClock } from '../../core/clock.ts';
import { type Asked, type OptionShape, toggle } from '../../core/options.ts';
import { formatBytes, formatInstantUs } from '../../core/units.ts';
import { addOptions, askedOf, optionsOf } from '../options.ts';
import { interruptible } from '../signals.ts';
import { terminal } from '../terminal.ts';

/** Numeric times before this surely count from the start of the trace, not from 1970. */
const PLAUSIBLE_US = Date.UTC(2000, 0) * 1000;
/** Skipped files that are named at most. */
const SKIPPED_SHOWN = 5;
const IMPORT_SCHEMA_VERSION = 1;

interface ImportTexts {
  readonly summary: string;
  readonly description?: string;
  readonly argument: string;
}

const TEXTS: Readonly<Record<ImportFormat, ImportTexts>> = {
  arrivals: {
    summary: 'from an arrival trace, CSV or JSONL',
    description:
      'Build a capture from an arrival trace, CSV or JSONL, plain or gzip. With --payloads, each arrival is paired ' +
      'with a request and the capture can be replayed. Without payloads, it can only be profiled and planned.',
    argument: 'the trace: CSV with a header line, or one JSON object per line',
  },
  har: { summary: 'from an HTTP archive (HAR) of a browser or proxy', argument: 'the archive' },
  gor: { summary: 'from a file of GoReplay, requests with their responses', argument: 'the file' },
  mooncake: {
    summary: 'from a Mooncake trace: payloads, or token counts alone',
    argument: 'the trace, JSONL',
  },
  kserve: {
    summary: "from CloudEvents of KServe's logger, JSONL or over HTTP",
    argument: 'the events, JSONL; none with --listen',
  },
  otlp: {
    summary: 'from OpenTelemetry traces of model calls, OTLP JSON',
    argument: "files of OTLP JSON, such as the collector's file exporter writes",
  },
};

/** Arguments of formats that do not take exactly one file. */
const ARGUMENTS: Readonly<Partial<Record<ImportFormat, string>>> = { kserve: '[file]', otlp: '<file...>' };

export function importCommand(): Command {
  const command = new Command('import').description("Build a capture from another tool's files.");
  for (const format of Object.keys(TEXTS) as ImportFormat[]) command.addCommand(formatCommand(format));
  return command;
}

function formatCommand(format: ImportFormat): Command {
  const { summary, description, argument } = TEXTS[format];
  const options = { ...IMPORT_OPTIONS[format], json: toggle('--json', 'print one JSON document') };
  return addOptions(new Command(format), options)
    .summary(`${summary}, plain or gzip`)
    .description(description ?? `Build a capture ${summary}, plain or gzip.`)
    .argument(ARGUMENTS[format] ?? '<file>', argument)
    .action(async (files: string | string[] | undefined, _: object, command: Command) => {
      const { json, out } = optionsOf(command, options);
      await runImport(format, [files ?? []].flat(), { command, json, out });
    });
}

/** Runs an import until it ends or a signal stops it. */
async function runImport(
  format: ImportFormat,
  files: readonly string[],
  { command, json, out }: { readonly command: Command; readonly json: boolean; readonly out: string },
): Promise<void> {
  const asked = askedOf(command, IMPORT_OPTIONS[format]);
  const noun = format === 'arrivals' ? 'arrivals' : 'exchanges';
  await interruptible(async ({ signal }) => {
    const result = await importTraffic(format, files, asked, {
      clock: systemClock,
      signal,
      onProgress: ({ rows }) => terminal.progress(`${count(rows)} ${noun} imported`),
      onListening: (address) => terminal.note(`reprise: taking events at ${address}`),
    });
    terminal.note(...notesOn(result, countsFromEpoch(asked)));
    if (json) terminal.json(documentOf(format, result));
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

function documentOf(format: ImportFormat, result: ImportResult): object {
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
    ...(format === 'arrivals' ? { paired: payloads !== null, payloads, seed: payloads?.seed ?? null } : {}),
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
