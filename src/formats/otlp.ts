import { ASCII } from '../core/ascii.ts';
import type { Exchange } from '../core/exchange.ts';
import { LIMITS } from '../core/limits.ts';
import { resolveOptions, text } from '../core/options.ts';
import { picked } from '../core/picked.ts';
import { routeOf } from '../core/routes.ts';
import { TextCounts } from '../core/text.ts';
import { checkedInstant } from './exact-time.ts';
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
  arrayAt,
  InputProblem,
  type JsonObject,
  joined,
  lineProblem,
  objectAt,
  parseJsonLine,
  shown,
  splitHead,
  type TextLine,
  textAt,
  textBytes,
  textLines,
} from './input.ts';
import { type Attributes, isOfModels, type ModelCall, modelCallOf, type Operation } from './model-calls.ts';
import { protobufTraces } from './otlp-protobuf.ts';
import { promptOf } from './prompt-blocks.ts';
import { draftRequest } from './request-draft.ts';

export const OTLP_OPTIONS = {
  requestPath: text('--request-path <path>', 'request path of all requests (default: by operation)'),
  buildPrompts: text(
    '--build-prompts <model>',
    'build requests of calls without messages from their token counts, to <model> where a span names none',
  ),
};

interface OtlpReading {
  readonly requestPath: string | null;
  readonly buildPrompts: string | null;
}

/** Facts that a span never contains. */
const MISSING_FROM_SPANS = [
  'bodies as they were sent: those here are built, for an OpenAI-compatible server',
  'headers',
  'answers',
  'statuses of calls without an error: taken as 200',
  'retries within a call',
  'the times of first bytes and of chunks',
  'connections',
  'which call waited for which: calls of a trace are replayed at their times',
  'losses, sampling and coverage',
] as const;

const PATHS: Readonly<Record<Operation, string>> = {
  chat: '/v1/chat/completions',
  completion: '/v1/completions',
  embeddings: '/v1/embeddings',
};

/**
 * Reads spans of model calls from OTLP: files of the collector's file exporter, or one request over HTTP. They are
 * protobuf or JSON (one document, or one a line).
 * @param paths files of one export, such as rotated files
 * @see https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
 */
export function openOtlp(paths: readonly string[], reading: OtlpReading): OpenImport {
  return async (deps) => {
    const maker = new CallExchanges(reading, deps);
    const calls = new DistinctCalls(maker.lacking);
    return new ImportSource({
      path: paths.join(', '),
      // Known only after the whole input is read.
      get requests() {
        return maker.made === 0 || maker.withRequest > 0;
      },
      get missing() {
        return maker.made > maker.withRequest && maker.withRequest === 0
          ? [...MISSING_FROM_SPANS, 'requests']
          : MISSING_FROM_SPANS;
      },
      details: { format: 'otlp', ...reading, latencies: "of the span's maker, mostly the client" },
      lacking: maker.lacking,
      read: async function* (signal) {
        const exchangesOf = (document: JsonObject) =>
          callsIn(document, calls, maker.lacking).map((call) => maker.exchange(call));
        for (const path of paths) {
          try {
            const { head, rest } = await splitHead(textBytes(path, signal));
            const packed = protobufTraces(head, joined(head, rest));
            if (packed === null) yield* fromJson(joined(head, rest), exchangesOf);
            else for await (const document of packed) yield exchangesOf(document);
          } catch (thrown) {
            throw thrown instanceof InputProblem ? thrown.toAppError(path) : thrown;
          }
        }
        yield calls.end().map((call) => maker.exchange(call));
      },
    });
  };
}

/** A call with its position in its trace. */
interface TracedCall extends ModelCall {
  readonly traceId: string;
  readonly key: string;
  readonly parentKey: string;
  readonly arrivalUs: number;
  readonly lastByteOffsetUs: number | null;
}

const { OPEN_BRACE, CLOSE_BRACE, SPACE } = ASCII;

/**
 * JSON documents, each on one or several lines. With several, its last line begins with the closing brace.
 * @throws InputProblem
 */
async function* documents(chunks: AsyncIterable<Buffer>): AsyncGenerator<TextLine> {
  let held: Buffer[] = [];
  let [heldBytes, number] = [0, 0];
  const whole = () => {
    const document = { number, bytes: held.length === 1 ? held[0]! : Buffer.concat(held) };
    held = [];
    heldBytes = 0;
    return document;
  };
  for await (const lines of textLines(chunks)) {
    for (const { number: at, bytes } of lines) {
      if (held.length === 0) {
        number = at;
        if (bytes[0] !== OPEN_BRACE) throw new InputProblem('not OTLP', { line: at, hint: AS_JSON });
      }
      held.push(bytes);
      heldBytes += bytes.length;
      if (heldBytes > LIMITS.importLineBytes)
        throw new InputProblem('a document is too large', { line: number });
      const last = held.length === 1 ? bytes.findLast((byte) => byte > SPACE) : bytes[0];
      if (last === CLOSE_BRACE) yield whole();
    }
  }
  if (held.length > 0) yield whole();
}

