import { encryptionKeyOf } from '../app/open-capture.ts';
import { systemClock } from '../core/clock.ts';
import { formatBytes, formatInstantUs } from '../core/units.ts';
import type { ImportBodies, OpenImport } from '../formats/import-source.ts';
import { type ImportResult, importCapture } from './importing.ts';
import { Interruption } from './interruption.ts';
import { terminal } from './terminal.ts';

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
        `note: ${count(outOfOrder)} rows arrive before the row above them; the capture is read in the order of arrival`,
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

function count(value: number): string {
  return value.toLocaleString('en-US');
}
