import type { Body, Exchange, Message, Outcome } from '../core/exchange.ts';
import { headerPairsOf, headerValue } from '../core/headers.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { LIMITS } from '../core/limits.ts';
import { routeOf } from '../core/routes.ts';
import type { TextCounts } from '../core/text.ts';
import { isEventStream, isPlain, modelOfJson, payloadApiOf, requestFeatures } from '../inference/features.ts';
import { NO_USAGE, usageIn } from '../inference/token-usage.ts';
import type { Redaction } from '../redaction/redaction.ts';
import { InputProblem, NOTHING_IN_IT } from './input.ts';
import type { RequestDraft } from './request-draft.ts';

/** Which bodies an import stores. */
export const IMPORT_BODIES = ['requests', 'all'] as const;
export type ImportBodies = (typeof IMPORT_BODIES)[number];

export interface ImportSourceDeps {
  readonly hash: KeyedHash;
  readonly redaction: Redaction;
  readonly bodies: ImportBodies;
}

/** A foreign file as exchanges, read once, at constant memory. */
export interface ImportSource {
  /** Whether its exchanges have requests and so can be replayed. */
  readonly requests: boolean;
  readonly tally: ArrivalTally;
  /** What the format never contains, noted in the capture. */
  readonly missing: readonly string[];
  /** What single exchanges lack or had to be substituted; complete after reading. */
  readonly lacking: Readonly<Record<string, number>>;
  /** Other facts about reading. */
  readonly details: Readonly<Record<string, unknown>>;
  /**
   * The exchanges in file order, in batches. Call once.
   * @throws AppError INPUT_INVALID naming file, place, reason and hint; the signal's reason when it aborts
   */
  batches(signal: AbortSignal): AsyncGenerator<Exchange[]>;
}

/** Opens one format. */
export type OpenImport = (deps: ImportSourceDeps, signal: AbortSignal) => Promise<ImportSource>;

/** How much of a body's end is searched for token counts. */
const USAGE_BYTES = 64 * 1024;
const NO_CHUNKS: readonly number[] = Object.freeze([]);

/** A body in a file. */
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

/** One exchange in a file. Offsets are microseconds after the arrival, null if unknown. */
export interface ImportedParts {
  readonly arrivalUs: number;
  readonly outcome: Outcome;
  readonly request: Omit<RequestDraft, 'body'> & { readonly body: ImportedBody };
  readonly response: ImportedResponse | null;
  readonly session: string | null;
  readonly requestEndOffsetUs: number | null;
  readonly firstByteOffsetUs: number | null;
  readonly lastByteOffsetUs: number | null;
  /** When the client left early; absent if the file does not say. */
  readonly clientLeftOffsetUs?: number | null;
}

/** A complete body. */
export function wholeBody(bytes: Uint8Array): ImportedBody {
  return { bytes: bytes.length, kept: bytes, truncated: false };
}

/** Builds the exchange that a recorder would have stored: masked, hashed, with its route and facts. */
export function importedExchange(parts: ImportedParts, deps: ImportSourceDeps): Exchange {
  const { request, response } = parts;
  const named = routeOf(request.method, request.target, deps.redaction);
  const contentType = response && headerValue(headerPairsOf(response.head), 'content-type');
  const text = request.body.kept;
  const plain = isPlain(headerValue(headerPairsOf(request.head), 'content-encoding'));
  const api = payloadApiOf(named);
  return {
    arrivalUs: parts.arrivalUs,
    outcome: parts.outcome,
    protocol: 'http/1.1',
    method: request.method,
    route: named.route,
    status: response?.status ?? null,
    connection: null,
    client: null,
    session: parts.session === null ? null : deps.hash.ofIdentity('session', parts.session),
    model: named.model ?? (text === null || !plain ? null : modelOfJson(text)),
    streamed: response === null ? null : isEventStream(contentType),
    requestEndOffsetUs: parts.requestEndOffsetUs,
    firstByteOffsetUs: parts.firstByteOffsetUs,
    lastByteOffsetUs: parts.lastByteOffsetUs,
    clientLeftOffsetUs: parts.clientLeftOffsetUs ?? null,
    firstTokenOffsetUs: null,
    ...usageOf(response),
    batch: text === null || !plain ? null : requestFeatures(api, text, !request.body.truncated).batch,
    request: requestMessage(request, deps),
    response: response && responseMessage(response, deps),
    requestChunks: NO_CHUNKS,
    responseChunks: NO_CHUNKS,
  };
}

