import type { Body, Exchange, Message } from '../core/exchange.ts';
import { headerPairsOf, headerValue, traceIdOf } from '../core/headers.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { LIMITS } from '../core/limits.ts';
import { type Asked, choice, type OptionShape } from '../core/options.ts';
import { routeOf } from '../core/routes.ts';
import type { TextCounts } from '../core/text.ts';
import { isErrorAnswer } from '../inference/error-answer.ts';
import {
  isAllJson,
  isEventStream,
  isPlain,
  modelOfJson,
  payloadApiOf,
  requestFeatures,
} from '../inference/features.ts';
import { finishReasonIn } from '../inference/finish-reason.ts';
import { NO_USAGE, usageIn } from '../inference/token-usage.ts';
import type { Redaction } from '../redaction/head-redaction.ts';
import { InputProblem, NOTHING_IN_IT, type TextLine } from './input.ts';
import type { RequestDraft } from './request-draft.ts';

const IMPORT_BODIES = ['requests', 'all'] as const;
type ImportBodies = (typeof IMPORT_BODIES)[number];

/** The option of formats whose files may contain answers. */
export const BODIES_OPTION = {
  bodies: choice('--bodies <which>', 'which bodies to store', IMPORT_BODIES, { default: 'requests' }),
};

export interface ImportSourceDeps {
  readonly hash: KeyedHash;
  readonly redaction: Redaction;
  readonly bodies: ImportBodies;
}

export type OpenImport = (deps: ImportSourceDeps, signal: AbortSignal) => Promise<ImportSource>;

/** A source of events that is not a file. */
export interface EventSource {
  /** JSON, each line one CloudEvent. */
  readonly lines: (signal: AbortSignal) => AsyncIterable<readonly TextLine[]>;
  /** Events that were rejected, by reason. */
  readonly refused: TextCounts;
}

/** Another tool's file that a capture can be built from. */
export interface ImportFormat<Shape extends OptionShape = OptionShape> {
  /** Follows "build a capture". */
  readonly summary: string;
  /** Null to say the summary again. */
  readonly description: string | null;
  /** The files of the command line, and what they are. */
  readonly files: readonly [argument: '<file>' | '[file]' | '<file...>', text: string];
  /** What a row of it is called. */
  readonly rows: 'exchanges' | 'arrivals';
  readonly options: Shape;
  /**
   * @param receive starts to receive events over HTTP at an address
   * @throws AppError OPTION_INVALID listing every problem
   */
  open(
    files: readonly string[],
    asked: Asked<Shape>,
    receive: (address: string, durationMs: number) => EventSource,
  ): OpenImport;
}

/** Checks the type of a format and keeps that of its options. */
export function importFormat<Shape extends OptionShape>(format: ImportFormat<Shape>): ImportFormat<Shape> {
  return format;
}

/** How much of a body's end is searched for token counts. */
const USAGE_BYTES = 64 * 1024;

/** The facts of an exchange if the file has only its arrival. */
export const NOTHING_BUT_ARRIVAL = Object.freeze({
  outcome: null,
  protocol: null,
  method: null,
  route: null,
  status: null,
  connection: null,
  client: null,
  session: null,
  model: null,
  streamed: null,
  requestEndOffsetUs: null,
  firstByteOffsetUs: null,
  lastByteOffsetUs: null,
  clientLeftOffsetUs: null,
  firstTokenOffsetUs: null,
  promptTokens: null,
  outputTokens: null,
  batch: null,
  answerError: null,
  traceId: null,
  request: null,
  response: null,
  requestChunks: [],
  responseChunks: [],
} as const satisfies Omit<Exchange, 'arrivalUs'>);

export interface ImportedBody {
  /** True size as far as known. */
  readonly bytes: number;
  /** Null if the file has none of it. */
  readonly kept: Uint8Array | null;
  readonly truncated: boolean;
}

export interface ImportedResponse {
  readonly status: number;
  /** Status line, header lines and the blank line. */
  readonly head: Uint8Array;
  readonly body: ImportedBody;
}

interface ImportedRequest extends Omit<RequestDraft, 'body'> {
  readonly body: ImportedBody;
}

