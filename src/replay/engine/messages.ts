import type { MessagePort } from 'node:worker_threads';
import { Packr } from 'msgpackr';
import { AppError } from '../../core/errors.ts';
import type { Send } from '../../core/run.ts';
import type { ExpectedAnswer } from '../answers/expected-answer.ts';
import type { KeepingSetup, KeptAnswer } from '../check/answer-copy.ts';
import type { CertificateRules, FencedAddresses } from '../guard.ts';
import type { DurationsNs, SenderConnections, SenderHealth } from './health.ts';
import type { InFlightSetup } from './shared-memory.ts';

/** What a follow-up waits for. */
export interface FollowUp {
  /** The request of its session before it, by index. */
  readonly after: number;
  /** From the end of that one; or from its intended instant, where the two overlapped when they were recorded. */
  readonly from: 'end' | 'send';
  /** Nanoseconds from there, not negative. */
  readonly delayNs: number;
}

/**
 * One request ready to be sent: everything has been read, decompressed and decided. The client adds only what the
 * connection needs (`host` first when absent, `connection`, framing).
 */
export interface PreparedRequest {
  /** Position in the schedule, from 0; strictly increasing from request to request. */
  readonly index: number;
  /** Nanoseconds after the start of the run, whole; never decreasing. */
  readonly intendedOffsetNs: number;
  /** What has the same number goes to the same sender; without one, a request stands alone. */
  readonly stripe?: number | undefined;
  /** Number of the recorded connection it waits for and goes over; without one, any connection will do. */
  readonly lane?: number | null;
  /**
   * What it waits for in place of its instant, which is then what was planned; null for the first of a session that
   * others follow. Without it, it stands alone.
   */
  readonly follows?: FollowUp | null | undefined;
  readonly method: string;
  /** The request target as to be sent: origin form, query included, latin1. */
  readonly path: string;
  /**
   * Flat name, value, name, value … in the order and case to be sent, the run's marker included; latin1. No
   * framing and no hop-by-hop names. A `Host` pair is used in place of the target's own authority.
   */
  readonly headers: readonly string[];
  /** Null for a request without a body. */
  readonly body: Uint8Array | null;
  /** Sent with `transfer-encoding: chunked` rather than a content-length. */
  readonly chunked: boolean;
  readonly answer: ExpectedAnswer;
}

/** Bodies of at least this size travel in a buffer of their own, moved and never copied again. */
const OWN_BUFFER_BYTES = 64 * 1024;

const LINE_BREAK = /[\r\n]/;

const packr = new Packr();

/** Packs what goes to another thread, in memory of its own that can be transferred. */
export function packed(message: unknown): Uint8Array<ArrayBuffer> {
  // Copy: msgpackr returns a view over a buffer that it goes on using.
  return new Uint8Array(packr.pack(message));
}

/** The inverse of `packed`. Byte strings are views over it. */
export function unpacked<Message>(bytes: Uint8Array): Message {
  return packr.unpack(bytes) as Message;
}

/** Requests on their way to the sender; both kinds of buffer are transferred, not copied. */
export interface SendBatch {
  readonly requests: Uint8Array<ArrayBuffer>;
  readonly bodies: ArrayBuffer[];
}

/** A request within a batch. Its head is one text: thousands wait, and each would be some twenty strings more. */
interface QueuedRequest extends Omit<PreparedRequest, 'stripe' | 'method' | 'path' | 'headers' | 'body'> {
  /** Method, path, and names and values of headers, a line each. */
  readonly head: string;
  /** A number says which of the batch's large bodies it is. */
  readonly body: Uint8Array | number | null;
}

export function transferListOf(batch: SendBatch): ArrayBuffer[] {
  return [batch.requests.buffer, ...batch.bodies];
}

/** Copies requests into buffers another thread can take over. Main thread, well ahead of their time. */
export function packBatch(requests: readonly PreparedRequest[]): SendBatch {
  const bodies: ArrayBuffer[] = [];
  const queued = requests.map(({ stripe: _, method, path, headers, body, ...rest }): QueuedRequest => {
    const head = headOf(rest.index, [method, path, ...headers]);
    if (body === null || body.length < OWN_BUFFER_BYTES) return { ...rest, head, body };
    bodies.push(new Uint8Array(body).buffer);
    return { ...rest, head, body: bodies.length - 1 };
  });
  return { requests: packed(queued), bodies };
}

/** Reads a batch front to back. Sender thread. */
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

  /** Due offsets of all requests of the batch that are at or before `offsetNs`, and not before `fromOffsetNs`. */
  countDueBy(offsetNs: number, fromOffsetNs = 0): number {
    return this.#requests.filter(({ intendedOffsetNs: dueNs }) => dueNs <= offsetNs && dueNs >= fromOffsetNs)
      .length;
  }

  /** The next request, with its head taken apart. Call before it is due, not when. */
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
    // A small body is copied out, so that one slow answer does not keep its whole batch in memory.
    return Buffer.from(body);
  }
}

