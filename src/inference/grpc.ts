import { LIMITS } from '../core/limits.ts';

/**
 * What gRPC says over HTTP/2: its content type, statuses, timeouts and message prefixes.
 * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */

/** Status names by code, each with its HTTP status: google/rpc/code.proto. */
const STATUSES: readonly (readonly [name: string, status: number])[] = [
  ['OK', 200],
  ['CANCELLED', 499],
  ['UNKNOWN', 500],
  ['INVALID_ARGUMENT', 400],
  ['DEADLINE_EXCEEDED', 504],
  ['NOT_FOUND', 404],
  ['ALREADY_EXISTS', 409],
  ['PERMISSION_DENIED', 403],
  ['RESOURCE_EXHAUSTED', 429],
  ['FAILED_PRECONDITION', 400],
  ['ABORTED', 409],
  ['OUT_OF_RANGE', 400],
  ['UNIMPLEMENTED', 501],
  ['INTERNAL', 500],
  ['UNAVAILABLE', 503],
  ['DATA_LOSS', 500],
  ['UNAUTHENTICATED', 401],
];

/** The code of a call that succeeded. */
export const GRPC_OK = 0;

export const GRPC_STATUS_NAMES: readonly string[] = STATUSES.map(([name]) => name);

/** Clients treat codes that they do not know as UNKNOWN. */
const UNKNOWN_STATUS = 500;

/** The name of a status code; `CODE_42` for one that gRPC does not define. */
export function grpcStatusName(code: number): string {
  return STATUSES[code]?.[0] ?? `CODE_${code}`;
}

/** The HTTP status that a status code stands for. */
export function httpStatusOfGrpc(code: number): number {
  return STATUSES[code]?.[1] ?? UNKNOWN_STATUS;
}

/** The HTTP status that the name of a status code stands for. */
export function httpStatusOfGrpcName(name: string): number {
  return STATUSES.find(([each]) => each === name)?.[1] ?? UNKNOWN_STATUS;
}

/** The code in a `grpc-status` field; null if it is absent or no single number. */
export function parseGrpcStatus(value: string | null): number | null {
  return value !== null && /^\d{1,9}$/.test(value) ? Number(value) : null;
}

const TIMEOUT_UNITS_US: Readonly<Record<string, number>> = {
  H: 3_600_000_000,
  M: 60_000_000,
  S: 1_000_000,
  m: 1_000,
  u: 1,
  n: 0.001,
};

/** The duration in a `grpc-timeout` field, in microseconds; null if it is absent or invalid. */
export function parseGrpcTimeoutUs(value: string | null): number | null {
  const [, digits = '', unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(value ?? '') ?? [];
  const unitUs = TIMEOUT_UNITS_US[unit];
  return unitUs === undefined ? null : Number(digits) * unitUs;
}

/** Whether a message is a gRPC call or its answer. gRPC-Web (`application/grpc-web`) has other trailers and is none. */
export function isGrpc(contentType: string | null): boolean {
  return contentType !== null && /^application\/grpc\s*(?:[+;]|$)/i.test(contentType);
}

/** Methods whose answers are streams even if they have one message: Triton's. */
const STREAMING_METHODS: ReadonlySet<string> = new Set(['/inference.GRPCInferenceService/ModelStreamInfer']);

/** Whether the answer to a call is a stream. Of unknown methods, only a second message shows it. */
export function streamsGrpcAnswer(path: string, responseMessages: number): boolean {
  return responseMessages > 1 || STREAMING_METHODS.has(path);
}

/** Calls that change the server: its models, shared memory, settings and caches, or the streams of other clients. */
const CHANGES =
  /\/(?:RepositoryModel(?:Load|Unload)|(?:System|Cuda)SharedMemory(?:Register|Unregister)|TraceSetting|LogSettings|HandleReloadConfigRequest|Abort|FlushCache)$/;

/** Whether a call changes the server for other clients too. @param path the service and method, or a route that ends so */
export function changesServer(path: string): boolean {
  return CHANGES.test(path);
}

/** A flag (whether the message is compressed) and four bytes of length. */
export const GRPC_PREFIX_BYTES = 5;

/** Bytes of one message that came together, its prefix included. */
type TakePiece = (bytes: number, begins: boolean, ends: boolean) => void;

/** Finds the messages of a body while its bytes pass. Keeps nothing of them. */
export class GrpcMessages {
  readonly #take: TakePiece;
  /** Bytes of the current prefix, then the length of its message that is still to come. */
  #prefixBytes = 0;
  #lengthBytes = 0;
  /** Messages that have begun. */
  begun = 0;
  /** Whole messages. */
  ended = 0;
  /** A prefix was none: the rest is not read. */
  broken = false;

  constructor(take: TakePiece = () => undefined) {
    this.#take = take;
  }

  /** Whether a message has begun that is not complete. */
  get inside(): boolean {
    return this.begun > this.ended;
  }

  write(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length && !this.broken) {
      const from = at;
      const begins = !this.inside;
      at = this.#readPrefix(bytes, at);
      if (this.broken) return;
      if (this.#prefixBytes === GRPC_PREFIX_BYTES) {
        const taken = Math.min(this.#lengthBytes, bytes.length - at);
        this.#lengthBytes -= taken;
        at += taken;
      }
      const ends = this.#prefixBytes === GRPC_PREFIX_BYTES && this.#lengthBytes === 0;
      if (ends) {
        this.ended += 1;
        this.#prefixBytes = 0;
      }
      this.#take(at - from, begins, ends);
    }
  }

  #readPrefix(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length && this.#prefixBytes < GRPC_PREFIX_BYTES) {
      const byte = bytes[at] ?? 0;
      if (this.#prefixBytes > 0) this.#lengthBytes = this.#lengthBytes * 256 + byte;
      else if (byte > 1) {
        this.broken = true;
        return at;
      } else this.begun += 1;
      this.#prefixBytes += 1;
      at += 1;
    }
    return at;
  }
}

/** One message of a body. Its content is `body[from, to)`, after its prefix. */
export interface GrpcMessage {
  readonly compressed: boolean;
  readonly from: number;
  readonly to: number;
}

export interface GrpcBody {
  /** Whole messages, in order. */
  readonly messages: readonly GrpcMessage[];
  /**
   * How the body ends: with a whole message, inside one, with bytes that are no message, or with more messages than
   * are listed.
   */
  readonly end: 'whole' | 'inside' | 'broken' | 'limit';
}

/** The messages of a body, at most `limit`. */
export function grpcMessagesOf(body: Uint8Array, limit: number = LIMITS.chunkTimesPerBody): GrpcBody {
  const messages: GrpcMessage[] = [];
  let at = 0;
  while (at < body.length) {
    if ((body[at] ?? 0) > 1) return { messages, end: 'broken' };
    const from = at + GRPC_PREFIX_BYTES;
    if (from > body.length) return { messages, end: 'inside' };
    const to = from + new DataView(body.buffer, body.byteOffset + at + 1, 4).getUint32(0);
    if (to > body.length) return { messages, end: 'inside' };
    if (messages.length === limit) return { messages, end: 'limit' };
    messages.push({ compressed: body[at] === 1, from, to });
    at = to;
  }
  return { messages, end: 'whole' };
}
