/**
 * The recorder's noun: one request with its response as seen on the wire, with its times.
 *
 * Two clocks, told apart by name: `…Us` alone on `arrivalUs` is epoch microseconds; every `…OffsetUs` is
 * microseconds after that arrival, taken from the monotonic clock.
 */

/** How an exchange ended. `timed_out` is known to the gateway only. */
export const OUTCOMES = ['completed', 'client_aborted', 'upstream_failed', 'timed_out'] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** One body after transfer decoding (chunks joined); content coding (gzip …) is left as it was sent. */
export interface Body {
  /** True size, whatever was kept of it. */
  readonly bytes: number;
  /** The bytes that were kept: all of them, a prefix when `truncated`, null when policy keeps none. */
  readonly kept: Uint8Array | null;
  /** A cap, a budget or the end of the connection cut it short. A truncated request is never replayed. */
  readonly truncated: boolean;
  /** HMAC-SHA-256 of all `bytes` under the capture's hash key, first 16 bytes; null for an empty body. */
  readonly hash: Uint8Array | null;
}

/** One HTTP/1.1 message. The raw head is the stored fact; header pairs are derived from it. */
export interface Message {
  /** Start line, header lines and the blank line, latin1, as on the wire but for masked values. */
  readonly head: Uint8Array;
  /** What redaction masked: header names in lower case, query keys as `?key`, a target's user info as `@`. */
  readonly redacted: readonly string[];
  readonly body: Body;
  /** Raw trailer lines with their line ends, null when there were none. */
  readonly trailers: Uint8Array | null;
}

/** Times of the chunks of one body: flat pairs `[offsetUs, bytes, offsetUs, bytes, …]`, bytes as on the wire. */
export type ChunkTimes = readonly number[];

/** What makes an exchange findable and countable without opening its payload. */
export interface ExchangeFacts {
  readonly arrivalUs: number;
  readonly outcome: Outcome;
  /** The request's: `http/1.1` or `http/1.0`; an imported arrival without payload has null. */
  readonly protocol: string | null;
  readonly method: string | null;
  /** Method and path with its variable parts named, e.g. `POST /v2/models/{model}/infer`. */
  readonly route: string | null;
  readonly status: number | null;
  /** Number of the client connection within its recorder's life; null where none was seen (imports). */
  readonly connection: number | null;
  /** Keyed hashes (8 bytes) saying which exchanges belong together. */
  readonly client: Uint8Array | null;
  readonly session: Uint8Array | null;
  readonly model: string | null;
  /** Whether the response came as an event stream. */
  readonly streamed: boolean | null;
  readonly requestEndOffsetUs: number | null;
  readonly firstByteOffsetUs: number | null;
  readonly lastByteOffsetUs: number | null;
  /** When the client left, whatever had been answered by then; null where it stayed, or nobody saw when it left. */
  readonly clientLeftOffsetUs: number | null;
  readonly firstTokenOffsetUs: number | null;
  readonly promptTokens: number | null;
  readonly outputTokens: number | null;
  readonly batch: number | null;
}

/** The least status by which a server says that it failed. */
export const FIRST_SERVER_ERROR = 500;

/**
 * Whether a recorded exchange failed: no complete answer, or a 5xx. Any other status is an answer, and an arrival
 * without one (imports) says nothing about failure.
 */
export function hasExchangeFailed({ outcome, status }: Pick<ExchangeFacts, 'outcome' | 'status'>): boolean {
  return outcome !== 'completed' || (status !== null && status >= FIRST_SERVER_ERROR);
}

/**
 * What is kept of an exchange beyond its facts. `request` is null where only the arrival is known. Of one that lies in
 * a capture the rest may be read when it is asked for, and fail then: a spread does not ask, `wholePayload` does.
 */
export interface ExchangePayload {
  readonly request: Message | null;
  readonly response: Message | null;
  readonly requestChunks: ChunkTimes;
  readonly responseChunks: ChunkTimes;
}

/** The same payload with everything read. @throws what reading it throws */
export function wholePayload(payload: ExchangePayload): ExchangePayload {
  const { request, response, requestChunks, responseChunks } = payload;
  return { request, response, requestChunks, responseChunks };
}

/** What of a payload is enough to send the request again. */
export type RequestPart = Pick<ExchangePayload, 'request'>;

/** An exchange on its way into a capture. */
export interface Exchange extends ExchangeFacts, ExchangePayload {}

/** An exchange as read back without its payload. */
export interface ExchangeRow extends ExchangeFacts {
  /** When it was recorded, where a playback has moved `arrivalUs` behind other windows; absent where nothing has. */
  readonly recordedUs?: number;
  /** Position within its segment; with `segment` it names the exchange for good. */
  readonly id: number;
  readonly segment: string;
  readonly recorder: string;
  /** Null where nothing is known of the message. */
  readonly requestBytes: number | null;
  readonly responseBytes: number | null;
  readonly requestTruncated: boolean;
  /** Whether the whole request (head and body) is there to be sent again. */
  readonly requestStored: boolean;
  readonly requestHash: Uint8Array | null;
}

/** When an exchange arrived as the recorder saw it, whatever time it is played on. */
export function recordedArrivalUs({
  recordedUs,
  arrivalUs,
}: Pick<ExchangeRow, 'recordedUs' | 'arrivalUs'>): number {
  return recordedUs ?? arrivalUs;
}
