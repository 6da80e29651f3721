import { AppError } from '../core/errors.ts';
import type { Exchange } from '../core/exchange.ts';
import type { HeaderPair } from '../core/headers.ts';
import { LIMITS } from '../core/limits.ts';
import { resolveOptions, text, value } from '../core/options.ts';
import { TextCounts } from '../core/text.ts';
import { parseInstantUs, parsePositiveMs } from '../core/units.ts';
import { checkedInstant } from './exact-time.ts';
import {
  BODIES_OPTION,
  type EventSource,
  type ImportedResponse,
  ImportSource,
  type ImportSourceDeps,
  importedExchange,
  importFormat,
  type OpenImport,
  wholeBody,
} from './import-source.ts';
import {
  base64Bytes,
  InputProblem,
  type JsonObject,
  lineProblem,
  parseJsonLine,
  shown,
  type TextLine,
  textAt,
  textBytes,
  textLines,
  verbatimMember,
} from './input.ts';
import { draftRequest, isHeader } from './request-draft.ts';

/** Events kept at most while they wait for their request or response. Beyond that, the earliest stop waiting. */
const MOST_WAITING = 10_000;
const MOST_WAITING_BYTES = 64 * 1024 * 1024;

/** What KServe's logger never sends. */
const MISSING_FROM_KSERVE = [
  'request paths and methods: told from the payload',
  'headers, but for those its metadata is set to hold',
  'statuses other than 200: such an answer is not logged',
  'the times of first bytes and of chunks: a time is when an event was sent, after it had waited in a queue',
  'connections',
  'clients',
  'sessions',
  'losses and coverage: an event that could not be delivered is gone',
] as const;

const KSERVE_OPTIONS = {
  ...BODIES_OPTION,
  requestPath: text(
    '--request-path <path>',
    'request path of all requests (default: by payload and InferenceService)',
  ),
  listen: text(
    '--listen <address>',
    'take events over HTTP here, such as 127.0.0.1:8099, in place of a file',
  ),
  listenFor: value('--listen-for <time>', 'how long events are taken', parsePositiveMs, { default: '10m' }),
};

/**
 * Reads the events of KServe's inference logger: CloudEvents with the payload of a request or a response. Both
 * events of an exchange have the same id.
 * @param name name of the source, for error messages
 * @param events the source; null to read the file `name`
 * @see https://kserve.github.io/website/docs/model-serving/predictive-inference/logger
 */
export function openKserve(name: string, requestPath: string | null, events: EventSource | null): OpenImport {
  return async (deps) => {
    const pairs = new EventPairs(requestPath, deps, events !== null);
    return new ImportSource({
      path: name,
      requests: true,
      missing: MISSING_FROM_KSERVE,
      details: { format: 'kserve', requestPath, latencies: 'between the events of the logger' },
      lacking: pairs.lacking,
      read: async function* (signal) {
        for await (const batch of events?.lines(signal) ?? textLines(textBytes(name, signal))) {
          const exchanges = batch.flatMap((line) => pairs.take(line));
          if (exchanges.length > 0) yield exchanges;
        }
        for (const [reason, count] of Object.entries(events?.refused.all ?? {})) {
          pairs.lacking.count(reason, count);
        }
        yield pairs.end();
      },
    });
  };
}

/** @returns null for an event of another type. @throws InputProblem if the line is no event */
export function parseEvent(line: TextLine): LoggedEvent | null {
  const row = parseJsonLine(line);
  try {
    const type = textAt(row, 'type');
    if (type !== REQUEST && type !== RESPONSE) return null;
    if (textAt(row, 'id') === '') throw new InputProblem('the event has no id');
    const isRequest = type === REQUEST;
    return { row, line: line.number, isRequest, timeUs: timeOf(row), data: dataOf(row, line) };
  } catch (thrown) {
    throw lineProblem(thrown, line.number);
  }
}

const REQUEST = 'org.kubeflow.serving.inference.request';
const RESPONSE = 'org.kubeflow.serving.inference.response';

interface LoggedEvent {
  readonly row: JsonObject;
  readonly line: number;
  readonly isRequest: boolean;
  readonly timeUs: number;
  readonly data: Buffer;
}

