/**
 * An exchange: one request with its response and times, as seen on the network.
 *
 * Two clocks, distinguished by name: `arrivalUs` is epoch microseconds. Every `…OffsetUs` is microseconds
 * after that arrival, from the monotonic clock.
 */

/** How an exchange ended: `timed_out` by the gateway, or by a gRPC client at its own deadline. */
export const OUTCOMES = ['completed', 'client_aborted', 'upstream_failed', 'timed_out'] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** One body after transfer decoding (chunks joined). Content coding (gzip …) stays as sent. */
export interface Body {
  /** The full size, even if fewer bytes were kept. */
  readonly bytes: number;
  /** The kept bytes: all, a prefix when `truncated`, null when the policy keeps none. */
  readonly kept: Uint8Array | null;
  /** Truncated by a cap, a budget or the end of the connection. A truncated request is never replayed. */
  readonly truncated: boolean;
  /** Keyed hash of all `bytes` under the capture's hash key, 16 bytes; null for an empty body. */
  readonly hash: Buffer | null;
}

/** One message, with a head in the form of HTTP/1.1. The raw head is stored; header pairs are derived from it. */
export interface Message {
  /** Start line, header lines and the blank line, latin1, as received except for masked values. */
  readonly head: Uint8Array;
  /** Masked items: header names in lower case, query keys as `?key`, a target's user info as `@`. */
  readonly redacted: readonly string[];
  readonly body: Body;
  /** Raw trailer lines with their line ends; null if there were none. */
  readonly trailers: Uint8Array | null;
  /**
   * Set for a head that was seen before. All messages with the same head and masks, and no trailers, share one object.
   */
  readonly known?: KnownHead | null;
}

/** Caches the packed form of a head, so that a writer packs it only once. */
export interface KnownHead {
  packed: Uint8Array | null;
}

/**
 * Times of the chunks of one body: flat pairs `[offsetUs, bytes, offsetUs, bytes, …]`, bytes as received. Of a gRPC call
 * one pair for each message: its first byte in a request, its last in an answer.
 */
export type ChunkTimes = readonly number[];

/** Facts to find and count an exchange without reading its payload. */
export interface ExchangeFacts {
  readonly arrivalUs: number;
  /** Null for an import that does not say how the exchange ended. */
  readonly outcome: Outcome | null;
  /** The request's: `http/1.1`, `http/1.0` or `h2`; null for an imported arrival without payload. */
  readonly protocol: string | null;
  readonly method: string | null;
  /** Method and path with its variable parts named, e.g. `POST /v2/models/{model}/infer`. */
  readonly route: string | null;
  /** Of a gRPC call the HTTP status that its `grpcStatus` stands for. */
  readonly status: number | null;
  /** Number of the client connection within its recorder's life; null if there was none (imports). */
  readonly connection: number | null;
  /** Keyed hashes (8 bytes) that show which exchanges belong together. */
  readonly client: Uint8Array | null;
  readonly session: Uint8Array | null;
  readonly model: string | null;
  /** Whether the response was an event stream. */
  readonly streamed: boolean | null;
  readonly requestEndOffsetUs: number | null;
  readonly firstByteOffsetUs: number | null;
  readonly lastByteOffsetUs: number | null;
  /** When the client left, even if the answer was complete by then; null if it stayed or this is unknown. */
  readonly clientLeftOffsetUs: number | null;
  readonly firstTokenOffsetUs: number | null;
  readonly promptTokens: number | null;
  /** Tokens of the prompt that the server read from its cache; null or absent if it reported none, not even 0. */
  readonly cachedTokens?: number | null;
  readonly outputTokens: number | null;
  readonly batch: number | null;
  /** Why the server stopped generating; null or absent if the answer does not state it, or was not read. */
  readonly finish?: FinishReason | null;
  /** Whether a complete 2xx answer reports an error in its body or stream; null if this was not checked. */
  readonly answerError: boolean | null;
  /** The status code of a gRPC call; null or absent for another exchange, and if the answer has none. */
  readonly grpcStatus?: number | null;
  /** Whole messages of a gRPC call; null or absent for another exchange, and for a body that is no row of messages. */
  readonly requestMessages?: number | null;
  readonly responseMessages?: number | null;
  /** The client's trace id (16 bytes), from an unmasked `traceparent`; null if there was none. */
  readonly traceId: Uint8Array | null;
}

/** Whether an exchange is known to have ended before its answer was complete. */
export function isBrokenOff({ outcome }: Pick<ExchangeFacts, 'outcome'>): boolean {
  return outcome !== null && outcome !== 'completed';
}

/** Why a server stopped generating, in terms common to all servers. A closed list: reports group by it. */
export const FINISH_REASONS = ['stop', 'length', 'tool_calls', 'content_filter', 'other'] as const;
export type FinishReason = (typeof FINISH_REASONS)[number];

/** The lowest status of a server error. */
export const FIRST_SERVER_ERROR = 500;

/** Whether the client was at fault (4xx). A 429 is not: the server refuses because of load. */
export function isClientError(status: number): boolean {
  return status >= 400 && status < FIRST_SERVER_ERROR && status !== 429;
}

/**
 * Whether a recorded exchange failed, as the metric `errors` counts it: a 5xx, or no complete answer although the client
 * waited for it. A client that leaves is no failure of the server. Of an imported arrival no failure is known.
 */
