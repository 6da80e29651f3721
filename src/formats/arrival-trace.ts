import { basename } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CsvError, parse } from 'csv-parse';
import { AppError, reasonOf } from '../core/errors.ts';
import type { ChunkTimes, Exchange } from '../core/exchange.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { LIMITS } from '../core/limits.ts';
import { SeededRandom } from '../core/random.ts';
import { parseInstantUs } from '../core/units.ts';
import { ArrivalTimes, TIME_UNITS, type TimeReading, type TimeUnit } from './exact-time.ts';
import { ArrivalCounter, type ArrivalTally, type OpenImport } from './import-source.ts';
import { InputProblem, NOTHING_IN_IT, shown, type TextLine, textBytes, textLines } from './input.ts';
import { type JsonObject, lineProblem, parseJsonLine } from './json-input.ts';
import { type BodyRequest, loadPayloads, type PayloadPool } from './payloads.ts';

/** A public arrival trace and how to read it. */
interface ArrivalTrace {
  readonly path: string;
  readonly fields: TraceFields;
  readonly time: TimeReading;
}

interface ArrivalImportDeps {
  readonly hash: KeyedHash;
  /** Null: arrivals alone, which can be profiled and planned but not replayed. */
  readonly payloads: PayloadPool | null;
}

/** Facts that no exchange of a trace has, listed in the capture's `meta`. */
const MISSING_FROM_ARRIVALS = ['responses', 'statuses', 'latencies', 'outcomes', 'connections'] as const;

/**
 * Reads an arrival trace. Each arrival is paired with a request if there are payloads.
 * @param onPayloads called with the requests once they are loaded
 */
export function openArrivals(
  path: string,
  options: ImportOptions,
  onPayloads: (payloads: PayloadPool) => void,
): OpenImport {
  return async ({ hash, redaction }, signal) => {
    const { fields, time, payloads: from } = options;
    let payloads: PayloadPool | null = null;
    if (from !== null) {
      const random = new SeededRandom(from.seed);
      payloads = await loadPayloads(from.source, from, { hash, redaction, random }, signal);
      onPayloads(payloads);
    }
    const trace = new ArrivalImport({ path, fields, time }, { hash, payloads });
    return {
      requests: payloads !== null,
      missing: [...(payloads === null ? ['requests'] : []), ...MISSING_FROM_ARRIVALS],
      lacking: {},
      details: {
        time: { field: fields.time, ...time },
        client: fields.client,
        session: fields.session,
        payloads: from && { source: basename(from.source), requests: payloads?.size, seed: from.seed },
      },
      get tally() {
        return trace.tally;
      },
      batches: (stop) => trace.batches(stop),
    };
  };
}

const NO_CHUNKS: ChunkTimes = Object.freeze([]);
/** Distinct clients and sessions whose hash is cached; traces repeat the same few. */
const REMEMBERED_IDENTITIES = 50_000;

/** Converts the rows of a trace into exchanges, in file order, at constant memory. */
export class ArrivalImport {
  readonly #trace: ArrivalTrace;
  readonly #deps: ArrivalImportDeps;
  readonly #times: ArrivalTimes;
  readonly #identities = new Map<string, Uint8Array>();
  readonly #counter = new ArrivalCounter();

  constructor(trace: ArrivalTrace, deps: ArrivalImportDeps) {
    this.#trace = trace;
    this.#deps = deps;
    this.#times = new ArrivalTimes(trace.time);
  }

  get tally(): ArrivalTally {
    return this.#counter.tally;
  }

