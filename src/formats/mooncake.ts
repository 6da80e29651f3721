import type { Exchange } from '../core/exchange.ts';
import { LIMITS } from '../core/limits.ts';
import { type ResolvedOptions, resolveOptions, text, value } from '../core/options.ts';
import { shownJsonText, TextCounts } from '../core/text.ts';
import { parseCount, parsePositiveMs } from '../core/units.ts';
import { promptTextOf, TOKEN_BYTES } from '../inference/prompt-prefixes.ts';
import { originOption, parseFilled } from './arrival-trace.ts';
import { ArrivalTimes } from './exact-time.ts';
import {
  type ExportedSend,
  type ExportFormat,
  ExportWriter,
  type OutputFile,
  type PromptBlocks,
} from './export-writer.ts';
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
  numberAt,
  objectAt,
  parseJsonLine,
  type TextLine,
  textAt,
  textBytes,
  textLines,
  verbatimMember,
} from './input.ts';
import { bodyDraft } from './payloads.ts';
import { BLOCK_TOKENS, blockIdsOf, promptBodyOf, promptOf } from './prompt-blocks.ts';

/** `mooncake_trace` rows that AIPerf replays: with verbatim payloads, or with lengths and `hash_ids`. */
export const MOONCAKE: ExportFormat = {
  name: 'mooncake',
  summary: 'a Mooncake trace with payloads, or lengths and shared prefixes, which AIPerf replays',
  shape: 'file',
  holds: 'requests',
  takes: ['omitPayloads', 'blockTokens', 'hashKeyFile'],
  needsTarget: false,
  cannotCarry: [
    'method, path, query and headers: the replay tool uses one endpoint',
    'bodies that are no JSON object: such requests are left out',
    'sessions: turns of one would wait for each other, which is no longer an open loop',
    'responses',
  ],
  open: (path, { promptBlocks }) => new MooncakeWriter(path, promptBlocks),
};

class MooncakeWriter extends ExportWriter {
  readonly usage: readonly string[];
  readonly #file: OutputFile;
  readonly #blocks: PromptBlocks | null;
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  readonly #routes = new Set<string | null>();

  /** @param blocks null for rows with payloads */
  constructor(path: string, blocks: PromptBlocks | null) {
    super();
    this.#file = this.open(path);
    this.#blocks = blocks;
    const size = blocks === null ? '' : ` --isl-block-size ${blocks.tokens}`;
    this.usage = [
      `aiperf profile --model MODEL --url URL --endpoint-type chat --input-file FILE --custom-dataset-type mooncake_trace --fixed-schedule${size}`,
    ];
  }

  override add(send: ExportedSend): boolean {
    const body = send.request?.body ?? null;
    const payload = body === null ? null : this.#payloadOf(body);
    if (payload === null) {
      this.lost.count('no body that is a JSON object with something in it: left out');
      return false;
    }
    const timestamp = send.offsetNs / 1e6;
    if (this.#blocks === null) this.#file.write(`{"timestamp": ${timestamp}, "payload": ${payload}}\n`);
    else {
      const lengths = this.#lengthsOf(payload, send.row, this.#blocks);
      if (lengths === null) return false;
      this.#file.write(`${JSON.stringify({ timestamp, ...lengths })}\n`);
    }
    if (this.#routes.size > 0 && !this.#routes.has(send.row.route)) {
      this.lost.count('another route than the first: the trace names none');
    } else {
      this.#routes.add(send.row.route);
    }
    return true;
  }

  #lengthsOf(payload: string, { model, ...row }: ExportedSend['row'], blocks: PromptBlocks): object | null {
    const body: JsonObject = JSON.parse(payload);
    const prompt = promptTextOf(body);
    if (prompt === null) {
      this.lost.count('no prompt, messages or input: left out');
      return null;
    }
    if (row.promptTokens === null) this.lost.count(`no prompt tokens: ${TOKEN_BYTES} bytes count as one`);
    if (row.outputTokens === null) this.lost.count('no output tokens: no output_length');
    const tokens = Math.max(1, row.promptTokens ?? Math.ceil(Buffer.byteLength(prompt) / TOKEN_BYTES));
    const length = { tokens, blockTokens: blocks.tokens, model: model ?? textAt(body, 'model') };
    return {
      input_length: tokens,
      output_length: row.outputTokens ?? undefined,
      hash_ids: blockIdsOf(prompt, length, blocks.hash),
    };
  }

  /** The object as recorded, on one line, with the same digits and order of keys. */
  #payloadOf(body: Uint8Array): string | null {
    let text: string;
    try {
      text = this.#utf8.decode(body);
      const value: unknown = JSON.parse(text);
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
      if (Object.keys(value).length === 0) return null;
    } catch {
      // Not UTF-8 or not JSON: counted as left out.
      return null;
    }
    // In JSON, line ends occur only between tokens, where a space is equivalent. Markup is not escaped, because
    // this file is no web page.
    return shownJsonText(text.replace(/[\r\n]/g, ' '));
  }
}

