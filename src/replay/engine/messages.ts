import type { MessagePort } from 'node:worker_threads';
import { Packr } from 'msgpackr';
import { AppError } from '../../core/errors.ts';
import type { Place } from '../../core/exchange.ts';
import type { Send } from '../../core/run.ts';
import type { ExpectedAnswer } from '../answers/expected-answer.ts';
import type { KeepingSetup, KeptAnswer } from '../check/answer-copy.ts';
import type { CertificateRules, FencedAddresses } from '../guard.ts';
import type { DurationsNs, SenderConnections, SenderHealth } from './health.ts';
import type { InFlightSetup } from './shared-memory.ts';

/** The request that a follow-up waits for, and the delay after it. */
export interface FollowUp {
  /** Index of the previous request of its session. */
  readonly after: number;
  /** The delay counts from the end of that request, or from its intended instant if both overlapped when recorded. */
  readonly from: 'end' | 'send';
  /** Delay in nanoseconds, not negative. */
  readonly delayNs: number;
}

/** How a request is sent by HTTP/2. */
export interface Http2Part {
  /** Whether it is a gRPC call: its answer ends with a `grpc-status`. */
  readonly grpc: boolean;
  /** Number of the recorded connection that carries it; null if it may share any. */
  readonly connection: number | null;
  /** How long after the send its client gives up, its `grpc-timeout`; null if it has none. */
  readonly deadlineNs: number | null;
  /** Whether the recorded answer had a message. Then an OK without one is no answer. */
  readonly wantsMessage: boolean;
  /**
   * When the parts of the body leave: flat triples of nanoseconds after the head, bytes, and messages of the answer that
   * came before it when it was recorded. The last part ends the request. Empty if everything leaves with the head.
   */
  readonly parts: readonly number[];
}

/** The values of a request that only the live session can know. */
export interface LivePart {
  /** Number of its session; each copy of a session has another one. */
  readonly session: number;
  /** Places in its answer whose values later requests need, and the number of these requests. */
  readonly issues: readonly Place[];
  readonly users: number;
  readonly takes: readonly TakenValue[];
  /** Headers in lower case (`cookie` included) that get the latest value that the session's answers had for them. */
  readonly echoes: readonly string[];
}

/** A value of an answer that a request needs. */
export interface TakenValue {
  /** Index of the request that is answered with it. */
  readonly from: number;
  /** Position of its place in `issues` of that request. */
  readonly at: number;
  /** Where it is put. */
  readonly to: Place;
}

/** What happens to a request whose live answer lacks a value that the recorded one had. */
export const DIVERGENCE_POLICIES = ['recorded', 'skip', 'end-session'] as const;
export type DivergencePolicy = (typeof DIVERGENCE_POLICIES)[number];

/** How live values are handled. */
export interface LiveOptions {
  readonly onDivergence: DivergencePolicy;
  /** Headers of answers, in lower case, that sessions send back. Cookies always are. */
  readonly affinity: readonly string[];
}

/**
 * One request ready to be sent: everything has been read, decompressed and decided. The client adds only what the
 * connection needs (`host` first if absent, `connection`, framing).
 */
