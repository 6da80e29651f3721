import type { MessagePort } from 'node:worker_threads';
import { AppError } from '../../core/errors.ts';
import { orNull } from '../../core/missing-number.ts';
import {
  FINISH_REASONS,
  type FinishReason,
  SEND_ERRORS,
  type SendAnswer,
  type SendError,
} from '../../core/run.ts';
import type { ExpectedAnswer } from '../answers/expected-answer.ts';
import type { ArenaSetup, HeldAnswer } from '../check/messages.ts';
import type { FencedAddresses } from '../guard.ts';
import type { ConnectionUse, DurationsNs, PackedDurations, SenderHealth } from './health.ts';
import type { InFlightLimits } from './shared-memory.ts';

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
 * One request ready to be sent: everything has been read, decompressed and decided. The sender adds only what the
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

const REQUEST_COLUMNS = 13;
const INDEX = 0;
const INTENDED = 1;
const HEAD_BYTES = 2;
/** Where the body lies: an offset here, or the number of its own buffer. */
const BODY_AT = 3;
/** −1 for no body. */
const BODY_BYTES = 4;
const BODY_OWN = 5;
const CHUNKED = 6;
/** NaN for none. */
const LANE = 7;
/** The parts of the expected answer that are yes or no. */
const EXPECTED = 8;
const COUNTS = 1;
const STREAMS = 2;
const ENDS = 4;
/** NaN for a client that stayed. */
const CANCEL_AFTER = 9;
/** The request that it follows; −1 for the first of a session, NaN for one that stands alone. */
const FOLLOWS = 10;
const DELAY = 11;
const FROM_SEND = 12;

/** Requests on their way to the sender; both kinds of buffer are transferred, not copied. */
export interface SendBatch {
  readonly count: number;
  /** A table of numbers, then heads and small bodies. */
  readonly packed: ArrayBuffer;
  readonly bodies: ArrayBuffer[];
}

/** A request ready to be written: nothing about it is left to be read, decoded or allocated. */
export interface OutgoingRequest {
  readonly index: number;
  readonly intendedOffsetNs: number;
  readonly method: string;
  readonly path: string;
  /** Flat name, value, name, value … in the order and case to be sent; latin1. */
  readonly headers: string[];
  readonly body: Buffer | null;
  readonly chunked: boolean;
  /** See PreparedRequest. */
  readonly lane: number | null;
  /** Whether it is of a session whose follow-ups wait for it; and what it waits for itself. */
  readonly chained: boolean;
  readonly follows: FollowUp | null;
  readonly answer: ExpectedAnswer;
}

export function transferListOf(batch: SendBatch): ArrayBuffer[] {
  return [batch.packed, ...batch.bodies];
}

/** Copies requests into buffers another thread can take over. Main thread, well ahead of their time. */
export function packBatch(requests: readonly PreparedRequest[]): SendBatch {
  const heads = requests.map(headOf);
  const tableBytes = requests.length * REQUEST_COLUMNS * Float64Array.BYTES_PER_ELEMENT;
  let bytes = tableBytes;
  for (const head of heads) bytes += head.length;
  for (const { body } of requests) if (body !== null && body.length < OWN_BUFFER_BYTES) bytes += body.length;

  const packed = new ArrayBuffer(bytes);
  const table = new Float64Array(packed, 0, requests.length * REQUEST_COLUMNS);
  const target = Buffer.from(packed);
  const bodies: ArrayBuffer[] = [];
  let at = tableBytes;
  requests.forEach((request, row) => {
    const body = request.body;
    const own = body !== null && body.length >= OWN_BUFFER_BYTES;
    const headAt = at;
    at += target.write(heads[row] ?? '', at, 'latin1');
    const cell = row * REQUEST_COLUMNS;
    table[cell + INDEX] = request.index;
    table[cell + INTENDED] = request.intendedOffsetNs;
    table[cell + HEAD_BYTES] = at - headAt;
    table[cell + BODY_AT] = own ? bodies.length : at;
    table[cell + BODY_BYTES] = body === null ? -1 : body.length;
    table[cell + BODY_OWN] = own ? 1 : 0;
    table[cell + CHUNKED] = request.chunked ? 1 : 0;
    table[cell + LANE] = request.lane ?? Number.NaN;
    table[cell + EXPECTED] = expectedBits(request.answer);
    table[cell + CANCEL_AFTER] = request.answer.cancelAfterNs ?? Number.NaN;
    table[cell + FOLLOWS] = request.follows === undefined ? Number.NaN : (request.follows?.after ?? -1);
    table[cell + DELAY] = request.follows?.delayNs ?? 0;
    table[cell + FROM_SEND] = request.follows?.from === 'send' ? 1 : 0;
    if (body === null) return;
    if (own) {
      bodies.push(copyOf(body));
    } else {
      target.set(body, at);
      at += body.length;
    }
  });
  return { count: requests.length, packed, bodies };
}

