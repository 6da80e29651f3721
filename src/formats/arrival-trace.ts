import { basename } from 'node:path';
import { CsvError, parse } from 'csv-parse';
import { AppError, Problems } from '../core/errors.ts';
import type { Exchange } from '../core/exchange.ts';
import { LIMITS } from '../core/limits.ts';
import { type Asked, choice, readOptions, toggle, value } from '../core/options.ts';
import { SeededRandom } from '../core/random.ts';
import { TextCounts } from '../core/text.ts';
import { parseInstantUs, parseSeed } from '../core/units.ts';
import { ArrivalTimes, TIME_UNITS, type TimeReading } from './exact-time.ts';
import {
  ImportSource,
  type ImportSourceDeps,
  importedExchange,
  importFormat,
  NOTHING_BUT_ARRIVAL,
  type OpenImport,
  wholeBody,
} from './import-source.ts';
import {
  InputProblem,
  type JsonObject,
  lineProblem,
  NOTHING_IN_IT,
  parseJsonLine,
  shown,
  type TextLine,
  textBytes,
  textLines,
  through,
} from './input.ts';
import { type BodyRequest, bodyDraft, loadPayloads, type PayloadPool } from './payloads.ts';
import { promptBodyOf, promptOf } from './prompt-blocks.ts';

/** An option for the start of times that are numbers. By default they count from 1970. */
export function originOption(times: string) {
  return value('--origin <time>', `start of ${times}, ISO 8601`, parseOriginUs, {
    default: '1970-01-01T00:00:00Z',
  });
}

function parseOriginUs(given: string, what: string): number {
  const originUs = parseInstantUs(given, what);
  if (originUs >= 0) return originUs;
  throw new AppError('OPTION_INVALID', `${what} is before 1970`);
}

/** Reads a text that must not be empty. */
export function parseFilled(given: string, what: string): string {
  if (given !== '') return given;
  throw new AppError('OPTION_INVALID', `${what} is empty`);
}

export const ARRIVAL_OPTIONS = {
  time: value('--time <field>', 'column, JSON key or JSON pointer (/a/b) of the time', parseFilled, {
    required: true,
  }),
  // A unit is never guessed: seconds read as milliseconds would mean a thousand times the load.
  unit: choice('--unit <unit>', `unit or form of the time: ${TIME_UNITS.join(', ')}`, TIME_UNITS, {
    default: 'iso',
  }),
  gaps: toggle('--gaps', 'the time is the gap to the previous row'),
  origin: originOption('numeric times'),
  clientField: value(
    '--client-field <field>',
    'field that identifies the client; stored as a keyed hash',
    parseFilled,
  ),
  sessionField: value(
    '--session-field <field>',
    'field that identifies the session; stored as a keyed hash',
    parseFilled,
  ),
  promptTokensField: value(
    '--prompt-tokens-field <field>',
    'field with the tokens of the prompt (default: ContextTokens, input_tokens or Request tokens)',
    parseFilled,
  ),
  outputTokensField: value(
    '--output-tokens-field <field>',
    'field with the tokens of the answer (default: GeneratedTokens, output_tokens or Response tokens)',
    parseFilled,
  ),
  buildPrompts: value(
    '--build-prompts <model>',
    'build requests to this model, each with a prompt of the length that its row gives',
    parseFilled,
  ),
  payloads: value(
    '--payloads <file|folder>',
    'requests to pair with: a JSONL of {method, path, headers, body | bodyBase64} or of bare bodies, ' +
      'a folder of .http messages and of bodies (.json, .jpg, .png, .wav, .bin), or a TFRecord of PredictionLog',
    parseFilled,
  ),
  requestPath: value(
    '--request-path <path>',
    'request path for bare bodies and built prompts, such as /v1/chat/completions',
    parseFilled,
  ),
  requestMethod: value(
    '--request-method <method>',
    'request method for bare bodies and prompts',
    parseFilled,
    {
      default: 'POST',
    },
  ),
  seed: value('--seed <n>', 'random seed of the pairing', parseSeed, { default: '1' }),
};

/** How to read a trace, and what to pair its arrivals with. */
export interface ArrivalReading {
  readonly fields: TraceFields;
  readonly time: TimeReading;
  /** Where request bodies come from (a JSONL file or a folder) and how they are drawn; null for none. */
  readonly payloads: (BodyRequest & { readonly source: string; readonly seed: number }) | null;
  /** The model of requests that are built of the rows' token counts, and where they go; null for none. */
  readonly prompts: (BodyRequest & { readonly model: string }) | null;
}

