import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CsvError, parse } from 'csv-parse';
import { LIMITS } from '../core/limits.ts';
import { InputProblem, shown } from './input-problem.ts';
import type { TraceFields, TraceRow } from './trace-row.ts';

/** Rows handed on at a time: enough to make the hand-over cheap, few enough to stay responsive. */
const BATCH_ROWS = 1_000;

interface CsvRecord {
  readonly record: readonly string[];
  readonly info: { readonly lines: number };
}

interface Columns {
  readonly time: number;
  readonly client: number;
  readonly session: number;
}

/**
 * Rows of a CSV (RFC 4180: quoted fields, CRLF or LF) whose first record names its columns.
 * @throws InputProblem for a column that is not there, a record of another length, a misplaced quote.
 */
export async function* csvRows(
  chunks: AsyncIterable<Buffer>,
  fields: TraceFields,
): AsyncGenerator<TraceRow[]> {
  let columns: Columns | null = null;
  let rows: TraceRow[] = [];
  for await (const { record, info } of csvRecords(chunks)) {
    if (columns === null) {
      columns = columnsOf(record, fields, info.lines);
      continue;
    }
    rows.push({
      line: info.lines,
      time: record[columns.time] ?? '',
      client: record[columns.client] || null,
      session: record[columns.session] || null,
    });
    if (rows.length < BATCH_ROWS) continue;
    yield rows;
    rows = [];
  }
  if (rows.length > 0) yield rows;
}

async function* csvRecords(chunks: AsyncIterable<Buffer>): AsyncGenerator<CsvRecord> {
  const parser = parse({
    info: true,
    record_delimiter: ['\r\n', '\n'],
    skip_empty_lines: true,
    // An open quote would otherwise swallow the rest of the file into one field.
    max_record_size: LIMITS.importRecordBytes,
  });
  const fed = pipeline(Readable.from(chunks), parser).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  try {
    yield* parser as AsyncIterable<CsvRecord>;
  } catch (thrown) {
    if (!(thrown instanceof CsvError)) throw thrown;
    const { lines } = thrown as CsvError & { readonly lines?: number };
    throw new InputProblem(thrown.message, { line: lines ?? null, cause: thrown });
  } finally {
    // A consumer that stops early must not leave the file open.
    parser.destroy();
    await fed;
  }
}

function columnsOf(header: readonly string[], fields: TraceFields, line: number): Columns {
  const names = header.map((name) => name.trim());
  const indexOf = (field: string | null): number => {
    if (field === null) return -1;
    const index = names.indexOf(field);
    if (index < 0) {
      throw new InputProblem(`no column ${shown(field)}`, {
        line,
        hint: `The first line must name the columns; it reads: ${names.map(shown).join(', ')}.`,
      });
    }
    if (names.includes(field, index + 1)) {
      throw new InputProblem(`two columns are called ${shown(field)}`, {
        line,
        hint: 'Rename one of them, so that it is clear which is meant.',
      });
    }
    return index;
  };
  return { time: indexOf(fields.time), client: indexOf(fields.client), session: indexOf(fields.session) };
}