const AS_JSON = "The collector's file exporter writes it, without `compression`.";
const SIGNALS = ['resourceSpans', 'resourceLogs', 'resourceMetrics'];

/** @throws InputProblem with the line */
async function* fromJson<Made>(
  chunks: AsyncIterable<Buffer>,
  made: (document: JsonObject) => Made,
): AsyncGenerator<Made> {
  for await (const line of documents(chunks)) {
    try {
      const document = parseJsonLine(line);
      if (!SIGNALS.some((key) => Object.hasOwn(document, key)))
        throw new InputProblem('no resourceSpans: not OTLP', { hint: AS_JSON });
      yield made(document);
    } catch (thrown) {
      throw lineProblem(thrown, line.number);
    }
  }
}

/** @returns calls that wait no longer. @throws InputProblem */
function callsIn(document: JsonObject, calls: DistinctCalls, lacking: TextCounts): TracedCall[] {
  const spans = arrayAt(document, 'resourceSpans')
    .flatMap((resource) => arrayAt(resource, 'scopeSpans'))
    .flatMap((scope) => arrayAt(scope, 'spans'));
  return spans.flatMap((span) => {
    const attributes = attributesOf(span);
    const place = placeOf(span);
    const call = callOf(span, attributes, place);
    if (call !== null) return calls.take(call);
    if (isOfModels(attributes)) lacking.count('a span of an agent, a tool or a chain: left out');
    else calls.pass(place);
    return [];
  });
}

type Place = Pick<TracedCall, 'traceId' | 'key' | 'parentKey'>;

function placeOf(span: JsonObject): Place {
  const traceId = textAt(span, 'traceId').toLowerCase();
  const keyOf = (id: string) => (id === '' ? '' : `${traceId}/${id}`);
  return { traceId, key: keyOf(textAt(span, 'spanId')), parentKey: keyOf(textAt(span, 'parentSpanId')) };
}

function callOf(span: JsonObject, attributes: Attributes, place: Place): TracedCall | null {
  const startUs = instantOf(span, 'startTimeUnixNano');
  const end = instantOf(span, 'endTimeUnixNano');
  const endUs =
    startUs !== null && end !== null && end >= startUs && end - startUs <= LIMITS.importOffsetUs ? end : null;
  const { code } = objectAt(span, 'status') ?? {};
  const call = modelCallOf({
    attributes,
    startUs: startUs ?? 0,
    endUs,
    isError: code === 2 || code === 'STATUS_CODE_ERROR',
    events: arrayAt(span, 'events').map((event) => ({
      name: textAt(event, 'name'),
      timeUs: instantOf(event, 'timeUnixNano') ?? 0,
      attributes: attributesOf(event),
    })),
  });
  if (call === null) return null;
  if (startUs === null) throw new InputProblem(`the span ${shown(textAt(span, 'name'))} has no start`);
  const lacking = endUs === null ? [...call.lacking, 'no end after the start: no latency'] : call.lacking;
  return {
    ...call,
    ...place,
    lacking,
    arrivalUs: startUs,
    lastByteOffsetUs: endUs === null ? null : endUs - startUs,
  };
}

/** Nanoseconds since 1970 as text, or as a number; null if missing or 0. @throws InputProblem */
function instantOf(object: JsonObject, key: string): number | null {
  const value = object[key] ?? 0;
  if (value === 0 || value === '0' || value === '') return null;
  if (typeof value === 'number') return checkedInstant(Math.round(value / 1e3), String(value));
  if (typeof value !== 'string' || !/^\d{1,20}$/.test(value))
    throw new InputProblem(`${key} is no time in nanoseconds`, { hint: 'Correct it, or remove the span.' });
  return checkedInstant(Number((BigInt(value) + 500n) / 1000n), value);
}

function attributesOf(object: JsonObject): Map<string, unknown> {
  return new Map(
    arrayAt(object, 'attributes').map((each) => [textAt(each, 'key'), plainValue(objectAt(each, 'value'))]),
  );
}