export interface PreparedRequest {
  /** Position in the schedule, from 0; strictly increasing from request to request. */
  readonly index: number;
  /** Nanoseconds after the start of the run, whole; never decreasing. */
  readonly intendedOffsetNs: number;
  /** Requests with the same number go to the same sender. A request without one belongs to no session. */
  readonly stripe?: number | undefined;
  /** Number of the recorded connection that it waits for and uses. Without one, it uses any connection. */
  readonly lane?: number | null;
  /**
   * The request that it waits for instead of its instant; the instant is then only the planned one. Null for the first
   * request of a session with follow-ups. Undefined for a request without a session.
   */
  readonly follows?: FollowUp | null | undefined;
  readonly method: string;
  /** The request target to send: origin form with query, latin1. */
  readonly path: string;
  /**
   * Flat name, value, name, value … in the order and case to send, with the run's marker; latin1. No framing and no
   * hop-by-hop headers. A `Host` pair replaces the target's own authority.
   */
  readonly headers: readonly string[];
  /** Null for a request without a body. */
  readonly body: Uint8Array | null;
  /** Sent with `transfer-encoding: chunked` rather than a content-length. By HTTP/2: sent without a content-length. */
  readonly chunked: boolean;
  /** Null or absent for a request that is sent by HTTP/1.1. */
  readonly http2?: Http2Part | null | undefined;
  readonly answer: ExpectedAnswer;
  /** Null or absent for a request that is sent as recorded. */
  readonly live?: LivePart | null;
  /** How long it took when it was recorded; null or absent if unknown. */
  readonly recordedNs?: number | null;
}

/** Bodies of at least this size travel in a separate buffer, which is transferred without a copy. */
const OWN_BUFFER_BYTES = 64 * 1024;

const LINE_BREAK = /[\r\n]/;

const packr = new Packr();

/** Packs a message for another thread, in separate memory that can be transferred. */
export function packed(message: unknown): Uint8Array<ArrayBuffer> {
  // Copied, because msgpackr returns a view of a buffer that it uses again.
  return new Uint8Array(packr.pack(message));
}

/** The inverse of `packed`. Byte strings are views of the input. */
export function unpacked<Message>(bytes: Uint8Array): Message {
  return packr.unpack(bytes) as Message;
}

/** Requests for a sender. Both kinds of buffers are transferred, not copied. */
export interface SendBatch {
  readonly requests: Uint8Array<ArrayBuffer>;
  readonly bodies: ArrayBuffer[];
  readonly connections: ConnectionNeed;
}

/** The most connections in use while requests are sent, if the target is as fast as recorded. */
export interface ConnectionNeed {
  readonly count: number;
  /** From the first instant of these requests to the last. */
  readonly fromOffsetNs: number;
  readonly toOffsetNs: number;
}

/**
 * A request within a batch. Its head is one text, because thousands of requests wait, and each has about 20 strings.
 */
interface QueuedRequest
  extends Omit<PreparedRequest, 'stripe' | 'method' | 'path' | 'headers' | 'body' | 'recordedNs'> {
  /** Method, path, and names and values of headers, a line each. */
  readonly head: string;
  /** A number is an index into the batch's large bodies. */
  readonly body: Uint8Array | number | null;
}

export function transferListOf(batch: SendBatch): ArrayBuffer[] {
  return [batch.requests.buffer, ...batch.bodies];
}

/**
 * Copies requests into buffers that another thread can take over. Runs on the command thread, well before they are due.
 * @param connections the most that they use at the same time; 0 to open none in advance
 */
export function packBatch(requests: readonly PreparedRequest[], connections = 0): SendBatch {
  const bodies: ArrayBuffer[] = [];
  const queued = requests.map(
    ({ stripe: _s, recordedNs: _r, method, path, headers, body, ...rest }): QueuedRequest => {
      const head = headOf(rest.index, [method, path, ...headers]);
      if (body === null || body.length < OWN_BUFFER_BYTES) return { ...rest, head, body };
      bodies.push(new Uint8Array(body).buffer);
      return { ...rest, head, body: bodies.length - 1 };
    },
  );
  const [fromOffsetNs = 0, toOffsetNs = fromOffsetNs] = [requests[0], requests.at(-1)].map(
    (request) => request?.intendedOffsetNs,
  );
  return { requests: packed(queued), bodies, connections: { count: connections, fromOffsetNs, toOffsetNs } };
}

/** Reads a batch from front to back. Runs on a sender thread. */
export class BatchReader {
  readonly #requests: readonly QueuedRequest[];
  readonly #bodies: readonly ArrayBuffer[];
  #next = 0;