/** What a trace never contains. */
const MISSING_FROM_MOONCAKE = [
  'responses',
  'statuses',
  'latencies',
  'outcomes',
  'connections',
  'clients',
  'headers',
] as const;

/**
 * Reads a Mooncake trace. Its first row decides the kind of all rows. Complete bodies can be replayed; lengths
 * alone can be profiled and planned.
 */
export function openMooncake(path: string, reading: MooncakeReading): OpenImport {
  return async (deps, signal) => {
    const rows = textLines(textBytes(path, signal));
    try {
      const first = await rows.next();
      const [line] = first.done === true ? [] : first.value;
      if (line === undefined) throw new InputProblem('holds no row', { hint: NOTHING_IN_IT });
      const kind = kindOf(parseJsonLine(line));
      if (kind === 'payload' && reading.buildPrompts !== null) {
        throw new InputProblem('its rows have requests: --build-prompts is for rows with lengths');
      }
      const reader = new MooncakeReader(reading, kind, deps);
      const requests = kind === 'payload' || reading.buildPrompts !== null;
      return new ImportSource({
        path,
        requests,
        missing: requests
          ? [...MISSING_FROM_MOONCAKE, 'methods and paths: those that were given']
          : [...MISSING_FROM_MOONCAKE, 'requests', 'methods and paths'],
        details: {
          format: 'mooncake',
          originUs: reading.origin,
          gapMs: reading.gap,
          path: reading.requestPath,
          method: reading.requestMethod,
          builtPrompts: reading.buildPrompts,
          blockTokens: reading.blockTokens,
        },
        lacking: reader.lacking,
        read: async function* () {
          yield (first.value as TextLine[]).map((each) => reader.read(each));
          for await (const lines of rows) yield lines.map((each) => reader.read(each));
        },
      });
    } catch (thrown) {
      throw thrown instanceof InputProblem ? thrown.toAppError(path) : thrown;
    }
  };
}

export const MOONCAKE_OPTIONS = {
  requestPath: value(
    '--request-path <path>',
    'request path of the payloads, such as /v1/chat/completions',
    parseFilled,
  ),
  requestMethod: value('--request-method <method>', 'request method of the payloads', parseFilled, {
    default: 'POST',
  }),
  buildPrompts: text(
    '--build-prompts <model>',
    'build requests to this model of lengths and hash_ids; equal ids give equal text',
  ),
  blockTokens: value('--block-tokens <n>', 'tokens of a block of hash_ids', parseCount, {
    default: String(BLOCK_TOKENS),
  }),
  origin: originOption('timestamps'),
  gap: value(
    '--gap <time>',
    'gap between rows without a timestamp (default: such rows are an error)',
    parsePositiveMs,
  ),
};
/** How to read a trace. Payloads need a path. Rows without a time need a gap. */
type MooncakeReading = ResolvedOptions<typeof MOONCAKE_OPTIONS>;

/** First seed of the words that are unique to one prompt. It is above every id. */
const OWN_WORDS = 2 ** 52;

/** Kinds of rows: a whole body, or only lengths. */
type MooncakeKind = 'payload' | 'lengths';

const PARTS = ['payload', 'messages', 'text_input', 'input_length'] as const;

/** The kind of a row, from the one key that it must have. @throws InputProblem */
function kindOf(row: JsonObject): MooncakeKind {
  const has = PARTS.filter((key) => Object.hasOwn(row, key));
  // Published traces have only lengths; AIPerf accepts exactly one of these keys.
  if (has.length !== 1) {
    throw new InputProblem(has.length === 0 ? 'no request' : `both ${has.join(' and ')}`, {
      hint: `A row has one of ${PARTS.join(', ')}.`,
    });
  }
  return has[0] === 'input_length' ? 'lengths' : 'payload';
}

/** Converts rows of a Mooncake trace into exchanges. */
class MooncakeReader {
  readonly lacking = new TextCounts();
  readonly #reading: MooncakeReading;
  readonly #kind: MooncakeKind;
  readonly #deps: ImportSourceDeps;
  readonly #times: ArrivalTimes;
  #previousUs: number;
  /** Rows with a generated prompt so far. Each draws its unique words with another seed. */
  #built = 0;

  constructor(reading: MooncakeReading, kind: MooncakeKind, deps: ImportSourceDeps) {
    this.#reading = reading;
    this.#kind = kind;
    this.#deps = deps;
    this.#times = new ArrivalTimes({ unit: 'ms', gaps: false, originUs: reading.origin });
    this.#previousUs = reading.origin - (reading.gap ?? 0) * 1e3;
  }

