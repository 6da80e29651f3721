import { Command, Option } from 'commander';
import { systemClock } from '../core/clock.ts';
import { formatBytes, formatInstantUs } from '../core/units.ts';
import { TIME_UNITS } from '../formats/exact-time.ts';
import { IMPORT_DEFAULTS, parseImportOptions, type RawImportOptions } from '../formats/import-options.ts';
import { encryptionKeyOf, encryptionKeyOption } from './encryption-flag.ts';
import { type ImportRequest, type ImportResult, importArrivals } from './importing.ts';
import { Interruption } from './interruption.ts';
import { terminal } from './terminal.ts';

const IMPORT_SCHEMA_VERSION = 1;
/** Numeric times before this were surely counted from the beginning of the trace, not from 1970. */
const PLAUSIBLE_US = Date.UTC(2000, 0) * 1000;

interface ImportFlags extends RawImportOptions {
  readonly out: string;
  readonly hashKeyFile?: string;
  readonly encryptionKeyFile?: string;
  readonly json?: boolean;
}

export function importCommand(): Command {
  return new Command('import')
    .description("Build a capture from another tool's files.")
    .addCommand(arrivalsCommand());
}

function arrivalsCommand(): Command {
  return new Command('arrivals')
    .summary('from an arrival trace, CSV or JSONL, gzip or not')
    .description(
      'Build a capture from an arrival trace, CSV or JSONL, gzip or not. With --payloads each arrival is paired ' +
        'with a request and the capture can be replayed; without, it can be profiled and planned.',
    )
    .argument('<file>', 'the trace: CSV with a line of column names, or one JSON object a line')
    .requiredOption('--out <directory>', 'where the capture will be; must not exist or be empty')
    .requiredOption('--time <field>', 'the column, JSON key or JSON pointer (/a/b) that holds the time')
    .option('--unit <unit>', `form of the time: ${TIME_UNITS.join(', ')} (default: ${IMPORT_DEFAULTS.unit})`)
    .option('--gaps', 'the time is the gap to the row before')
    .option('--origin <time>', `what numeric times count from, ISO 8601 (default: ${IMPORT_DEFAULTS.origin})`)
    .option('--client <field>', 'the field that says who sent the request; kept as a keyed hash')
    .option('--session <field>', 'the field that says which requests belong together; kept as a keyed hash')
    .option(
      '--payloads <file|folder>',
      'requests to pair with: a JSONL of {method, path, headers, body | bodyBase64} or of bare bodies, ' +
        'or a folder of .http messages and of bodies (.json, .jpg, .png, .wav, .bin)',
    )
    .option('--path <path>', 'where bare bodies go, such as /v1/chat/completions')
    .option('--method <method>', `how bare bodies go (default: ${IMPORT_DEFAULTS.method})`)
    .option('--seed <n>', `which of the possible pairings (default: ${IMPORT_DEFAULTS.seed})`)
    .addOption(
      new Option('--hash-key-file <file>', "key of the hashes, a fleet's own (default: one is made)"),
    )
    .addOption(encryptionKeyOption('encrypt the payloads under the key in this file'))
    .option('--json', 'print one JSON document')
    .action(async (file: string, flags: ImportFlags) => {
      await runImport(file, flags);
    });
}

async function runImport(file: string, flags: ImportFlags): Promise<void> {
  const request: ImportRequest = {
    file,
    out: flags.out,
    hashKeyFile: flags.hashKeyFile ?? null,
    encryptionKey: encryptionKeyOf(flags),
    options: parseImportOptions(flags),
  };
  const interruption = new Interruption();
  try {
    const result = await importArrivals(request, {
      clock: systemClock,
      signal: interruption.signal,
      onProgress: ({ rows }) => terminal.progress(`${count(rows)} arrivals imported`),
    });
    terminal.note(...notesOn(request, result));
    if (flags.json) terminal.json(documentOf(request, result));
    else terminal.print(...textOf(request, result));
  } catch (thrown) {
    if (interruption.status === null) throw thrown;
    terminal.note(`reprise: stopped by ${interruption.received}; ${flags.out} was not written`);
    process.exitCode = interruption.status;
  } finally {
    interruption.end();
  }
}

function documentOf(request: ImportRequest, result: ImportResult): object {
  return {
    schemaVersion: IMPORT_SCHEMA_VERSION,
    capture: request.out,
    exchanges: result.rows,
    firstArrival: instantOf(result.firstArrivalUs),
    lastArrival: instantOf(result.lastArrivalUs),
    outOfOrder: result.outOfOrder,
    segments: result.segments,
    bytes: { disk: result.diskBytes },
    paired: result.payloads !== null,
    payloads: result.payloads && {
      requests: result.payloads.size,
      bytes: result.payloads.bodyBytes,
      skippedFiles: result.payloads.skippedFiles,
    },
    seed: request.options.payloads?.seed ?? null,
  };
}

function textOf(request: ImportRequest, result: ImportResult): string[] {
  const { payloads } = result;
  const requests =
    payloads === null
      ? 'none: the capture can be profiled and planned (replay --dry-run), not replayed'
      : `drawn from ${count(payloads.size)} (${formatBytes(payloads.bodyBytes)}), seed ${request.options.payloads?.seed}`;
  return [
    `Imported ${count(result.rows)} arrivals into ${request.out}`,
    `  arrivals  ${instantOf(result.firstArrivalUs)} to ${instantOf(result.lastArrivalUs)}`,
    `  requests  ${requests}`,
    `  segments  ${count(result.segments)}, ${formatBytes(result.diskBytes)}`,
  ];
}

/** What the user may not have expected. */
function notesOn(request: ImportRequest, result: ImportResult): string[] {
  const notes: string[] = [];
  if (result.outOfOrder > 0) {
    notes.push(
      `note: ${count(result.outOfOrder)} rows arrive before the row above them; the capture is read in the order of arrival`,
    );
  }
  const { unit, originUs } = request.options.time;
  if (unit !== 'iso' && originUs === 0 && (result.firstArrivalUs ?? PLAUSIBLE_US) < PLAUSIBLE_US) {
    notes.push('note: the times count from 1970; say when the trace began with --origin');
  }
  const skipped = result.payloads?.skippedFiles ?? [];
  if (skipped.length > 0) {
    const more = skipped.length > 5 ? ` and ${count(skipped.length - 5)} more` : '';
    notes.push(`note: no request and passed over: ${skipped.slice(0, 5).join(', ')}${more}`);
  }
  return notes;
}

function instantOf(us: number | null): string | null {
  return us === null ? null : formatInstantUs(us);
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}