  constructor({ requests, bodies }: SendBatch) {
    this.#requests = unpacked(requests);
    this.#bodies = bodies;
  }

  get done(): boolean {
    return this.#next >= this.#requests.length;
  }

  /** Number of requests of the batch that are due at or before `offsetNs`, and not before `fromOffsetNs`. */
  countDueBy(offsetNs: number, fromOffsetNs = 0): number {
    return this.#requests.filter(({ intendedOffsetNs: dueNs }) => dueNs <= offsetNs && dueNs >= fromOffsetNs)
      .length;
  }

  /** The next request, with its head parsed. Call it well before the request is due. */
  read(): PreparedRequest {
    const request = this.#requests[this.#next];
    if (request === undefined) throw new Error('the batch was read to its end');
    this.#next++;
    const { head, body, ...rest } = request;
    const [method = '', path = '', ...headers] = head.split('\n');
    return { ...rest, method, path, headers, body: body === null ? null : this.#bodyOf(body) };
  }

  #bodyOf(body: Uint8Array | number): Buffer {
    if (typeof body === 'number') return Buffer.from(this.#bodies[body] as ArrayBuffer);
    // A small body is copied, so that one slow answer does not keep its whole batch in memory.
    return Buffer.from(body);
  }
}

function headOf(index: number, lines: readonly string[]): string {
  // A part with a line break cannot be sent anyway. Here it would shift all later parts.
  if (lines.some((line) => LINE_BREAK.test(line)))
    throw new AppError('INTERNAL', `request ${index}: a line break within its head`);
  return lines.join('\n');
}

/** The result of one prepared request: the part of core's `Send` that the engine knows. */
export interface SendResult
  extends Pick<
    Send,
    | 'index'
    | 'intendedOffsetNs'
    | 'actualOffsetNs'
    | 'connectionWaitNs'
    | 'startOffsetNs'
    | 'writeNs'
    | 'pausedNs'
    | 'firstByteOffsetNs'
    | 'lastByteOffsetNs'
    | 'status'
    | 'grpcStatus'
    | 'responseBytes'
    | 'error'
    | 'refused'
    | 'cancelled'
    | 'answer'
    | 'tellsError'
    | 'bodyCrc'
  > {
  /** Whether the answer was a stream; null without an answer. */
  readonly streamed: boolean | null;
  /** A copy of a complete answer; absent if none was requested, or its facts are enough. */
  readonly kept?: KeptAnswer;
}

/** The result of a request that was not sent: our own cap refused it, or sending ended before its turn. */
export function notSentResult(
  { index, intendedOffsetNs }: Pick<Send, 'index' | 'intendedOffsetNs'>,
  why: 'refused' | 'no_socket' | 'stopped',
): SendResult {
  return {
    index,
    intendedOffsetNs,
    actualOffsetNs: null,
    connectionWaitNs: null,
    startOffsetNs: null,
    writeNs: null,
    pausedNs: null,
    firstByteOffsetNs: null,
    lastByteOffsetNs: null,
    status: null,
    responseBytes: 0,
    error: why === 'refused' ? null : why,
    refused: why !== 'stopped',
    cancelled: false,
    streamed: null,
    answer: null,
    tellsError: null,
    bodyCrc: null,
  };
}

/** Where connections go, and how long to wait for the target. */
export interface ConnectionOptions extends CertificateRules {
  /** `http://host:port` or `https://host:port`, without a path. */
  readonly origin: string;
  /** Path of a unix socket that replaces the origin's host; null without one. */
  readonly socketPath: string | null;
  /** Time-out of connection set-up, including TLS. */
  readonly connectTimeoutMs: number;
  /** Time-out from the written request to the response head. */
  readonly firstByteTimeoutMs: number;
  /** Time-out between two pieces of a response body. */
  readonly idleTimeoutMs: number;
  /** A connection older than this is closed when it is next idle; null for no limit. */
  readonly maxConnectionAgeMs: number | null;
  /** Addresses that are never connected to, even if the target's name resolves to them; absent for none. */
  readonly fenced?: FencedAddresses;
}

/** What is expected to be sent. Its connections are opened before the start. */
export interface ExpectedProtocols {
  readonly http1: boolean;
  /** Requests by HTTP/2 that are no gRPC calls. */
  readonly http2: boolean;
  readonly grpc: boolean;
}

/** A constant number of requests in flight. No request starts after an instant of the run. */
interface ClosedLoop {
  readonly concurrency: number;
  readonly untilNs: number;
}

/** Options of all senders of a run. */
export interface SendingOptions extends ConnectionOptions {
  /** Time-out from the actual send to the last byte. */
  readonly totalTimeoutMs: number;
  /** How long requests in flight may take to finish after the last send or a stop. */
  readonly drainDeadlineMs: number;
  /** Connections opened before the start, spread over the target's addresses. */
  readonly warmConnections: number;
  /** Absent for requests by HTTP/1.1 alone. Others are sent too, but without open connections at their begin. */
  readonly expected?: ExpectedProtocols;
  /** Where gRPC calls go; null or absent if to the same target. */
  readonly grpcTarget?: Pick<ConnectionOptions, 'origin' | 'socketPath' | 'fenced'> | null;
  /** Requests that each sender sends to our own listener before the run; absent for enough to warm up its code. */
  readonly rehearsed?: number;
  /** Faults of our own side count for sends intended from this instant of the run on. Earlier ones are warm-up. */
  readonly judgedFromNs?: number;
  /** A closed loop: sends by the number in flight, not at instants. Null or absent for an open loop. */
  readonly closed?: ClosedLoop | null;
  /** Limits of complete answers that are kept and returned with results; null or absent to keep none. */
  readonly keeping?: KeepingSetup | null;
  /** Null or absent if all values are sent as recorded. */
  readonly live?: LiveOptions | null;
}

/** `workerData` of a sender thread. */
export interface SenderSetup extends SendingOptions {
  /** Number of the sender, from 0. */
  readonly sender: number;
  readonly ringMemory: SharedArrayBuffer;
  readonly inFlight: InFlightSetup;
  /** Counts waiting follow-ups; null if no request follows another. */
  readonly held: InFlightSetup | null;
  readonly wakePort: MessagePort;
  /** Minimum gap between two overdue sends after a stall. */
  readonly catchUpGapNs: number;
}

/** The kind of a batch: requests with planned instants, or follow-ups. */
export type BatchKind = 'batch' | 'followUps';

/** Messages of the command thread to a sender. `start` comes first, `finish` or `stop` last. */
export type ToSender =
  | { readonly kind: 'start'; readonly startNs: number }
  | { readonly kind: BatchKind; readonly batch: SendBatch }
  | { readonly kind: 'finish' | 'stop' };

/** A sender's last message. */
export interface SenderOver {
  readonly kind: 'over';
  readonly health: SenderHealth;
  /** Of each of its clients. */
  readonly connections: readonly SenderConnections[];
  /** Niceness of its thread. */
  readonly niceness: number;
}

/** Messages of a sender to the command thread. `ready` comes first, `over` last. */
export type FromSender =
  | { readonly kind: 'ready' }
  /** Packed `SendResult`s. */
  | { readonly kind: 'results'; readonly results: Uint8Array }
  | SenderOver;

/** `workerData` of the pacer thread. */
export interface PacerSetup {
  readonly ringMemory: SharedArrayBuffer;
  /** One for each sender. */
  readonly wakePorts: readonly MessagePort[];
}

/** The only message of the command thread to the pacer. After it, the pacer only watches the ring. */
export interface ToPacer {
  readonly startNs: number;
}

/** Messages of the pacer to the command thread: `ready` when it listens, `over` when the ring has ended. */
export type FromPacer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'over'; readonly lateness: DurationsNs; readonly niceness: number };
