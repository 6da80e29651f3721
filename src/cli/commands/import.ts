import { Command } from 'commander';
import {
  ARRIVALS_OPTIONS,
  EXCHANGES_OPTIONS,
  type ImportResult,
  importCapture,
  MOONCAKE_OPTIONS,
} from '../../app/import.ts';
import { encryptionKeyOf } from '../../app/open-capture.ts';
import { systemClock } from '../../core/clock.ts';
import { type ResolvedOptions, type StatedTexts, toggle, withoutNulls } from '../../core/options.ts';
import { formatBytes, formatInstantUs } from '../../core/units.ts';
import { type ImportOptions, openArrivals, parseImportOptions } from '../../formats/arrival-trace.ts';
import type { ImportBodies, OpenImport } from '../../formats/import-source.ts';
import { IMPORT_FORMATS } from '../../formats/index.ts';
import { parseMooncakeReading } from '../../formats/mooncake.ts';
import type { PayloadPool } from '../../formats/payloads.ts';
import { addOptions } from '../flags.ts';
import { optionsOf } from '../options.ts';
import { Interruption } from '../signals.ts';
import { terminal } from '../terminal.ts';

/** Numeric times before this were surely counted from the beginning of the trace, not from 1970. */
const PLAUSIBLE_US = Date.UTC(2000, 0) * 1000;

const OUTPUT = { json: toggle('--json', 'print one JSON document') };
const OF_ARRIVALS = { ...ARRIVALS_OPTIONS, ...OUTPUT };
const OF_EXCHANGES = { ...EXCHANGES_OPTIONS, ...OUTPUT };
const OF_MOONCAKE = { ...MOONCAKE_OPTIONS, ...OUTPUT };

export function importCommand(): Command {
  return new Command('import')
    .description("Build a capture from another tool's files.")
    .addCommand(arrivalsCommand())
    .addCommand(harCommand())
    .addCommand(gorCommand())
    .addCommand(mooncakeCommand());
}

function arrivalsCommand(): Command {
  const command = new Command('arrivals')
    .summary('from an arrival trace, CSV or JSONL, plain or gzip')
    .description(
      'Build a capture from an arrival trace, CSV or JSONL, plain or gzip. With --payloads, each arrival is paired ' +
        'with a request and the capture can be replayed. Without payloads, it can only be profiled and planned.',
    )
    .argument('<file>', 'the trace: CSV with a header line, or one JSON object per line')
    .action(async (file: string, _: object, command: Command) => {
      await importArrivals(file, withoutNulls(optionsOf(command, OF_ARRIVALS)));
    });
  return addOptions(command, OF_ARRIVALS);
}

function harCommand(): Command {
  const command = importOf('har', 'from an HTTP archive (HAR) of a browser or proxy', 'the archive');
  return addOptions(command, OF_EXCHANGES).action(async (file: string) => {
    await importFile('har', file, optionsOf(command, OF_EXCHANGES), IMPORT_FORMATS.har(file));
  });
}

function gorCommand(): Command {
  const command = importOf('gor', 'from a file of GoReplay, requests with their responses', 'the file');
  return addOptions(command, OF_EXCHANGES).action(async (file: string) => {
    await importFile('gor', file, optionsOf(command, OF_EXCHANGES), IMPORT_FORMATS.gor(file));
  });
}

function mooncakeCommand(): Command {
  const command = importOf(
    'mooncake',
    'from a Mooncake trace: payloads, or token counts alone',
    'the trace, JSONL',
  );
  return addOptions(command, OF_MOONCAKE).action(async (file: string) => {
    const options = optionsOf(command, OF_MOONCAKE);
    const reading = parseMooncakeReading(withoutNulls(options));
    await importFile(
      'mooncake',
      file,
      { ...options, bodies: 'requests' },
      IMPORT_FORMATS.mooncake(file, reading),
    );
  });
}

function importOf(name: string, summary: string, file: string): Command {
  return new Command(name)
    .summary(summary)
    .description(`Build a capture ${summary}, plain or gzip.`)
    .argument('<file>', file);
}

async function importArrivals(
  file: string,
  flags: StatedTexts<ResolvedOptions<typeof OF_ARRIVALS>>,
): Promise<void> {
  const options = parseImportOptions(flags);
  let payloads: PayloadPool | null = null;
  const open = openArrivals(file, options, (loaded) => {
    payloads = loaded;
  });
  const common = {
    ...flags,
    hashKeyFile: flags.hashKeyFile ?? null,
    encryptionKeyFile: flags.encryptionKeyFile ?? null,
    bodies: 'requests' as const,
  };
  await runImport(file, common, open, 'arrivals', (result) => {
    terminal.note(...notesOn(options, result, payloads));
    return {
      document: {
        outOfOrder: result.outOfOrder,
        paired: payloads !== null,
        payloads: payloads && {
          requests: payloads.size,
          bytes: payloads.bodyBytes,
          skippedFiles: payloads.skippedFiles,
        },
        seed: options.payloads?.seed ?? null,
      },
      lines: [`  requests  ${requestsText(options, payloads)}`],
    };
  });
}