function requestMessage(request: ImportedParts['request'], deps: ImportSourceDeps): Message {
  const head = deps.redaction.requestHead(request.head);
  const trailers = request.trailers === null ? null : deps.redaction.trailers(request.trailers);
  return {
    head: head.bytes,
    redacted: [...new Set([...head.names, ...(trailers?.names ?? [])])],
    body: bodyOf(request.body, true, LIMITS.requestBodyBytes, deps.hash),
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

/** The stored part of a body, under a recorder's limits. */
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

function usageOf(response: ImportedResponse | null): {
  promptTokens: number | null;
  outputTokens: number | null;
} {
  if (response === null || response.body.kept === null) return NO_USAGE;
  if (!isPlain(headerValue(headerPairsOf(response.head), 'content-encoding'))) return NO_USAGE;
  return usageIn(response.body.kept.subarray(-USAGE_BYTES));
}

interface ImportedFileParts {
  readonly path: string;
  readonly requests: boolean;
  readonly missing: readonly string[];
  readonly details: Readonly<Record<string, unknown>>;
  readonly lacking: TextCounts;
  /** @throws InputProblem */
  readonly read: (signal: AbortSignal) => AsyncGenerator<Exchange[]>;
}

/** Truncated in the file, or over the limit of stored bytes. */
const CUT_REQUEST = 'a truncated request body: it cannot be replayed';

/** A file whose reader does not know the file's name. */
export class ImportedFile implements ImportSource {
  readonly #parts: ImportedFileParts;
  readonly #counter = new ArrivalCounter();

  constructor(parts: ImportedFileParts) {
    this.#parts = parts;
  }

  get requests(): boolean {
    return this.#parts.requests;
  }

  get missing(): readonly string[] {
    return this.#parts.missing;
  }

  get details(): Readonly<Record<string, unknown>> {
    return this.#parts.details;
  }

  get lacking(): Readonly<Record<string, number>> {
    return this.#parts.lacking.all;
  }

  get tally(): ArrivalTally {
    return this.#counter.tally;
  }

  async *batches(signal: AbortSignal): AsyncGenerator<Exchange[]> {
    try {
      for await (const exchanges of this.#parts.read(signal)) {
        signal.throwIfAborted();
        for (const { arrivalUs, request, response } of exchanges) {
          this.#counter.add(arrivalUs);
          if (request?.body.truncated) this.#parts.lacking.count(CUT_REQUEST);
          if (response?.body.truncated) this.#parts.lacking.count('a truncated response body');
        }
        yield exchanges;
      }
      if (this.tally.rows === 0) throw new InputProblem('holds no exchange', { hint: NOTHING_IN_IT });
    } catch (thrown) {
      throw thrown instanceof InputProblem ? thrown.toAppError(this.#parts.path) : thrown;
    }
  }
}

/** Adds the place of an item to its problem. */
export function placed(place: string, thrown: unknown): unknown {
  if (!(thrown instanceof InputProblem)) return thrown;
  const hint = thrown.hint === null ? {} : { hint: thrown.hint };
  return new InputProblem(`${place}: ${thrown.message}`, { cause: thrown, ...hint });
}

/** Progress of an import. Arrivals are epoch microseconds, null before the first row. */
export interface ArrivalTally {
  readonly rows: number;
  readonly firstArrivalUs: number | null;
  readonly lastArrivalUs: number | null;
  /** Rows that arrive before the previous row. */
  readonly outOfOrder: number;
}

/** Counts arrivals while reading. */
export class ArrivalCounter {
  #rows = 0;
  #outOfOrder = 0;
  #firstArrivalUs = Number.POSITIVE_INFINITY;
  #lastArrivalUs = Number.NEGATIVE_INFINITY;
  #previousArrivalUs = Number.NEGATIVE_INFINITY;

  get tally(): ArrivalTally {
    return {
      rows: this.#rows,
      firstArrivalUs: this.#rows === 0 ? null : this.#firstArrivalUs,
      lastArrivalUs: this.#rows === 0 ? null : this.#lastArrivalUs,
      outOfOrder: this.#outOfOrder,
    };
  }

  add(arrivalUs: number): void {
    this.#rows += 1;
    if (arrivalUs < this.#previousArrivalUs) this.#outOfOrder += 1;
    this.#previousArrivalUs = arrivalUs;
    if (arrivalUs < this.#firstArrivalUs) this.#firstArrivalUs = arrivalUs;
    if (arrivalUs > this.#lastArrivalUs) this.#lastArrivalUs = arrivalUs;
  }
}