/** The facts that a file has about one exchange. Offsets are microseconds after the arrival. */
export interface ImportedParts
  extends Partial<
    Pick<
      Exchange,
      'outcome' | 'requestEndOffsetUs' | 'firstByteOffsetUs' | 'lastByteOffsetUs' | 'clientLeftOffsetUs'
    >
  > {
  readonly arrivalUs: number;
  readonly request: ImportedRequest;
  readonly response?: ImportedResponse | null;
}

export function wholeBody(bytes: Uint8Array): ImportedBody {
  return { bytes: bytes.length, kept: bytes, truncated: false };
}

/** Builds the exchange that a recorder would have stored: masked, hashed, with its route and facts. */
export function importedExchange(
  { request, response = null, ...known }: ImportedParts,
  deps: ImportSourceDeps,
): Exchange {
  const named = routeOf(request.method, request.target, deps.redaction);
  const text = request.body.kept;
  const headers = headerPairsOf(request.head);
  const plain = isPlain(headerValue(headers, 'content-encoding'));
  const readable = plain ? text : null;
  const message = requestMessage(request, deps);
  return {
    ...NOTHING_BUT_ARRIVAL,
    outcome: response === null ? null : 'completed',
    ...known,
    protocol: 'http/1.1',
    method: request.method,
    route: named.route,
    status: response?.status ?? null,
    model: named.model ?? (readable === null ? null : modelOfJson(readable)),
    streamed: response && isEventStream(headerValue(headerPairsOf(response.head), 'content-type')),
    ...usageOf(response),
    batch: readable && requestFeatures(payloadApiOf(named), readable, !request.body.truncated).batch,
    answerError: answerErrorOf(response),
    traceId: traceIdOf(headerValue(headers, 'traceparent'), message.head),
    request: message,
    response: response && responseMessage(response, deps),
  };
}

/** A request as a recorder would have stored it. */
export function requestMessage(
  request: ImportedRequest,
  { redaction, hash }: Omit<ImportSourceDeps, 'bodies'>,
): Message {
  const head = redaction.requestHead(request.head);
  const trailers = request.trailers === null ? null : redaction.trailers(request.trailers);
  return {
    head: head.bytes,
    redacted: [...new Set([...head.names, ...(trailers?.names ?? [])])],
    body: bodyOf(request.body, true, LIMITS.requestBodyBytes, hash),
    trailers: trailers?.bytes ?? null,
  };
}

function responseMessage(response: ImportedResponse, { redaction, hash, bodies }: ImportSourceDeps): Message {
  const head = redaction.responseHead(response.head);
  return {
    head: head.bytes,
    redacted: head.names,
    body: bodyOf(response.body, bodies === 'all', LIMITS.responseBodyBytes, hash),
    trailers: null,
  };
}

/** The part of a body that is stored, within a recorder's limits. */
function bodyOf(
  { bytes, kept, truncated }: ImportedBody,
  keep: boolean,
  most: number,
  hash: KeyedHash,
): Body {
  const whole = kept !== null && !truncated && bytes > 0;
  return {
    bytes,
    kept: keep ? (kept?.subarray(0, most) ?? null) : null,
    truncated: truncated || (keep && kept !== null && kept.length > most),
    hash: whole ? hash.ofBody(kept) : null,
  };
}

function usageOf(
  response: ImportedResponse | null,
): Pick<Exchange, 'promptTokens' | 'cachedTokens' | 'outputTokens' | 'finish'> {
  if (response === null || response.body.kept === null) return NO_USAGE;
  if (!isPlain(headerValue(headerPairsOf(response.head), 'content-encoding'))) return NO_USAGE;
  const end = response.body.kept.subarray(-USAGE_BYTES);
  return { ...usageIn(end), finish: finishReasonIn(end) };
}