function requestsText(options: ImportOptions, payloads: PayloadPool | null): string {
  return payloads === null
    ? 'none: the capture can be profiled and planned (replay --dry-run), not replayed'
    : `drawn from ${count(payloads.size)} (${formatBytes(payloads.bodyBytes)}), seed ${options.payloads?.seed}`;
}

/** What the user may not have expected. */
function notesOn(options: ImportOptions, result: ImportResult, payloads: PayloadPool | null): string[] {
  const notes: string[] = [];
  const { unit, originUs } = options.time;
  if (unit !== 'iso' && originUs === 0 && (result.firstArrivalUs ?? PLAUSIBLE_US) < PLAUSIBLE_US) {
    notes.push('note: the times count from 1970; set the start of the trace with --origin');
  }
  const skipped = payloads?.skippedFiles ?? [];
  if (skipped.length > 0) {
    const more = skipped.length > 5 ? ` and ${count(skipped.length - 5)} more` : '';
    notes.push(`note: skipped, not a request: ${skipped.slice(0, 5).join(', ')}${more}`);
  }
  return notes;
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}

const IMPORT_SCHEMA_VERSION = 1;

/** The flags that every import has. */
export interface ImportFlags {
  readonly out: string;
  readonly hashKeyFile: string | null;
  readonly encryptionKeyFile: string | null;
  readonly json: boolean;
  readonly bodies: ImportBodies;
}

/** What one kind of import says beside the rest. */
export interface ImportSayings {
  readonly document: object;
  readonly lines: readonly string[];
}

/** Imports a file of recorded requests and says what it lacked. */
export async function importFile(
  format: string,
  file: string,
  flags: ImportFlags,
  open: OpenImport,
): Promise<void> {
  await runImport(file, flags, open, 'exchanges', ({ outOfOrder, missing, lacking }) => ({
    document: { format, outOfOrder, missing, lacking },
    lines: [
      `  not in a file of this format: ${missing.join('; ')}`,
      ...Object.entries(lacking).map(([what, exchanges]) => `  ${count(exchanges)} with ${what}`),
    ],
  }));
}

/** Runs an import to its end, or to the signal that stops it. */
export async function runImport(
  file: string,
  flags: ImportFlags,
  open: OpenImport,
  noun: string,
  say: (result: ImportResult) => ImportSayings,
): Promise<void> {
  const { out } = flags;
  const encryptionKey = encryptionKeyOf(flags);
  const interruption = new Interruption();
  try {
    const result = await importCapture(
      {
        file,
        out,
        hashKeyFile: flags.hashKeyFile,
        encryptionKey,
        bodies: flags.bodies,
      },
      open,
      {
        clock: systemClock,
        signal: interruption.signal,
        onProgress: ({ rows }) => terminal.progress(`${count(rows)} ${noun} imported`),
      },
    );
    const { outOfOrder } = result;
    if (outOfOrder > 0) {
      terminal.note(
        `note: ${count(outOfOrder)} rows arrive before the row above them; the capture is ordered by arrival`,
      );
    }
    const said = say(result);
    if (flags.json) terminal.json({ ...documentOf(out, result), ...said.document });
    else terminal.print(...textOf(out, noun, result, said.lines));
  } catch (thrown) {
    if (interruption.status === null) throw thrown;
    terminal.note(`reprise: stopped by ${interruption.received}; ${out} was not written`);
    process.exitCode = interruption.status;
  } finally {
    interruption.end();
  }
}

function documentOf(out: string, result: ImportResult): object {
  return {
    schemaVersion: IMPORT_SCHEMA_VERSION,
    capture: out,
    exchanges: result.rows,
    firstArrival: instantOf(result.firstArrivalUs),
    lastArrival: instantOf(result.lastArrivalUs),
    segments: result.segments,
    bytes: { disk: result.diskBytes },
  };
}

function textOf(out: string, noun: string, result: ImportResult, lines: readonly string[]): string[] {
  return [
    `Imported ${count(result.rows)} ${noun} into ${out}`,
    `  arrivals  ${instantOf(result.firstArrivalUs)} to ${instantOf(result.lastArrivalUs)}`,
    ...lines,
    `  segments  ${count(result.segments)}, ${formatBytes(result.diskBytes)}`,
  ];
}

function instantOf(us: number | null): string | null {
  return us === null ? null : formatInstantUs(us);
}