/** The value of an OTLP `AnyValue`. Its JSON has 64-bit numbers as text. */
function plainValue(value: JsonObject | null): unknown {
  if (value === null) return undefined;
  if (Object.hasOwn(value, 'intValue')) return Number(value['intValue']);
  const list = objectAt(value, 'arrayValue');
  if (list !== null) return arrayAt(list, 'values').map(plainValue);
  const record = objectAt(value, 'kvlistValue');
  if (record !== null)
    return Object.fromEntries(
      arrayAt(record, 'values').map((each) => [textAt(each, 'key'), plainValue(objectAt(each, 'value'))]),
    );
  return value['stringValue'] ?? value['doubleValue'] ?? value['boolValue'];
}

/** Calls kept at most while they wait for the rest of their traces. Beyond that, the longest silent one is returned. */
const MOST_WAITING = 10_000;
const MOST_WAITING_BYTES = 64 * 1024 * 1024;
/** Positions in traces that are remembered. */
const MOST_PLACES = 200_000;
/** Most transport spans between two spans of one call. */
const MOST_BETWEEN = 32;

/**
 * Keeps one span for each call. One call may have nested spans: of a framework, its client, and the server. A span and
 * its only child belong to one call if they have the same operation, and the same model if both name one. The innermost
 * span with messages is kept, else the innermost one. A span with several children of its operation contains several
 * calls and is left out. Transport spans in between are skipped over; other spans (agents, tools) separate calls.
 * Spans come in any order, so a trace is examined as a whole.
 */
class DistinctCalls {
  readonly #lacking: TextCounts;
  /** Calls by trace. The longest silent trace is first. */
  readonly #waiting = new Map<string, TracedCall[]>();
  #waitingCalls = 0;
  #waitingBytes = 0;
  /** Starts of calls by span key, to recognize spans that come twice. */
  readonly #starts = new Map<string, number>();
  /** Parents of transport spans. */
  readonly #above = new Map<string, string>();

  constructor(lacking: TextCounts) {
    this.#lacking = lacking;
  }

  /** @returns calls that wait no longer */
  take(call: TracedCall): TracedCall[] {
    if (this.#starts.get(call.key) === call.arrivalUs) {
      this.#lacking.count('a span that came twice: left out');
      return [];
    }
    remember(this.#starts, call.key, call.arrivalUs);
    const calls = this.#waiting.get(call.traceId) ?? [];
    calls.push(call);
    this.#waiting.delete(call.traceId);
    this.#waiting.set(call.traceId, calls);
    this.#waitingCalls += 1;
    this.#waitingBytes += call.body?.length ?? 0;
    return this.#beyond(MOST_WAITING, MOST_WAITING_BYTES);
  }

  pass({ key, parentKey }: Place): void {
    remember(this.#above, key, parentKey);
  }

  end(): TracedCall[] {
    return this.#beyond(0, 0);
  }

  #beyond(most: number, mostBytes: number): TracedCall[] {
    const gone: TracedCall[][] = [];
    for (const [trace, calls] of this.#waiting) {
      if (this.#waitingCalls <= most && this.#waitingBytes <= mostBytes) break;
      this.#waiting.delete(trace);
      this.#waitingCalls -= calls.length;
      for (const { body } of calls) this.#waitingBytes -= body?.length ?? 0;
      gone.push(this.#distinct(calls));
    }
    return gone.flat();
  }

  #distinct(calls: readonly TracedCall[]): TracedCall[] {
    const placed: PlacedCall[] = calls.map((call) => ({ call, outer: null, inner: [] }));
    const byKey = new Map(placed.map((each) => [each.call.key, each]));
    for (const each of placed) {
      each.outer = this.#outerOf(each, byKey);
      each.outer?.inner.push(each);
    }
    const kept = new Set(
      placed.filter(({ inner }) => inner.length < 2 && !inner.some(sameOutside)).map(withMessages),
    );
    for (const { inner } of placed.filter((each) => !kept.has(each))) {
      const what = inner.length > 1 ? 'a span around several calls' : 'a span of the same call as another';
      this.#lacking.count(`${what}: left out`);
    }
    return [...kept].map(({ call }) => call);
  }

  #outerOf(inner: PlacedCall, byKey: ReadonlyMap<string, PlacedCall>): PlacedCall | null {
    let key: string | undefined = inner.call.parentKey;
    for (let steps = 0; key !== undefined && key !== '' && steps < MOST_BETWEEN; steps += 1) {
      const outer = byKey.get(key);
      if (outer !== undefined)
        return outer !== inner && outer.call.operation === inner.call.operation ? outer : null;
      key = this.#above.get(key);
    }
    return null;
  }
}

/** A call with its parent and its children of the same operation. */
interface PlacedCall {
  readonly call: TracedCall;
  outer: PlacedCall | null;
  readonly inner: PlacedCall[];
}

/** The next outer span of the same call. */
function sameOutside({ call: { model }, outer }: PlacedCall): PlacedCall | null {
  if (outer === null || outer.inner.length > 1) return null;
  return model === null || outer.call.model === null || model === outer.call.model ? outer : null;
}

/** The innermost span with messages among the spans of one call; this innermost span if none has them. */
function withMessages(innermost: PlacedCall): PlacedCall {
  let told: PlacedCall | null = innermost;
  while (told?.call.body === null) told = sameOutside(told);
  return told ?? innermost;
}

function remember<Value>(places: Map<string, Value>, key: string, value: Value): void {
  if (key === '') return;
  places.set(key, value);
  const oldest = places.keys().next().value;
  if (places.size > MOST_PLACES && oldest !== undefined) places.delete(oldest);
}

/** Converts calls into exchanges. */
class CallExchanges {
  readonly lacking = new TextCounts();
  readonly #reading: OtlpReading;
  readonly #deps: ImportSourceDeps;
  made = 0;
  withRequest = 0;