export function hasExchangeFailed({ outcome, status }: Pick<ExchangeFacts, 'outcome' | 'status'>): boolean {
  const isServerError = status !== null && status >= FIRST_SERVER_ERROR;
  return isServerError || outcome === 'upstream_failed' || outcome === 'timed_out';
}

/** Whether nothing is known against a complete answer below 500: it did not fail, and its client did not leave. */
export function hasWholeAnswer(exchange: Pick<ExchangeFacts, 'outcome' | 'status'>): boolean {
  return !isBrokenOff(exchange) && !hasExchangeFailed(exchange);
}

/**
 * What is stored of an exchange besides its facts. `request` is null if only the arrival is known. In a
 * capture the rest may be read on access, which can fail. A spread does not read it; `wholePayload` does.
 */
export interface ExchangePayload {
  readonly request: Message | null;
  readonly response: Message | null;
  readonly requestChunks: ChunkTimes;
  readonly responseChunks: ChunkTimes;
  /** Null or absent if no links were searched for while it was recorded, as for an exchange without a session. */
  readonly linked?: Linked | null;
}

/** The same payload with everything read. @throws any reading error */
export function wholePayload(payload: ExchangePayload): ExchangePayload {
  const { request, response, requestChunks, responseChunks, linked = null } = payload;
  return { request, response, requestChunks, responseChunks, linked };
}

/** The part of a payload that is enough to send the request again. */
export type RequestPart = Pick<ExchangePayload, 'request'>;

/** An exchange before it is stored. */
export interface Exchange extends ExchangeFacts, ExchangePayload {}

/** An exchange read back without its payload. */
export interface ExchangeRow extends ExchangeFacts {
  /** The recorded arrival, if a plan moved `arrivalUs` to after other windows; otherwise absent. */
  readonly recordedUs?: number;
  /** Position within its segment. Together with `segment` it is a permanent id. */
  readonly id: number;
  readonly segment: string;
  readonly recorder: string;
  /** Null if nothing is known of the message. */
  readonly requestBytes: number | null;
  readonly responseBytes: number | null;
  readonly requestTruncated: boolean;
  /** Whether the whole request (head and body) is stored and can be sent again. */
  readonly requestStored: boolean;
  readonly requestHash: Uint8Array | null;
  /** Its number among those of its recorder's life that were searched for links; null or absent if it was not. */
  readonly number?: number | null;
  /** How many links it has. */
  readonly links?: number | null;
  /** Number of the response's body within the segment, the same for equal bodies. Null or absent if unknown. */
  readonly responseBody?: number | null;
}

/** When an exchange arrived at the recorder, even if a plan moved it to another time. */
export function recordedArrivalUs({
  recordedUs,
  arrivalUs,
}: Pick<ExchangeRow, 'recordedUs' | 'arrivalUs'>): number {
  return recordedUs ?? arrivalUs;
}

/** Whether an exchange was recorded by HTTP/2. */
export function isHttp2({ protocol }: Pick<Exchange, 'protocol'>): boolean {
  return protocol === 'h2';
}

/** Kinds of places. A closed list: reports group by it. */
export const PLACES = ['header', 'cookie', 'query', 'form', 'path', 'json', 'event'] as const;

/** Where in a message a value is. */
export type Place =
  /** Names of headers are in lower case. Cookies are those of `Set-Cookie` and `Cookie`, forms are multipart. */
  | { readonly in: 'header' | 'cookie' | 'query' | 'form'; readonly name: string }
  /** A segment of a request's path, or of an answer's `Location`. The first has number 0. */
  | { readonly in: 'path'; readonly segment: number }
  /** A JSON pointer (RFC 6901) into the body. */
  | { readonly in: 'json'; readonly pointer: string }
  /**
   * A JSON pointer into the events of a stream with this name, empty for events without a name and for lines of JSON.
   * `nth` counts the different values at this pointer in the order of their first events, from 0: each
   * tool call begins at the same pointer, in another event.
   */
  | { readonly in: 'event'; readonly event: string; readonly pointer: string; readonly nth: number };

/**
 * A link: a value that first appears in an answer and later in a request of the same session. It has the places of the
 * value in both messages, never the value.
 */
export interface Link {
  /** Number of the exchange whose answer has the value first, of the same session and the same life of a recorder. */
  readonly from: number;
  /** Where the value is in that answer. */
  readonly place: Place;
  /** Where it is in this request. */
  readonly to: Place;
}

/** The links of one exchange of a session, found while it was recorded. */
export interface Linked {
  /** Number of the exchange within its recorder's life, by which later exchanges refer to it. */
  readonly number: number;
  readonly links: readonly Link[];
}

/** A place in a few words, as in `json /choices/0/message/tool_calls/0/id`. */
export function formatPlace(place: Place): string {
  if (place.in === 'json') return `json ${place.pointer}`;
  if (place.in === 'path') return `path segment ${place.segment + 1}`;
  if (place.in !== 'event') return `${place.in} ${place.name}`;
  const named = place.event === '' ? '' : ` ${place.event}`;
  return `event${named} ${place.pointer}${place.nth === 0 ? '' : ` (value ${place.nth + 1})`}`;
}