  /**
   * The exchanges of the trace, some hundreds at a time. Call once.
   * @throws AppError INPUT_INVALID naming file, line, reason and hint; the signal's reason when it aborts
   */
  async *batches(signal: AbortSignal): AsyncGenerator<Exchange[]> {
    let line = 0;
    try {
      for await (const rows of traceRows(textBytes(this.#trace.path, signal), this.#trace.fields)) {
        signal.throwIfAborted();
        const exchanges: Exchange[] = [];
        for (const row of rows) {
          line = row.line;
          exchanges.push(this.#exchangeOf(row));
        }
        yield exchanges;
      }
      if (this.tally.rows === 0) throw new InputProblem('holds no row', { hint: NOTHING_IN_IT });
    } catch (thrown) {
      if (!(thrown instanceof InputProblem)) throw thrown;
      throw thrown.after(line).toAppError(this.#trace.path);
    }
  }

  #exchangeOf(row: TraceRow): Exchange {
    const arrivalUs = this.#arrivalOf(row);
    this.#counter.add(arrivalUs);
    const request = this.#deps.payloads?.draw() ?? null;
    return {
      arrivalUs,
      // An imported arrival has no sign of failure; `meta` says that outcomes are unknown.
      outcome: 'completed',
      protocol: request === null ? null : 'http/1.1',
      method: request?.method ?? null,
      route: request?.route ?? null,
      status: null,
      connection: null,
      client: row.client === null ? null : this.#identity('client', row.client),
      session: row.session === null ? null : this.#identity('session', row.session),
      model: request?.model ?? null,
      streamed: null,
      requestEndOffsetUs: null,
      firstByteOffsetUs: null,
      lastByteOffsetUs: null,
      clientLeftOffsetUs: null,
      firstTokenOffsetUs: null,
      promptTokens: null,
      outputTokens: null,
      batch: null,
      request: request?.message ?? null,
      response: null,
      requestChunks: NO_CHUNKS,
      responseChunks: NO_CHUNKS,
    };
  }

  #arrivalOf(row: TraceRow): number {
    try {
      return this.#times.next(row.time);
    } catch (thrown) {
      throw thrown instanceof InputProblem ? thrown.at(row.line) : thrown;
    }
  }

  #identity(kind: 'client' | 'session', text: string): Uint8Array {
    const name = `${kind}\0${text}`;
    let hash = this.#identities.get(name);
    if (hash === undefined) {
      hash = this.#deps.hash.ofIdentity(kind, text);
      if (this.#identities.size >= REMEMBERED_IDENTITIES) this.#identities.clear();
      this.#identities.set(name, hash);
    }
    return hash;
  }
}

/**
 * The rows of a trace in file order, in batches. The first character decides between JSONL and CSV.
 * @throws InputProblem naming the malformed line
 */
async function* traceRows(chunks: AsyncGenerator<Buffer>, fields: TraceFields): AsyncGenerator<TraceRow[]> {
  const first = await chunks.next();
  if (first.done === true) throw new InputProblem('the file is empty', { hint: NOTHING_IN_IT });
  const firstCharacter = first.value.toString('latin1').trimStart()[0];
  if (firstCharacter === '[') {
    throw new InputProblem('the file is a JSON array', {
      line: 1,
      hint: "Give one JSON object a line (JSONL), e.g. with jq -c '.[]'.",
    });
  }
  const all = prepend(first.value, chunks);
  yield* firstCharacter === '{' ? jsonlRows(all, fields) : csvRows(all, fields);
}

async function* prepend(first: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* rest;
}

/** Which fields to read: column names of a CSV, keys or JSON pointers of a JSONL. */
interface TraceFields {
  readonly time: string;
  readonly client: string | null;
  readonly session: string | null;
}

/** One row of a trace; fields are the text in the file. */
interface TraceRow {
  /** Line of the file where the row ends, from 1. */
  readonly line: number;
  readonly time: string;
  /** Null if not requested or empty. */
  readonly client: string | null;
  readonly session: string | null;
}

/**
 * Rows of a JSONL, one object a line. A field is a key of the object or, beginning with `/`, a JSON pointer
 * (RFC 6901) into it.
 * @throws InputProblem for a line that is no JSON object, or whose time is neither number nor text
 */
async function* jsonlRows(chunks: AsyncIterable<Buffer>, fields: TraceFields): AsyncGenerator<TraceRow[]> {
  const time = keysOf(fields.time);
  const client = fields.client === null ? null : keysOf(fields.client);
  const session = fields.session === null ? null : keysOf(fields.session);
  for await (const lines of textLines(chunks, LIMITS.importRecordBytes)) {
    yield lines.map((line) => {
      const row = parseJsonLine(line);
      try {
        return {
          line: line.number,
          time: timeText(row, time, fields.time, line),
          client: client && scalarText(row, client, line),
          session: session && scalarText(row, session, line),
        };
      } catch (thrown) {
        throw lineProblem(thrown, line.number);
      }
    });
  }
}

function timeText(row: JsonObject, keys: readonly string[], field: string, line: TextLine): string {
  const value = valueAt(row, keys);
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return numberText(value, line, keys);
  throw new InputProblem(`no time in field ${shown(field)}`, {
    line: line.number,
    hint: `The object has the fields: ${Object.keys(row).map(shown).join(', ')}.`,
  });
}

/** The digits of a number in the file: a double would round 1700000000.1234567 and 64-bit ids. */
function numberText(number: number, line: TextLine, keys: readonly string[]): string {
  if (Number.isSafeInteger(number)) return String(number);
  const numbersAsText = (_key: string, value: unknown, context?: { readonly source?: string }): unknown =>
    typeof value === 'number' ? context?.source : value;
  const row = JSON.parse(line.bytes.toString(), numbersAsText) as JsonObject;
  return String(valueAt(row, keys));
}

function scalarText(row: JsonObject, keys: readonly string[], line: TextLine): string | null {
  const value = valueAt(row, keys);
  if (value === undefined || value === null || value === '') return null;
  if (typeof value === 'object') {
    throw new InputProblem(`${shown(keys.join('/'))} is neither text nor a number`, { line: line.number });
  }
  return typeof value === 'number' ? numberText(value, line, keys) : String(value);
}

function keysOf(field: string): readonly string[] {
  if (!field.startsWith('/')) return [field];
  return field
    .slice(1)
    .split('/')
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function valueAt(row: JsonObject, keys: readonly string[]): unknown {
  let value: unknown = row;
  for (const key of keys) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as JsonObject)[key];
  }
  return value;
}

/** Rows per batch: enough for low overhead, few enough to stay responsive. */
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
 * @throws InputProblem for a missing column, a record of another length, a misplaced quote
 */
async function* csvRows(chunks: AsyncIterable<Buffer>, fields: TraceFields): AsyncGenerator<TraceRow[]> {
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
    // Without this, an open quote would read the rest of the file into one field.
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
    // If the consumer stops early, close the file.
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

/** Requested options, as text. */
export interface RawImportOptions {
  readonly time: string;
  readonly unit?: string | undefined;
  readonly gaps?: boolean | undefined;
  readonly client?: string | undefined;
  readonly session?: string | undefined;
  readonly origin?: string | undefined;
  readonly payloads?: string | undefined;
  readonly path?: string | undefined;
  readonly method?: string | undefined;
  readonly seed?: string | undefined;
}

/** Where request bodies come from and how they are drawn. */
interface PayloadSource extends BodyRequest {
  /** A JSONL file or a folder. */
  readonly source: string;
  readonly seed: number;
}

/** Resolved options. */
export interface ImportOptions {
  readonly fields: TraceFields;
  readonly time: TimeReading;
  readonly payloads: PayloadSource | null;
}

export const IMPORT_DEFAULTS = Object.freeze({
  unit: 'iso',
  /** Numbers count from the epoch, as in most traces with absolute times. */
  origin: '1970-01-01T00:00:00Z',
  method: 'POST',
  seed: '1',
} as const);

/**
 * Resolves the options of an import.
 * @throws AppError OPTION_INVALID listing every problem
 */
export function parseImportOptions(raw: RawImportOptions): ImportOptions {
  const problems: string[] = [];
  const unit = unitOf(raw, problems);
  const originUs = originOf(raw, unit, problems);
  const seed = seedOf(raw.seed ?? IMPORT_DEFAULTS.seed, problems);
  for (const option of ['time', 'client', 'session', 'payloads', 'path', 'method'] as const) {
    if (raw[option] === '') problems.push(`--${option} is empty`);
  }
  if (raw.payloads === undefined) {
    for (const option of ['path', 'method', 'seed'] as const) {
      if (raw[option] !== undefined) problems.push(`--${option} needs --payloads`);
    }
  }
  if (problems.length > 0) throw new AppError('OPTION_INVALID', problems.join('; '));
  return {
    fields: { time: raw.time, client: raw.client ?? null, session: raw.session ?? null },
    time: { unit, gaps: raw.gaps ?? false, originUs },
    payloads:
      raw.payloads === undefined
        ? null
        : {
            source: raw.payloads,
            seed,
            method: raw.method ?? IMPORT_DEFAULTS.method,
            path: raw.path ?? null,
          },
  };
}

function unitOf(raw: RawImportOptions, problems: string[]): TimeUnit {
  const text = raw.unit ?? IMPORT_DEFAULTS.unit;
  const unit = TIME_UNITS.find((known) => known === text);
  if (unit === undefined) problems.push(`--unit ${JSON.stringify(text)} is none of ${TIME_UNITS.join(', ')}`);
  // A unit is never guessed: seconds read as milliseconds would mean a thousand times the load.
  if (unit === 'iso' && raw.gaps)
    problems.push('--gaps needs a --unit the gaps are counted in: s, ms, us or ns');
  return unit ?? IMPORT_DEFAULTS.unit;
}

function originOf(raw: RawImportOptions, unit: TimeUnit, problems: string[]): number {
  if (raw.origin !== undefined && unit === 'iso' && !raw.gaps) {
    problems.push('--origin needs numeric times (--unit s, ms, us or ns); ISO times are absolute');
  }
  try {
    const originUs = parseInstantUs(raw.origin ?? IMPORT_DEFAULTS.origin, '--origin');
    if (originUs < 0) problems.push('--origin is before 1970');
    return originUs;
  } catch (thrown) {
    problems.push(reasonOf(thrown));
    return 0;
  }
}

function seedOf(text: string, problems: string[]): number {
  const seed = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(seed)) return seed;
  problems.push(`--seed ${JSON.stringify(text)} is not a whole number from 0 to 2^53 - 1`);
  return 0;
}