/** Reads a batch front to back. Sender thread. */
export class BatchReader {
  readonly #batch: SendBatch;
  readonly #table: Float64Array;
  readonly #bytes: Buffer;
  #row = 0;
  #headAt: number;

  constructor(batch: SendBatch) {
    this.#batch = batch;
    this.#table = new Float64Array(batch.packed, 0, batch.count * REQUEST_COLUMNS);
    this.#bytes = Buffer.from(batch.packed);
    this.#headAt = this.#table.byteLength;
  }

  get done(): boolean {
    return this.#row >= this.#batch.count;
  }

  /** Due offsets of all requests of the batch that are at or before `offsetNs`, and not before `fromOffsetNs`. */
  countDueBy(offsetNs: number, fromOffsetNs = 0): number {
    let due = 0;
    for (let row = 0; row < this.#batch.count; row++) {
      const intendedNs = this.#table[row * REQUEST_COLUMNS + INTENDED] ?? 0;
      if (intendedNs > offsetNs) break;
      if (intendedNs >= fromOffsetNs) due++;
    }
    return due;
  }

  /** The next request, decoded. Call before it is due, not when. */
  read(): OutgoingRequest {
    const cell = this.#row * REQUEST_COLUMNS;
    const table = this.#table;
    const headEnd = this.#headAt + (table[cell + HEAD_BYTES] ?? 0);
    const [method = '', path = '', ...headers] = this.#bytes
      .toString('latin1', this.#headAt, headEnd)
      .split('\n');
    const bodyBytes = table[cell + BODY_BYTES] ?? -1;
    const own = table[cell + BODY_OWN] === 1;
    const follows = orNull(table[cell + FOLLOWS]);
    const request: OutgoingRequest = {
      index: table[cell + INDEX] ?? 0,
      intendedOffsetNs: table[cell + INTENDED] ?? 0,
      method,
      path,
      headers,
      body: bodyBytes < 0 ? null : this.#bodyOf(table[cell + BODY_AT] ?? 0, bodyBytes, own),
      chunked: table[cell + CHUNKED] === 1,
      lane: orNull(table[cell + LANE]),
      chained: follows !== null,
      follows: follows === null || follows < 0 ? null : this.#followUpOf(follows, cell),
      answer: expectedOf(table[cell + EXPECTED] ?? 0, orNull(table[cell + CANCEL_AFTER])),
    };
    this.#row++;
    this.#headAt = headEnd + (own || bodyBytes < 0 ? 0 : bodyBytes);
    return request;
  }

  #followUpOf(after: number, cell: number): FollowUp {
    const from = this.#table[cell + FROM_SEND] === 1 ? 'send' : 'end';
    return { after, from, delayNs: this.#table[cell + DELAY] ?? 0 };
  }

  #bodyOf(at: number, bytes: number, own: boolean): Buffer {
    const buffer = own ? this.#batch.bodies[at] : undefined;
    // A small body is copied out, so that one slow answer does not keep its whole batch in memory.
    return buffer ? Buffer.from(buffer, 0, bytes) : Buffer.from(this.#bytes.subarray(at, at + bytes));
  }
}

/** Method, path, and names and values of headers, a line each. */
function headOf({ index, method, path, headers }: PreparedRequest): string {
  const lines = [method, path, ...headers];
  // A line break inside a part could not be sent anyway; here it would shift every part behind it.
  if (lines.some((line) => LINE_BREAK.test(line)))
    throw new AppError('INTERNAL', `request ${index}: a line break within its head`);
  return lines.join('\n');
}

function expectedBits({ counts, streams, ends }: ExpectedAnswer): number {
  return (counts ? COUNTS : 0) | (streams ? STREAMS : 0) | (ends ? ENDS : 0);
}

function expectedOf(bits: number, cancelAfterNs: number | null): ExpectedAnswer {
  return {
    counts: (bits & COUNTS) !== 0,
    streams: (bits & STREAMS) !== 0,
    ends: (bits & ENDS) !== 0,
    cancelAfterNs,
  };
}

function copyOf(body: Uint8Array): ArrayBuffer {
  const copy = new ArrayBuffer(body.length);
  new Uint8Array(copy).set(body);
  return copy;
}

/**
 * What became of one prepared request; the part of core's Send that the engine knows. Every offset is
 * nanoseconds after the start of the run on the monotonic clock.
 */
export interface SendResult {
  readonly index: number;
  readonly intendedOffsetNs: number;
  /** When a connection was chosen or begun; null when a cap refused the request or a stop came before. */
  readonly actualOffsetNs: number | null;
  /** Before that: the wait for its recorded connection, ours and no lag; null where none was waited for. */
  readonly connectionWaitNs: number | null;
  /** When the request was written: the end of the connection wait. */
  readonly startOffsetNs: number | null;
  /** First byte of the final response (an interim 1xx is not it). */
  readonly firstByteOffsetNs: number | null;
  /** End of a complete response; for an error the instant it was noticed, null when refused. */
  readonly lastByteOffsetNs: number | null;
  readonly status: number | null;
  /** Body bytes received, transfer coding removed, content coding left. */
  readonly responseBytes: number;
  /** Null for a complete answer of whatever status, and for a refused request. */
  readonly error: SendError | null;
  readonly refused: boolean;
  /** Ended by us where the recorded client had left. */
  readonly cancelled: boolean;
  /** Whether the answer came piece by piece; null where none came. */
  readonly streamed: boolean | null;
  /** Null where the answer was not looked into. */
  readonly answer: SendAnswer | null;
  /** The connection had answered a request before this one. */
  readonly reusedConnection: boolean;
  /** A copy of a complete answer; null or left out where none was asked for, or its facts are enough. */
  readonly kept?: HeldAnswer | null;
}

/** Of a request that was due and that our own cap did not send. */
export function refusedResult(index: number, intendedOffsetNs: number): SendResult {
  return { ...NOT_SENT, index, intendedOffsetNs, error: null, refused: true };
}

/** Of a request that was still waiting for its recorded connection when sending ended. */
export function neverSentResult(index: number, intendedOffsetNs: number): SendResult {
  return { ...NOT_SENT, index, intendedOffsetNs, error: 'stopped', refused: false };
}

const NOT_SENT = {
  actualOffsetNs: null,
  connectionWaitNs: null,
  startOffsetNs: null,
  firstByteOffsetNs: null,
  lastByteOffsetNs: null,
  status: null,
  responseBytes: 0,
  cancelled: false,
  streamed: null,
  answer: null,
  reusedConnection: false,
} as const;

const RESULT_COLUMNS = 20;
const REFUSED = 1;
const REUSED = 2;
const CANCELLED = 4;
const STREAMED = 8;
/** Whether it streamed is known. */
const HEADED = 16;
const ANSWERED = 32;

/** Results on their way to the main thread: their number, then a row of numbers each, NaN for null, then gaps. */
export function packResults(results: readonly SendResult[]): Uint8Array<ArrayBuffer> {
  const table = (1 + results.length * RESULT_COLUMNS) * Float64Array.BYTES_PER_ELEMENT;
  const gapBytes = results.reduce((sum, { answer }) => sum + (answer?.gaps?.length ?? 0), 0);
  const packed = new ArrayBuffer(table + gapBytes);
  const rows = new Float64Array(packed, 0, 1 + results.length * RESULT_COLUMNS);
  const bytes = new Uint8Array(packed);
  rows[0] = results.length;
  let gapsAt = table;
  results.forEach((result, row) => {
    writeRow(rows, 1 + row * RESULT_COLUMNS, result);
    const gaps = result.answer?.gaps ?? null;
    if (gaps === null) return;
    bytes.set(gaps, gapsAt);
    gapsAt += gaps.length;
  });
  return bytes;
}

export function unpackResults(bytes: Uint8Array): SendResult[] {
  const count = new Float64Array(bytes.buffer, bytes.byteOffset, 1)[0] ?? 0;
  const rows = new Float64Array(bytes.buffer, bytes.byteOffset, 1 + count * RESULT_COLUMNS);
  const results: SendResult[] = [];
  let gapsAt = rows.byteLength;
  for (let at = 1; at < rows.length; at += RESULT_COLUMNS) {
    const gapBytes = orNull(rows[at + 14]);
    const gaps = gapBytes === null ? null : bytes.slice(gapsAt, gapsAt + gapBytes);
    gapsAt += gapBytes ?? 0;
    results.push(resultOf(rows, at, gaps));
  }
  return results;
}

function writeRow(rows: Float64Array, at: number, result: SendResult): void {
  const { answer } = result;
  rows[at] = result.index;
  rows[at + 1] = result.intendedOffsetNs;
  rows[at + 2] = result.actualOffsetNs ?? Number.NaN;
  rows[at + 3] = result.startOffsetNs ?? Number.NaN;
  rows[at + 4] = result.firstByteOffsetNs ?? Number.NaN;
  rows[at + 5] = result.lastByteOffsetNs ?? Number.NaN;
  rows[at + 6] = result.status ?? Number.NaN;
  rows[at + 7] = result.responseBytes;
  rows[at + 8] = result.error === null ? -1 : SEND_ERRORS.indexOf(result.error);
  rows[at + 9] = flagsOf(result);
  rows[at + 10] = answer?.firstTokenOffsetNs ?? Number.NaN;
  rows[at + 11] = answer?.lastTokenOffsetNs ?? Number.NaN;
  rows[at + 12] = answer?.contentEvents ?? 0;
  rows[at + 13] = answer?.gapMaxNs ?? Number.NaN;
  rows[at + 14] = answer?.gaps?.length ?? Number.NaN;
  rows[at + 15] = answer?.promptTokens ?? Number.NaN;
  rows[at + 16] = answer?.outputTokens ?? Number.NaN;
  rows[at + 17] = answer === null || answer.finish === null ? -1 : FINISH_REASONS.indexOf(answer.finish);
  rows[at + 18] = result.connectionWaitNs ?? Number.NaN;
  rows[at + 19] = packFinishes(answer?.finishes ?? null);
}

function resultOf(rows: Float64Array, at: number, gaps: Uint8Array | null): SendResult {
  const flags = rows[at + 9] ?? 0;
  return {
    index: rows[at] ?? 0,
    intendedOffsetNs: rows[at + 1] ?? 0,
    actualOffsetNs: orNull(rows[at + 2]),
    connectionWaitNs: orNull(rows[at + 18]),
    startOffsetNs: orNull(rows[at + 3]),
    firstByteOffsetNs: orNull(rows[at + 4]),
    lastByteOffsetNs: orNull(rows[at + 5]),
    status: orNull(rows[at + 6]),
    responseBytes: rows[at + 7] ?? 0,
    error: SEND_ERRORS[rows[at + 8] ?? -1] ?? null,
    refused: (flags & REFUSED) !== 0,
    cancelled: (flags & CANCELLED) !== 0,
    streamed: (flags & HEADED) === 0 ? null : (flags & STREAMED) !== 0,
    answer: (flags & ANSWERED) === 0 ? null : answerOf(rows, at, gaps),
    reusedConnection: (flags & REUSED) !== 0,
  };
}

function answerOf(rows: Float64Array, at: number, gaps: Uint8Array | null): SendAnswer {
  return {
    firstTokenOffsetNs: orNull(rows[at + 10]),
    lastTokenOffsetNs: orNull(rows[at + 11]),
    contentEvents: rows[at + 12] ?? 0,
    gapMaxNs: orNull(rows[at + 13]),
    gaps,
    promptTokens: orNull(rows[at + 15]),
    outputTokens: orNull(rows[at + 16]),
    finish: FINISH_REASONS[rows[at + 17] ?? -1] ?? null,
    finishes: unpackFinishes(rows[at + 19] ?? 0),
  };
}

/** Three bits a choice, 49 with the mark of 16 choices, of the 53 that a number has: 0 is no reason. */
const FINISH_STEPS = 8;

/** Ends with a mark, so that choices that said nothing count as well. */
function packFinishes(finishes: readonly (FinishReason | null)[] | null): number {
  if (finishes === null) return 0;
  const digits = finishes.map((reason) => (reason === null ? 0 : FINISH_REASONS.indexOf(reason) + 1));
  return digits.reduceRight<number>((sum, digit) => sum * FINISH_STEPS + digit, 1);
}

function unpackFinishes(packed: number): readonly (FinishReason | null)[] | null {
  if (packed === 0) return null;
  const finishes: (FinishReason | null)[] = [];
  for (let rest = packed; rest >= FINISH_STEPS; rest = Math.floor(rest / FINISH_STEPS))
    finishes.push(FINISH_REASONS[(rest % FINISH_STEPS) - 1] ?? null);
  return finishes;
}

function flagsOf({ refused, reusedConnection, cancelled, streamed, answer }: SendResult): number {
  let flags = streamed === null ? 0 : HEADED;
  if (refused) flags |= REFUSED;
  if (reusedConnection) flags |= REUSED;
  if (cancelled) flags |= CANCELLED;
  if (streamed === true) flags |= STREAMED;
  if (answer !== null) flags |= ANSWERED;
  return flags;
}

/** `workerData` of a sender thread. */
export interface SenderSetup {
  /** Which of the senders it is, from 0. */
  readonly sender: number;
  readonly ringMemory: SharedArrayBuffer;
  readonly inFlightMemory: SharedArrayBuffer;
  readonly inFlightLimits: InFlightLimits;
  readonly wakePort: MessagePort;
  readonly origin: string;
  readonly socketPath: string | null;
  readonly connectTimeoutMs: number;
  readonly firstByteTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly totalTimeoutMs: number;
  readonly drainDeadlineMs: number;
  readonly judgedFromNs?: number;
  readonly catchUpGapNs: number;
  readonly warmConnections: number;
  readonly maxConnectionAgeMs: number | null;
  readonly caPem: string | null;
  readonly acceptAnyCertificate: boolean;
  /** Addresses that no connection goes to, whatever the target's name means; left out for none. */
  readonly fenced?: FencedAddresses;
  readonly keeping?: ArenaSetup | null;
}

/** What a batch holds: requests whose instants were planned, or follow-ups. */
export type BatchKind = 'batch' | 'followUps';

/** Main to sender. `start` comes first; `finish` or `stop` last. */
export type ToSender =
  | { readonly kind: 'start'; readonly startNs: number }
  | { readonly kind: BatchKind; readonly batch: SendBatch }
  | { readonly kind: 'finish' }
  | { readonly kind: 'stop' };

/** A sender's last message. */
export interface SenderOver {
  readonly kind: 'over';
  readonly health: SenderHealth;
  readonly connections: ConnectionUse;
  /** Set-up times of its connections. */
  readonly connect: PackedDurations;
}

/** Sender to main. `ready` first, `over` last. */
export type FromSender =
  | { readonly kind: 'ready' }
  | { readonly kind: 'results'; readonly rows: Uint8Array; readonly kept?: readonly HeldAnswer[] }
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