  /** @throws InputProblem */
  read(line: TextLine): Exchange {
    const row = parseJsonLine(line);
    try {
      if (kindOf(row) !== this.#kind) {
        throw new InputProblem('one file has both rows with a request and rows with only lengths', {
          hint: 'Split the file and import each part.',
        });
      }
      const arrivalUs = this.#arrivalOf(row);
      this.#previousUs = arrivalUs;
      const facts = {
        promptTokens: this.#lengthAt(row, 'input_length'),
        outputTokens: this.#lengthAt(row, 'output_length'),
        session: this.#sessionOf(row),
      };
      const { buildPrompts: model } = this.#reading;
      if (this.#kind === 'payload') return { ...this.#request(this.#bodyOf(row, line), arrivalUs), ...facts };
      if (model !== null) {
        return { ...this.#request(this.#builtBody(row, model, facts), arrivalUs), ...facts };
      }
      if (Object.hasOwn(row, 'hash_ids')) {
        this.lacking.count('hash_ids, which a capture keeps only in prompts (--build-prompts)');
      }
      return { ...NOTHING_BUT_ARRIVAL, arrivalUs, ...facts };
    } catch (thrown) {
      throw lineProblem(thrown, line.number);
    }
  }

  #arrivalOf(row: JsonObject): number {
    // The shortest text of a double equals the digits in the file, unless the file has more than a double holds.
    const timestamp = textAt(row, 'timestamp') || String(numberAt(row, 'timestamp') ?? '');
    if (timestamp !== '') return this.#times.next(timestamp);
    if (textAt(row, 'delay') !== '' || numberAt(row, 'delay') !== null) {
      throw new InputProblem(
        'a delay without a timestamp: it counts from an answer, and a trace has no answers',
        {
          hint: 'Add timestamps to such rows. --gap is only for rows without any time.',
        },
      );
    }
    const { gap: gapMs } = this.#reading;
    if (gapMs === null) {
      throw new InputProblem('no timestamp', {
        hint: 'Set the interval of rows without a time, e.g. --gap 100ms. The capture records it.',
      });
    }
    this.lacking.count(`no time: ${gapMs} ms after the row before`);
    return Math.round(this.#previousUs + gapMs * 1e3);
  }

  /** Tokens; null if the row does not say. */
  #lengthAt(row: JsonObject, key: string): number | null {
    const value = Object.hasOwn(row, key) ? row[key] : null;
    if (value === null) return null;
    const length = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
    if (typeof length === 'number' && Number.isSafeInteger(length) && length >= 0) return length;
    this.lacking.count(`an ${key} that is not a whole number: unknown`);
    return null;
  }

  #sessionOf(row: JsonObject): Uint8Array | null {
    const id = textAt(row, 'session_id') || String(numberAt(row, 'session_id') ?? '');
    return id === '' ? null : this.#deps.hash.ofIdentity('session', id);
  }

  #request(body: Uint8Array, arrivalUs: number): Exchange {
    if (body.length > LIMITS.requestBodyBytes) throw new InputProblem('the payload is too large');
    const { requestMethod: method, requestPath: path } = this.#reading;
    const draft = bodyDraft(body, 'application/json', { method, path });
    return importedExchange({ arrivalUs, request: { ...draft, body: wholeBody(body) } }, this.#deps);
  }

  #builtBody(
    row: JsonObject,
    model: string,
    { promptTokens: tokens, outputTokens }: Pick<Exchange, 'promptTokens' | 'outputTokens'>,
  ): Uint8Array {
    if (tokens === null) throw new InputProblem('no input_length, of which a prompt could be built');
    const { requestPath: path, blockTokens } = this.#reading;
    const own = OWN_WORDS + this.#built;
    this.#built += 1;
    const prompt = promptOf(this.#hashIdsOf(row), { tokens, blockTokens, own });
    return promptBodyOf(prompt, { model, path, outputTokens });
  }

  #hashIdsOf({ hash_ids: ids = [] }: JsonObject): number[] {
    const isList = Array.isArray(ids) && ids.every((id) => Number.isInteger(id));
    if (!isList) this.lacking.count('hash_ids that are no list of whole numbers: its prompt shares nothing');
    return isList ? ids.map((id: number) => Math.abs(id) % OWN_WORDS) : [];
  }

  #bodyOf(row: JsonObject, line: TextLine): Uint8Array {
    if (Object.hasOwn(row, 'payload')) return payloadOf(row, line);
    this.lacking.count('no payload: its body was built from its messages or text');
    const { messages, tools, text_input: prompt, output_length: max_tokens } = row;
    return Buffer.from(JSON.stringify({ messages, prompt, tools, max_tokens, ...objectAt(row, 'extra') }));
  }
}

function payloadOf(row: JsonObject, { bytes }: TextLine): Uint8Array {
  if (objectAt(row, 'payload') === null) throw new InputProblem('the payload is no JSON object');
  return verbatimMember(bytes, row, 'payload');
}

export const MOONCAKE_IMPORT = importFormat({
  summary: 'from a Mooncake trace: payloads, or token counts alone',
  description: null,
  files: ['<file>', 'the trace, JSONL'],
  rows: 'exchanges',
  options: MOONCAKE_OPTIONS,
  open: ([file = ''], asked) => openMooncake(file, resolveOptions(MOONCAKE_OPTIONS, asked)),
});
