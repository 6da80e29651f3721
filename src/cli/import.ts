import { Command, Option } from 'commander';
import { formatBytes } from '../core/units.ts';
import { openArrivals } from '../formats/arrivals.ts';
import { TIME_UNITS } from '../formats/exact-time.ts';
import {
  IMPORT_DEFAULTS,
  type ImportOptions,
  parseImportOptions,
  type RawImportOptions,
} from '../formats/import-options.ts';
import { IMPORT_BODIES, type ImportBodies } from '../formats/import-source.ts';
import { IMPORT_FORMATS } from '../formats/index.ts';
import { parseMooncakeReading, type RawMooncakeOptions } from '../formats/mooncake.ts';
import type { PayloadPool } from '../formats/payloads.ts';
import { encryptionKeyOption } from './encryption-flag.ts';
import { type ImportFlags, importFile, runImport } from './import-file.ts';
import type { ImportResult } from './importing.ts';
import { terminal } from './terminal.ts';

/** Numeric times before this were surely counted from the beginning of the trace, not from 1970. */
const PLAUSIBLE_US = Date.UTC(2000, 0) * 1000;

interface RecordFlags extends ImportFlags {
  readonly bodies?: ImportBodies;
}

type ArrivalFlags = ImportFlags & RawImportOptions;
type MooncakeFlags = ImportFlags & RawMooncakeOptions;

export function importCommand(): Command {
  return new Command('import')
    .description("Build a capture from another tool's files.")
    .addCommand(arrivalsCommand())
    .addCommand(harCommand())
    .addCommand(gorCommand())
    .addCommand(mooncakeCommand());
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
    .addOption(hashKeyOption())
    .addOption(encryptionKeyOption('encrypt the payloads under the key in this file'))
    .option('--json', 'print one JSON document')
    .action(async (file: string, flags: ArrivalFlags) => {
      await importArrivals(file, flags);
    });
}

function harCommand(): Command {
  return importOf('har', 'from an HTTP archive (HAR), as browsers and proxies write it', 'the archive')
    .addOption(bodiesOption())
    .action(async (file: string, flags: RecordFlags) => {
      await importFile('har', file, flags, IMPORT_FORMATS.har(file));
    });
}

function gorCommand(): Command {
  return importOf('gor', 'from a file of GoReplay, requests with their responses', 'the file')
    .addOption(bodiesOption())
    .action(async (file: string, flags: RecordFlags) => {
      await importFile('gor', file, flags, IMPORT_FORMATS.gor(file));
    });
}

function mooncakeCommand(): Command {
  return importOf('mooncake', 'from a Mooncake trace: payloads, or token counts alone', 'the trace, JSONL')
    .option('--path <path>', 'where payloads went, such as /v1/chat/completions')
    .option('--method <method>', `how payloads were sent (default: ${IMPORT_DEFAULTS.method})`)
    .option('--origin <time>', `what timestamps count from, ISO 8601 (default: ${IMPORT_DEFAULTS.origin})`)
    .option('--gap <time>', 'how far rows without a timestamp are apart (default: they are refused)')
    .action(async (file: string, flags: MooncakeFlags) => {
      await importFile('mooncake', file, flags, IMPORT_FORMATS.mooncake(file, parseMooncakeReading(flags)));
    });
}

/** What imports have in common. */
function importOf(name: string, summary: string, file: string): Command {
  return new Command(name)
    .summary(summary)
    .description(`Build a capture ${summary}; gzip or not.`)
    .argument('<file>', file)
    .requiredOption('--out <directory>', 'where the capture will be; must not exist or be empty')
    .addOption(hashKeyOption())
    .addOption(encryptionKeyOption('encrypt the payloads under the key in this file'))
    .option('--json', 'print one JSON document');
}

function hashKeyOption(): Option {
  return new Option('--hash-key-file <file>', "key of the hashes, a fleet's own (default: one is made)");
}

function bodiesOption(): Option {
  return new Option('--bodies <which>', 'keep the bodies of requests, or all')
    .choices(IMPORT_BODIES)
    .default('requests');
}

async function importArrivals(file: string, flags: ArrivalFlags): Promise<void> {
  const options = parseImportOptions(flags);
  let payloads: PayloadPool | null = null;
  const open = openArrivals(file, options, (loaded) => {
    payloads = loaded;
  });
  await runImport(file, flags, open, 'arrivals', (result) => {
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
    notes.push('note: the times count from 1970; say when the trace began with --origin');
  }
  const skipped = payloads?.skippedFiles ?? [];
  if (skipped.length > 0) {
    const more = skipped.length > 5 ? ` and ${count(skipped.length - 5)} more` : '';
    notes.push(`note: no request and passed over: ${skipped.slice(0, 5).join(', ')}${more}`);
  }
  return notes;
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}