/** @throws AppError OPTION_INVALID listing every problem */
export function resolveArrivalReading(asked: Asked<typeof ARRIVAL_OPTIONS>): ArrivalReading {
  const problems = new Problems();
  const read = readOptions(ARRIVAL_OPTIONS, asked, problems);
  const {
    unit,
    gaps,
    origin: originUs,
    payloads: source,
    buildPrompts: model,
    seed,
    requestMethod: method,
    requestPath: path,
  } = read;
  if (unit === 'iso' && gaps) {
    problems.add('--gaps needs a --unit the gaps are counted in: s, ms, us or ns');
  } else if (unit === 'iso' && asked.originOf('origin') !== null) {
    problems.add('--origin needs numeric times (--unit s, ms, us or ns); ISO times are absolute');
  }
  if (source !== null && model !== null) problems.add('--payloads and --build-prompts: give one of them');
  if (source === null && asked.originOf('seed') !== null) problems.add('--seed needs --payloads');
  for (const [option, flag] of [
    ['requestPath', '--request-path'],
    ['requestMethod', '--request-method'],
  ] as const) {
    if (source === null && model === null && asked.originOf(option) !== null)
      problems.add(`${flag} needs --payloads or --build-prompts`);
  }
  if (model !== null && path === null)
    problems.add('--build-prompts needs --request-path, such as /v1/chat/completions');
  problems.throwIfAny();
  return {
    fields: {
      time: read.time,
      client: read.clientField,
      session: read.sessionField,
      promptTokens: read.promptTokensField,
      outputTokens: read.outputTokensField,
    },
    time: { unit, gaps, originUs },
    payloads: source === null ? null : { source, seed, method, path },
    prompts: model === null ? null : { model, method, path },
  };
}

/** Facts that no exchange of a trace has, listed in the capture's `meta`. */
const MISSING_FROM_ARRIVALS = ['responses', 'statuses', 'latencies', 'outcomes', 'connections'] as const;

/** Reads an arrival trace. Each arrival is paired with a request if there are payloads. */
export function openArrivals(path: string, reading: ArrivalReading): OpenImport {
  return async (deps, signal) => {
    const { payloads: from } = reading;
    if (from === null) return arrivalSource(path, reading, deps, null);
    const random = new SeededRandom(from.seed);
    const pool = await loadPayloads(from.source, from, { ...deps, random }, signal);
    return arrivalSource(path, reading, deps, pool);
  };
}

/** @param pool null for arrivals alone, which can be profiled and planned but not replayed */
export function arrivalSource(
  path: string,
  reading: ArrivalReading,
  deps: ImportSourceDeps,
  pool: PayloadPool | null,
): ImportSource {
  const { fields, time, payloads: from, prompts } = reading;
  const requests = pool !== null || prompts !== null;
  const lacking = new TextCounts();
  return new ImportSource({
    path,
    requests,
    missing: [...(requests ? [] : ['requests']), ...MISSING_FROM_ARRIVALS],
    details: {
      time: { field: fields.time, ...time },
      client: fields.client,
      session: fields.session,
      payloads: from && { source: basename(from.source), requests: pool?.size, seed: from.seed },
      builtPrompts: prompts?.model ?? null,
    },
    lacking,
    payloads: pool && {
      requests: pool.size,
      bytes: pool.bodyBytes,
      skippedFiles: pool.skippedFiles,
      seed: from?.seed ?? 0,
    },
    read: (signal) =>
      exchangesIn(textBytes(path, signal), fields, new ArrivalConverter(reading, deps, pool, lacking)),
  });
}

/** Some hundreds of exchanges at a time, at constant memory. @throws InputProblem naming the line */
async function* exchangesIn(
  chunks: AsyncGenerator<Buffer>,
  fields: TraceFields,
  converter: ArrivalConverter,
): AsyncGenerator<Exchange[]> {
  let line = 0;
  try {
    for await (const rows of traceRows(chunks, fields)) {
      yield rows.map((row) => {
        line = row.line;
        return converter.exchangeOf(row);
      });
    }
  } catch (thrown) {
    throw thrown instanceof InputProblem ? thrown.after(line) : thrown;
  }
}

/** Converts the rows of a trace into exchanges, in file order. */
class ArrivalConverter {
  readonly #prompts: ArrivalReading['prompts'];
  readonly #deps: ImportSourceDeps;
  readonly #pool: PayloadPool | null;
  readonly #times: ArrivalTimes;
  readonly #lacking: TextCounts;
  /** Prompts so far. Each draws its words with another seed. */
  #built = 0;

  constructor(
    { time, prompts }: ArrivalReading,
    deps: ImportSourceDeps,
    pool: PayloadPool | null,
    lacking: TextCounts,
  ) {
    this.#prompts = prompts;
    this.#deps = deps;
    this.#pool = pool;
    this.#times = new ArrivalTimes(time);
    this.#lacking = lacking;
  }