  constructor(reading: OtlpReading, deps: ImportSourceDeps) {
    this.#reading = reading;
    this.#deps = deps;
  }

  /** @throws InputProblem for a path or server that is invalid in a request */
  exchange(call: TracedCall): Exchange {
    for (const what of call.lacking) this.lacking.count(what);
    const target = this.#reading.requestPath ?? PATHS[call.operation];
    const facts = this.#facts(call);
    this.made += 1;
    const body = call.body ?? this.#builtBody(call);
    if (body === null) {
      this.lacking.count('no messages: an arrival alone, which is not replayed');
      const { route } = routeOf('POST', target, this.#deps.redaction);
      return { ...NOTHING_BUT_ARRIVAL, arrivalUs: call.arrivalUs, method: 'POST', route, ...facts };
    }
    this.withRequest += 1;
    const host = call.server === null ? [] : [['Host', call.server] as const];
    const draft = draftRequest('POST', target, [...host, ['Content-Type', 'application/json']], body);
    const parts = { arrivalUs: call.arrivalUs, request: { ...draft, body: wholeBody(body) } };
    const exchange = importedExchange(parts, this.#deps);
    return { ...exchange, ...facts, model: facts.model ?? exchange.model };
  }

  #facts(call: TracedCall) {
    const { hash } = this.#deps;
    const { status } = call;
    const isAnswer = !call.isError || (status !== null && status >= 300);
    if (call.isError && status === null)
      this.lacking.count('an error without a status: taken as no whole answer');
    const session = call.conversation ?? call.traceId;
    return {
      outcome: isAnswer ? ('completed' as const) : ('upstream_failed' as const),
      ...picked(call, 'status', 'model', 'streamed', 'lastByteOffsetUs', 'firstTokenOffsetUs'),
      ...picked(call, 'promptTokens', 'outputTokens'),
      session: session === '' ? null : hash.ofIdentity('session', session),
      client: call.user === null ? null : hash.ofIdentity('client', call.user),
      traceId: /^(?!0+$)[0-9a-f]{32}$/.test(call.traceId) ? Buffer.from(call.traceId, 'hex') : null,
    };
  }

  #builtBody({ operation, model, promptTokens, outputTokens, streamed }: TracedCall): Buffer | null {
    const { buildPrompts } = this.#reading;
    if (buildPrompts === null || promptTokens === null) return null;
    const prompt = promptOf([], { tokens: promptTokens, blockTokens: promptTokens, own: this.made });
    this.lacking.count('a built prompt: it had no messages');
    const asked =
      operation === 'chat'
        ? { messages: [{ role: 'user', content: prompt }] }
        : { [operation === 'completion' ? 'prompt' : 'input']: prompt };
    const max_tokens = operation === 'embeddings' ? undefined : (outputTokens ?? undefined);
    const stream = streamed === true ? true : undefined;
    return Buffer.from(JSON.stringify({ model: model ?? buildPrompts, ...asked, max_tokens, stream }));
  }
}

export const OTLP = importFormat({
  summary: 'from OpenTelemetry traces of model calls, OTLP JSON',
  description: null,
  files: ['<file...>', "files of OTLP JSON, such as the collector's file exporter writes"],
  rows: 'exchanges',
  options: OTLP_OPTIONS,
  open: (files, asked) => openOtlp(files, resolveOptions(OTLP_OPTIONS, asked)),
});