function headOf(index: number, lines: readonly string[]): string {
  // A line break inside a part could not be sent anyway; here it would shift every part behind it.
  if (lines.some((line) => LINE_BREAK.test(line)))
    throw new AppError('INTERNAL', `request ${index}: a line break within its head`);
  return lines.join('\n');
}

/** What became of one prepared request; the part of core's Send that the engine knows. */
export interface SendResult
  extends Pick<
    Send,
    | 'index'
    | 'intendedOffsetNs'
    | 'actualOffsetNs'
    | 'connectionWaitNs'
    | 'startOffsetNs'
    | 'firstByteOffsetNs'
    | 'lastByteOffsetNs'
    | 'status'
    | 'responseBytes'
    | 'error'
    | 'refused'
    | 'cancelled'
    | 'answer'
    | 'tellsError'
  > {
  /** Whether the answer came piece by piece; null where none came. */
  readonly streamed: boolean | null;
  /** A copy of a complete answer; left out where none was asked for, or its facts are enough. */
  readonly kept?: KeptAnswer;
}

/** Of a request that did not go to the target: our own cap refused it, or sending ended before its turn. */
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
  };
}

/** Where connections go, and how long the target is waited for. */
export interface ConnectionOptions extends CertificateRules {
  /** `http://host:port` or `https://host:port`, without a path. */
  readonly origin: string;
  /** Path of a unix socket that is connected to in place of the origin's host; null without one. */
  readonly socketPath: string | null;
  /** Connection set-up, TLS included. */
  readonly connectTimeoutMs: number;
  /** From the request being written to the response head. */
  readonly firstByteTimeoutMs: number;
  /** Between two pieces of a response body. */
  readonly idleTimeoutMs: number;
  /** A connection older than this is closed when it next falls idle; null for no limit. */
  readonly maxConnectionAgeMs: number | null;
  /** Addresses that no connection goes to, whatever the target's name means; left out for none. */
  readonly fenced?: FencedAddresses;
}

/** So many requests in flight at all times. Nothing is begun from an instant of the run on. */
interface ClosedLoop {
  readonly concurrency: number;
  readonly untilNs: number;
}

/** What all senders of a run are told. */
export interface SendingOptions extends ConnectionOptions {
  /** From the actual send to the last byte. */
  readonly totalTimeoutMs: number;
  /** After the last send, or a stop, how long requests in flight may still finish. */
  readonly drainDeadlineMs: number;
  /** Connections opened before the start, spread over the target's addresses. */
  readonly warmConnections: number;
  /** Requests that each sender plays to a listener of our own before; left out for as many as warm up its code. */
  readonly rehearsed?: number;
  /** Our own faults are counted for sends intended from this instant of the run on: what precedes it is warm-up. */
  readonly judgedFromNs?: number;
  /** Sends by what is in flight in place of instants; null or left out for an open loop. */
  readonly closed?: ClosedLoop | null;
  /** Complete answers are kept within these limits and come with their results; null or left out: none is. */
  readonly keeping?: KeepingSetup | null;
}

/** `workerData` of a sender thread. */
export interface SenderSetup extends SendingOptions {
  /** Which of the senders it is, from 0. */
  readonly sender: number;
  readonly ringMemory: SharedArrayBuffer;
  readonly inFlight: InFlightSetup;
  /** Follow-ups that wait; null where no request follows another. */
  readonly held: InFlightSetup | null;
  readonly wakePort: MessagePort;
  /** Least distance between two overdue sends after a stall. */
  readonly catchUpGapNs: number;
}

/** What a batch holds: requests whose instants were planned, or follow-ups. */
export type BatchKind = 'batch' | 'followUps';

/** Main to sender. `start` comes first; `finish` or `stop` last. */
export type ToSender =
  | { readonly kind: 'start'; readonly startNs: number }
  | { readonly kind: BatchKind; readonly batch: SendBatch }
  | { readonly kind: 'finish' | 'stop' };

/** A sender's last message. */
export interface SenderOver {
  readonly kind: 'over';
  readonly health: SenderHealth;
  readonly connections: SenderConnections;
}

/** Sender to main. `ready` first, `over` last. */
export type FromSender =
  | { readonly kind: 'ready' }
  /** SendResults, packed. */
  | { readonly kind: 'results'; readonly results: Uint8Array }
  | SenderOver;

/** `workerData` of the pacer thread. */
export interface PacerSetup {
  readonly ringMemory: SharedArrayBuffer;
  /** One for each sender. */
  readonly wakePorts: readonly MessagePort[];
}

/** Main to pacer, once; from then on the pacer watches the ring only. */
export interface ToPacer {
  readonly startNs: number;
}

/** Pacer to main: `ready` once it listens, `over` when the ring has ended. */
export type FromPacer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'over'; readonly lateness: DurationsNs };