/** Pairs requests with responses. The logger's workers send concurrently, so either can come first. */
class EventPairs {
  readonly lacking = new TextCounts();
  readonly #requestPath: string | null;
  readonly #deps: ImportSourceDeps;
  /** Whether unusable events are skipped and counted, for sources whose events can no longer be corrected. */
  readonly #leavesOut: boolean;
  /** In the order in which they came. */
  readonly #waiting = new Map<string, LoggedEvent>();
  #waitingBytes = 0;

  constructor(requestPath: string | null, deps: ImportSourceDeps, leavesOut: boolean) {
    this.#requestPath = requestPath;
    this.#deps = deps;
    this.#leavesOut = leavesOut;
  }

  /** @returns exchanges that are complete or cannot wait longer. @throws InputProblem */
  take(line: TextLine): Exchange[] {
    const event = this.#eventOf(line);
    if (event === null) return [];
    const key = JSON.stringify(
      ['id', 'namespace', 'inferenceservicename', 'component'].map((name) => textAt(event.row, name)),
    );
    const other = this.#waiting.get(key);
    const exchanges: Exchange[] = [];
    if (other !== undefined) {
      this.#forget(key, other);
      if (other.isRequest !== event.isRequest) {
        return event.isRequest ? this.#exchange(event, other) : this.#exchange(other, event);
      }
      this.lacking.count('an id that another exchange has too');
      exchanges.push(...this.#alone(other));
    }
    this.#waiting.set(key, event);
    this.#waitingBytes += event.data.length;
    for (const [oldest, waiting] of this.#waiting) {
      if (this.#waiting.size <= MOST_WAITING && this.#waitingBytes <= MOST_WAITING_BYTES) break;
      this.#forget(oldest, waiting);
      exchanges.push(...this.#alone(waiting));
    }
    return exchanges;
  }

  /** The exchanges that still wait. */
  end(): Exchange[] {
    const rest = [...this.#waiting.values()];
    this.#waiting.clear();
    return rest.flatMap((event) => this.#alone(event));
  }

  #forget(key: string, event: LoggedEvent): void {
    this.#waiting.delete(key);
    this.#waitingBytes -= event.data.length;
  }

  #eventOf(line: TextLine): LoggedEvent | null {
    try {
      const event = parseEvent(line);
      if (event === null) this.lacking.count('an event of another type: left out');
      return event;
    } catch (thrown) {
      this.#leaveOut(thrown);
      return null;
    }
  }

  /** @throws the given error, unless it is a problem of an event that may be skipped */
  #leaveOut(thrown: unknown): void {
    if (!this.#leavesOut || !(thrown instanceof InputProblem)) throw thrown;
    this.lacking.count('an event that cannot be read: left out');
  }

  #alone(event: LoggedEvent): Exchange[] {
    if (event.isRequest) {
      this.lacking.count('no response event: another status than 200, or the event was lost');
      return this.#exchange(event, null);
    }
    this.lacking.count('a response without its request: left out');
    return [];
  }

  #exchange({ row, line, timeUs, data }: LoggedEvent, answer: LoggedEvent | null): Exchange[] {
    try {
      const target = this.#requestPath ?? pathOf(data, textAt(row, 'inferenceservicename'));
      if (target === null) {
        this.lacking.count('a payload of no known protocol: left out; --request-path names its path');
        return [];
      }
      const type = textAt(row, 'datacontenttype') || 'application/json';
      const draft = draftRequest('POST', target, [...this.#headers(row), ['Content-Type', type]], data);
      const latencyUs = answer === null ? null : answer.timeUs - timeUs;
      const known = latencyUs !== null && latencyUs >= 0 && latencyUs <= LIMITS.importOffsetUs;
      if (latencyUs !== null && !known) this.lacking.count('a response before its request: no latency');
      const parts = {
        arrivalUs: timeUs,
        request: { ...draft, body: wholeBody(data) },
        response: answer && responseOf(answer.data),
        lastByteOffsetUs: known ? latencyUs : null,
      };
      return [importedExchange(parts, this.#deps)];
    } catch (thrown) {
      this.#leaveOut(lineProblem(thrown, line));
      return [];
    }
  }

  /** Headers that the logger was configured to forward (`metadataHeaders`): names with lists of values. */
  #headers(row: JsonObject): HeaderPair[] {
    const metadata = textAt(row, 'metadata');
    if (metadata === '') return [];
    let named: unknown;
    try {
      named = JSON.parse(metadata);
    } catch (cause) {
      throw new InputProblem('its metadata are not JSON', { cause });
    }
    return Object.entries(named ?? {})
      .flatMap(([name, values]) => [values].flat().map((value): HeaderPair => [name, String(value)]))
      .filter(([name, value]) => isHeader(name, value) && !OF_THE_MESSAGE.has(name.toLowerCase()));
  }
}

/** Headers that are rebuilt from the payload. */
const OF_THE_MESSAGE: ReadonlySet<string> = new Set(['content-type', 'content-length', 'transfer-encoding']);

function timeOf(row: JsonObject): number {
  const time = textAt(row, 'time');
  try {
    return checkedInstant(parseInstantUs(time, 'time'), time);
  } catch (cause) {
    if (cause instanceof InputProblem) throw cause;
    throw new InputProblem(`time ${shown(time)} is no instant`, { cause });
  }
}

/** The bytes of the payload: a JSON value as written in the file, a text, or decoded base64. */
function dataOf(row: JsonObject, { bytes }: TextLine): Buffer {
  if (Object.hasOwn(row, 'data_base64')) {
    const decoded = base64Bytes(textAt(row, 'data_base64'));
    if (decoded === null) throw new InputProblem('data_base64 is not base64');
    return decoded;
  }
  if (!Object.hasOwn(row, 'data')) return Buffer.alloc(0);
  return typeof row['data'] === 'string' ? Buffer.from(row['data']) : verbatimMember(bytes, row, 'data');
}

/** The path at which KServe accepts such a payload; null if it follows none of KServe's protocols. */
function pathOf(payload: Buffer, model: string): string | null {
  let body: unknown;
  try {
    body = JSON.parse(payload.toString());
  } catch {
    return null;
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return null;
  const name = encodeURIComponent(model);
  const has = (key: string) => Object.hasOwn(body, key);
  if (has('messages')) return '/openai/v1/chat/completions';
  if (has('prompt')) return '/openai/v1/completions';
  if (has('input') && has('model')) return '/openai/v1/embeddings';
  if (name === '') return null;
  if (has('inputs') && isTensor((body as { inputs: unknown }).inputs)) return `/v2/models/${name}/infer`;
  return has('instances') || has('inputs') ? `/v1/models/${name}:predict` : null;
}

function isTensor(inputs: unknown): boolean {
  const first = Array.isArray(inputs) ? inputs[0] : null;
  return typeof first === 'object' && first !== null && Object.hasOwn(first, 'datatype');
}

/** The answer. Its status is always 200. Its type is derived from the body, because the logger omits it. */
function responseOf(data: Buffer): ImportedResponse {
  const isStream = /^(?:data|event|:)/.test(data.toString('latin1', 0, 8));
  const type = isStream ? 'text/event-stream' : 'application/json';
  const lines = `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${data.length}\r\n\r\n`;
  return { status: 200, head: Buffer.from(lines, 'latin1'), body: wholeBody(data) };
}

export const KSERVE = importFormat({
  summary: "from CloudEvents of KServe's logger, JSONL or over HTTP",
  description: null,
  files: ['[file]', 'the events, JSONL; none with --listen'],
  rows: 'exchanges',
  options: KSERVE_OPTIONS,
  open: ([file], asked, receive) => {
    const { requestPath, listen, listenFor } = resolveOptions(KSERVE_OPTIONS, asked);
    if ((file === undefined) === (listen === null)) {
      const found = listen === null ? 'no file and no --listen' : 'both a file and --listen';
      throw new AppError('OPTION_INVALID', found, {
        hint: 'Pass a file of events, or --listen 127.0.0.1:PORT to take them over HTTP.',
      });
    }
    return openKserve(listen ?? file ?? '', requestPath, listen === null ? null : receive(listen, listenFor));
  },
});