  exchangeOf(row: TraceRow): Exchange {
    const arrivalUs = this.#arrivalOf(row);
    const facts = {
      client: this.#identity('client', row.client),
      session: this.#identity('session', row.session),
    };
    // A request that was drawn has another length than the one of this row.
    if (this.#pool !== null) return { ...NOTHING_BUT_ARRIVAL, ...this.#pool.draw(), arrivalUs, ...facts };
    const promptTokens = this.#tokensOf(row.promptTokens);
    const outputTokens = this.#tokensOf(row.outputTokens);
    const known = { ...facts, promptTokens, outputTokens };
    if (this.#prompts === null) return { ...NOTHING_BUT_ARRIVAL, arrivalUs, ...known };
    if (promptTokens === null) {
      throw new InputProblem('no tokens of a prompt, of which a request could be built', {
        line: row.line,
        hint: 'Name the column of prompt tokens with --prompt-tokens-field.',
      });
    }
    const prompt = promptOf([], { tokens: promptTokens, blockTokens: promptTokens, own: this.#built });
    this.#built += 1;
    const body = promptBodyOf(prompt, { ...this.#prompts, outputTokens });
    const draft = bodyDraft(body, 'application/json', this.#prompts);
    return {
      ...importedExchange({ arrivalUs, request: { ...draft, body: wholeBody(body) } }, this.#deps),
      ...known,
    };
  }

  /** Null if the row does not say. */
  #tokensOf(text: string | null): number | null {
    if (text === null) return null;
    const tokens = Number(text);
    if (/^\s*\d+(?:\.0+)?\s*$/.test(text) && Number.isSafeInteger(tokens)) return tokens;
    this.#lacking.count('a number of tokens that is not whole: unknown');
    return null;
  }

  #arrivalOf(row: TraceRow): number {
    try {
      return this.#times.next(row.time);
    } catch (thrown) {
      throw thrown instanceof InputProblem ? thrown.at(row.line) : thrown;
    }
  }

  #identity(kind: 'client' | 'session', text: string | null): Uint8Array | null {
    return text === null ? null : this.#deps.hash.ofIdentity(kind, text);
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
  /** Null for the first of the known names that the file has. */
  readonly promptTokens: string | null;
  readonly outputTokens: string | null;
}

/** Names of token columns in the traces of Azure, of ServeGen and of BurstGPT. */
const PROMPT_TOKENS = ['ContextTokens', 'input_tokens', 'Request tokens'] as const;
const OUTPUT_TOKENS = ['GeneratedTokens', 'output_tokens', 'Response tokens'] as const;

/** One row of a trace; fields are the text in the file. */
interface TraceRow {
  /** Line of the file where the row ends, from 1. */
  readonly line: number;
  readonly time: string;
  /** Null if not requested or empty. */
  readonly client: string | null;
  readonly session: string | null;
  readonly promptTokens: string | null;
  readonly outputTokens: string | null;
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
  const tokens = (field: string | null, known: readonly string[]) =>
    (field === null ? known : [field]).map(keysOf);
  const prompt = tokens(fields.promptTokens, PROMPT_TOKENS);
  const output = tokens(fields.outputTokens, OUTPUT_TOKENS);
  for await (const lines of textLines(chunks, LIMITS.importRecordBytes)) {
    yield lines.map((line) => {
      const row = parseJsonLine(line);
      try {
        return {
          line: line.number,
          time: timeText(row, time, fields.time, line),
          client: client && scalarText(row, client, line),
          session: session && scalarText(row, session, line),
          promptTokens: firstText(row, prompt, line),
          outputTokens: firstText(row, output, line),
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

/** The value of the first field that the row has. */
function firstText(row: JsonObject, fields: readonly (readonly string[])[], line: TextLine): string | null {
  const keys = fields.find((each) => valueAt(row, each) !== undefined);
  return keys === undefined ? null : scalarText(row, keys, line);
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
  readonly promptTokens: number;
  readonly outputTokens: number;
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
      promptTokens: record[columns.promptTokens] || null,
      outputTokens: record[columns.outputTokens] || null,
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
  try {
    yield* through<CsvRecord>(chunks, parser);
  } catch (thrown) {
    if (!(thrown instanceof CsvError)) throw thrown;
    const { lines } = thrown as CsvError & { readonly lines?: number };
    throw new InputProblem(thrown.message, { line: lines ?? null, cause: thrown });
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
  const tokens = (field: string | null, known: readonly string[]) =>
    field === null ? indexOf(known.find((name) => names.includes(name)) ?? null) : indexOf(field);
  return {
    time: indexOf(fields.time),
    client: indexOf(fields.client),
    session: indexOf(fields.session),
    promptTokens: tokens(fields.promptTokens, PROMPT_TOKENS),
    outputTokens: tokens(fields.outputTokens, OUTPUT_TOKENS),
  };
}

export const ARRIVALS = importFormat({
  summary: 'from an arrival trace, CSV or JSONL',
  description:
    'Build a capture from an arrival trace, CSV or JSONL, plain, gzip or zlib. With --payloads, each arrival is paired ' +
    'with a request; with --build-prompts, requests are built of its token counts. Without either, the capture can ' +
    'only be profiled and planned.',
  files: ['<file>', 'the trace: CSV with a header line, or one JSON object per line'],
  rows: 'arrivals',
  options: ARRIVAL_OPTIONS,
  open: ([file = ''], asked) => openArrivals(file, resolveArrivalReading(asked)),
});
