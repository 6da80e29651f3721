import { AppError } from '../core/errors.ts';
import { orNull } from '../core/missing-number.ts';
import type { ExpectedAnswer } from './expected-answer.ts';
import type { PreparedRequest } from './prepared-request.ts';
import type { FollowUp } from './session-order.ts';

/** Bodies of at least this size travel in a buffer of their own, moved and never copied again. */
const OWN_BUFFER_BYTES = 64 * 1024;

const LINE_BREAK = /[\r\n]/;

const COLUMNS = 13;
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
  const tableBytes = requests.length * COLUMNS * Float64Array.BYTES_PER_ELEMENT;
  let bytes = tableBytes;
  for (const head of heads) bytes += head.length;
  for (const { body } of requests) if (body !== null && body.length < OWN_BUFFER_BYTES) bytes += body.length;

  const packed = new ArrayBuffer(bytes);
  const table = new Float64Array(packed, 0, requests.length * COLUMNS);
  const target = Buffer.from(packed);
  const bodies: ArrayBuffer[] = [];
  let at = tableBytes;
  requests.forEach((request, row) => {
    const body = request.body;
    const own = body !== null && body.length >= OWN_BUFFER_BYTES;
    const headAt = at;
    at += target.write(heads[row] ?? '', at, 'latin1');
    const cell = row * COLUMNS;
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
    this.#table = new Float64Array(batch.packed, 0, batch.count * COLUMNS);
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
      const intendedNs = this.#table[row * COLUMNS + INTENDED] ?? 0;
      if (intendedNs > offsetNs) break;
      if (intendedNs >= fromOffsetNs) due++;
    }
    return due;
  }

  /** The next request, decoded. Call before it is due, not when. */
  read(): OutgoingRequest {
    const cell = this.#row * COLUMNS;
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