/** Null for a response that a recorder would not examine, and for a stream. */
function answerErrorOf(response: ImportedResponse | null): boolean | null {
  if (response === null || response.status < 200 || response.status > 299) return null;
  const { bytes, kept, truncated } = response.body;
  const headers = headerPairsOf(response.head);
  if (!isPlain(headerValue(headers, 'content-encoding'))) return null;
  if (kept === null || truncated || isEventStream(headerValue(headers, 'content-type'))) return null;
  const isJson = isAllJson({
    contentType: headerValue(headers, 'content-type'),
    inferenceHeaderLength: headerValue(headers, 'inference-header-content-length'),
  });
  return bytes > 0 && isErrorAnswer(Buffer.from(kept.buffer, kept.byteOffset, kept.length), isJson);
}

/** The requests that arrivals were paired with. */
export interface PayloadFacts {
  readonly requests: number;
  readonly bytes: number;
  /** Names of files in a folder that hold no request. */
  readonly skippedFiles: readonly string[];
  /** Seed of the random draws. */
  readonly seed: number;
}

interface ImportSourceParts {
  readonly path: string;
  /** Whether its exchanges have requests and so can be replayed. */
  readonly requests: boolean;
  /** What the format never contains, noted in the capture. */
  readonly missing: readonly string[];
  /** Other facts about reading. */
  readonly details: Readonly<Record<string, unknown>>;
  /** What single exchanges lack or had to be substituted. */
  readonly lacking: TextCounts;
  readonly payloads?: PayloadFacts | null;
  /** The exchanges in file order, in batches. @throws InputProblem */
  readonly read: (signal: AbortSignal) => AsyncGenerator<Exchange[]>;
}

/** Progress of an import. Arrivals are epoch microseconds, null before the first row. */
export interface ArrivalTally {
  readonly rows: number;
  readonly firstArrivalUs: number | null;
  readonly lastArrivalUs: number | null;
  /** Rows that arrive before the previous row. */
  readonly outOfOrder: number;
}

/** Truncated in the file, or over the limit of stored bytes. */
const CUT_REQUEST = 'a truncated request body: it cannot be replayed';

/** A foreign file as exchanges, read once, at constant memory. */
export class ImportSource {
  readonly parts: ImportSourceParts;
  tally: ArrivalTally = { rows: 0, firstArrivalUs: null, lastArrivalUs: null, outOfOrder: 0 };
  #previousUs = Number.NEGATIVE_INFINITY;

  constructor(parts: ImportSourceParts) {
    this.parts = parts;
  }

  /** What single exchanges lack, by text; complete after reading. */
  get lacking(): Readonly<Record<string, number>> {
    return this.parts.lacking.all;
  }

  /**
   * The exchanges in file order, in batches. Call once.
   * @throws AppError INPUT_INVALID naming file, place, reason and hint; the signal's reason when it aborts
   */
  async *batches(signal: AbortSignal): AsyncGenerator<Exchange[]> {
    const { path, lacking, read } = this.parts;
    try {
      for await (const exchanges of read(signal)) {
        signal.throwIfAborted();
        for (const { arrivalUs, request, response } of exchanges) {
          this.#count(arrivalUs);
          if (request?.body.truncated) lacking.count(CUT_REQUEST);
          if (response?.body.truncated) lacking.count('a truncated response body');
        }
        yield exchanges;
      }
      if (this.tally.rows === 0) throw new InputProblem('holds no exchange', { hint: NOTHING_IN_IT });
    } catch (thrown) {
      throw thrown instanceof InputProblem ? thrown.toAppError(path) : thrown;
    }
  }

  #count(arrivalUs: number): void {
    const { rows, firstArrivalUs, lastArrivalUs, outOfOrder } = this.tally;
    this.tally = {
      rows: rows + 1,
      firstArrivalUs: Math.min(firstArrivalUs ?? arrivalUs, arrivalUs),
      lastArrivalUs: Math.max(lastArrivalUs ?? arrivalUs, arrivalUs),
      outOfOrder: outOfOrder + (arrivalUs < this.#previousUs ? 1 : 0),
    };
    this.#previousUs = arrivalUs;
  }
}

/** Adds the place of an item to its problem. */
export function placed(place: string, thrown: unknown): unknown {
  if (!(thrown instanceof InputProblem)) return thrown;
  return new InputProblem(`${place}: ${thrown.message}`, { cause: thrown, hint: thrown.hint });
}
