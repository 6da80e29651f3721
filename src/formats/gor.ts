import type { Exchange } from '../core/exchange.ts';
import { parseResponseHead } from '../core/headers.ts';
import { LIMITS } from '../core/limits.ts';
import { TextCounts } from '../core/text.ts';
import { AssemblyBudget } from '../http1/budget.ts';
import { ChunkedReader } from '../http1/chunked.ts';
import { checkedInstant } from './exact-time.ts';
import {
  BODIES_OPTION,
  type ImportedBody,
  type ImportedParts,
  type ImportedResponse,
  ImportSource,
  type ImportSourceDeps,
  importedExchange,
  importFormat,
  type OpenImport,
  placed,
} from './import-source.ts';
import { InputProblem, shown, textBytes } from './input.ts';
import { checkedHeaders, checkStart } from './request-draft.ts';

/** What a GoReplay file never contains. */
const MISSING_FROM_GOR = [
  'connections',
  'clients',
  'sessions',
  'the times of chunks',
  'whether GoReplay cut a body',
  'losses and coverage: the file does not say what GoReplay dropped',
] as const;

/**
 * Requests kept at most, while they or earlier requests wait for a response. Beyond that, the earliest is
 * returned without one.
 */
const MOST_WAITING = 10_000;
const MOST_WAITING_BYTES = 64 * 1024 * 1024;

/** A request, and its response once it was read. */
interface Pair {
  readonly request: GorRecord;
  answer: GorRecord | null;
}

/** Reads a file of GoReplay's `--output-file`. */
export function openGor(path: string): OpenImport {
  return async (deps) => {
    const lacking = new TextCounts();
    return new ImportSource({
      path,
      requests: true,
      missing: MISSING_FROM_GOR,
      details: { format: 'gor' },
      lacking,
      read: (signal) => new GorPairs(deps, lacking).exchanges(path, signal),
    });
  };
}

/** Pairs requests and responses by id, in the order of the requests. */
class GorPairs {
  readonly #deps: ImportSourceDeps;
  readonly #lacking: TextCounts;
  /** `#waiting`: by the request's record number, so in file order. `#byId`: the last request of each id. */
  readonly #waiting = new Map<number, Pair>();
  readonly #byId = new Map<string, Pair>();
  #waitingBytes = 0;

  constructor(deps: ImportSourceDeps, lacking: TextCounts) {
    this.#deps = deps;
    this.#lacking = lacking;
  }

  async *exchanges(path: string, signal: AbortSignal): AsyncGenerator<Exchange[]> {
    for await (const records of gorRecords(textBytes(path, signal))) {
      for (const record of records) this.#take(record);
      yield this.#ready(false);
    }
    yield this.#ready(true);
  }

  #take(record: GorRecord): void {
    if (record.type === 3) {
      this.#lacking.count('a response of a replay: left out');
      return;
    }
    const message = record.type === 1 ? record.message : withoutInterim(record.message);
    if (message === null) {
      this.#lacking.count('an interim response (100 Continue): left out');
      return;
    }
    // Copied, because the message is a view that would keep its whole chunk in memory while it waits.
    const own = { ...record, message: Buffer.from(message) };
    if (record.type === 1) {
      const pair = { request: own, answer: null };
      this.#waiting.set(record.number, pair);
      this.#byId.set(record.id, pair);
    } else {
      const pair = this.#byId.get(record.id);
      if (pair === undefined) {
        this.#lacking.count('a response without its request: left out');
        return;
      }
      pair.answer = own;
      this.#byId.delete(record.id);
    }
    this.#waitingBytes += own.message.length;
  }

  /** Pairs that are complete or cannot wait longer, up to the first that still waits. */
  #ready(end: boolean): Exchange[] {
    const exchanges: Exchange[] = [];
    for (const [number, pair] of this.#waiting) {
      const tooMany = this.#waiting.size > MOST_WAITING || this.#waitingBytes > MOST_WAITING_BYTES;
      if (pair.answer === null && !tooMany && !end) break;
      this.#waiting.delete(number);
      if (this.#byId.get(pair.request.id) === pair) this.#byId.delete(pair.request.id);
      this.#waitingBytes -= pair.request.message.length + (pair.answer?.message.length ?? 0);
      exchanges.push(this.#exchange(pair));
    }
    return exchanges;
  }

  #exchange({ request, answer }: Pair): Exchange {
    if (answer === null) this.#lacking.count('no response, hence no status and no latency');
    try {
      return importedExchange(this.#parts(request, answer), this.#deps);
    } catch (thrown) {
      throw placed(`record ${request.number}`, thrown);
    }
  }

  #parts(request: GorRecord, answer: GorRecord | null): ImportedParts {
    const sent = gorRequest(request.message, this.#lacking);
    const response = answer === null ? null : this.#response(answer, sent.method);
    const answeredUs = answer === null ? null : checkedOffset(answer.timeUs - request.timeUs, answer);
    const latencyUs = answer?.latencyUs == null ? 0 : checkedOffset(answer.latencyUs, answer);
    return {
      arrivalUs: request.timeUs,
      request: sent,
      response,
      firstByteOffsetUs: answeredUs,
      lastByteOffsetUs: answeredUs === null ? null : Math.max(answeredUs, latencyUs),
    };
  }

  #response(answer: GorRecord, method: string): ImportedResponse | null {
    try {
      return gorResponse(answer.message, method, this.#lacking);
    } catch (thrown) {
      if (thrown instanceof RecordWithin) throw placed(`record ${answer.number}`, thrown);
      if (!(thrown instanceof InputProblem)) throw thrown;
      this.#lacking.count('a response that is not HTTP/1.1');
      return null;
    }
  }
}

/** @throws InputProblem for a time longer than an exchange can last */
function checkedOffset(us: number, { number }: GorRecord): number {
  if (us <= LIMITS.importOffsetUs) return Math.max(0, us);
  throw new InputProblem(`its response, record ${number}, came more than a year later`, {
    hint: 'Correct the time or latency of the response, or remove it.',
  });
}

/** One record of a GoReplay file: a request (1), the recorded response (2) or a replayed one (3). */
interface GorRecord {
  /** From 1. */
  readonly number: number;
  readonly type: 1 | 2 | 3;
  readonly id: string;
  /** Epoch microseconds; and the record's latency, rounded, or null if it has none. */
  readonly timeUs: number;
  readonly latencyUs: number | null;
  readonly message: Buffer;
}

const SEPARATOR = Buffer.from('\n\u{1f435}\u{1f648}\u{1f649}\n');
const HEADER = /^([123]) ([0-9A-Za-z-]{1,64}) (\d{1,19})(?: (-?\d{1,19}))?$/;
const HEADER_BYTES = 160;

/**
 * The records of a GoReplay file, one at a time. A separator may also occur within a body. The message's
 * declared length decides, if the file agrees with it. Otherwise the bytes after it decide: the first line of
 * a record, or the end of the file.
 * @throws InputProblem for input that does not begin with a record, is truncated or too large
 */
export async function* gorRecords(chunks: AsyncIterable<Buffer>): AsyncGenerator<GorRecord[]> {
  const reader = new RecordReader();
  for await (const chunk of chunks) {
    const records = reader.take(chunk);
    if (records.length > 0) yield records;
  }
  yield reader.end();
}

class RecordReader {
  #pending: Buffer = Buffer.alloc(0);
  #number = 0;
  /** How far the current record was searched, and what its framing says about its end. */
  #searched = 0;
  #framing = new GorFraming();

  take(chunk: Buffer): GorRecord[] {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    const records = this.#read(false);
    if (this.#pending.length > LIMITS.importLineBytes + SEPARATOR.length + HEADER_BYTES) {
      throw new InputProblem(`record ${this.#number + 1} has more than ${LIMITS.importLineBytes} bytes`);
    }
    return records;
  }

  end(): GorRecord[] {
    const records = this.#read(true);
    const rest = this.#pending;
    if (isBlank(rest)) return records;
    const number = this.#number + 1;
    if (!beginsRecord(rest)) recordOf(rest, number);
    throw new InputProblem(`the file ends within record ${number}`, {
      hint: 'The file is truncated: fetch or copy it again.',
    });
  }

  #read(ended: boolean): GorRecord[] {
    const records: GorRecord[] = [];
    for (;;) {
      const bytes = this.#pending;
      const end = this.#endIn(bytes, ended);
      if (end === null) return records;
      this.#number += 1;
      records.push(recordOf(bytes.subarray(0, end), this.#number));
      this.#pending = bytes.subarray(end + SEPARATOR.length);
      this.#searched = 0;
      this.#framing = new GorFraming();
    }
  }

  /** End of the record at the beginning; null if it is incomplete or undecided yet. */
  #endIn(bytes: Buffer, ended: boolean): number | null {
    for (let at = bytes.indexOf(SEPARATOR, this.#searched); at >= 0; ) {
      this.#searched = at;
      const stated = this.#framing.endIn(bytes, at);
      // The bytes after the separator decide, so they must have been read.
      const wanted = Math.max(at, typeof stated === 'number' ? stated : 0) + SEPARATOR.length + HEADER_BYTES;
      if (!ended && (stated === 'later' || bytes.length < wanted)) return null;
      if (typeof stated === 'number' && stated > at && endsAt(bytes, stated, ended)) return stated;
      if (endsAt(bytes, at, ended)) return at;
      this.#searched = at + SEPARATOR.length;
      at = bytes.indexOf(SEPARATOR, this.#searched);
    }
    this.#searched = Math.max(this.#searched, bytes.length - SEPARATOR.length + 1);
    return null;
  }
}

/** Whether a separator is here, followed by a record or the end of the file. */
function endsAt(bytes: Buffer, at: number, ended: boolean): boolean {
  const after = at + SEPARATOR.length;
  if (!bytes.subarray(at, after).equals(SEPARATOR)) return false;
  return beginsRecord(bytes.subarray(after)) || (ended && isBlank(bytes.subarray(after)));
}

/** Whether these bytes begin with a record's first line. */
function beginsRecord(bytes: Buffer): boolean {
  const end = bytes.subarray(0, HEADER_BYTES).indexOf(0x0a);
  return end > 0 && HEADER.test(lineOf(bytes, end));
}

function isBlank(bytes: Buffer): boolean {
  return bytes.every((byte) => byte <= 0x20);
}

function lineOf(bytes: Buffer, end: number): string {
  return bytes.toString('latin1', 0, end).replace(/\r$/, '');
}

function recordOf(bytes: Buffer, number: number): GorRecord {
  const end = bytes.indexOf(0x0a);
  const line = lineOf(bytes, Math.min(end < 0 ? bytes.length : end, HEADER_BYTES));
  const [, type, id = '', time = '', latency] = HEADER.exec(line) ?? [];
  if (type === undefined || end < 0) {
    throw new InputProblem(`record ${number}: ${shown(line)} is not a record line of a GoReplay file`, {
      hint: 'A record begins with its type, id and time: 1 d7123dasd913jfd 1436283432000000000',
    });
  }
  try {
    return {
      number,
      type: Number(type) as 1 | 2 | 3,
      id,
      timeUs: checkedInstant(microseconds(time), time),
      latencyUs: latency === undefined || Number(latency) <= 0 ? null : microseconds(latency),
      message: bytes.subarray(end + 1),
    };
  } catch (thrown) {
    throw placed(`record ${number}`, thrown);
  }
}

/** Nanoseconds as microseconds, rounded half up once. */
function microseconds(ns: string): number {
  return Number((BigInt(ns) + 500n) / 1000n);
}

/** For a message followed by another record without a separator. */
class RecordWithin extends InputProblem {
  constructor() {
    super('another record begins within it', {
      hint: 'The separator line of GoReplay is missing between them: insert it, or copy the file again.',
    });
  }
}

/**
 * Parses a request as stored by GoReplay: a head, and the part of the body that GoReplay had. A body shorter
 * than its declared length is truncated, not malformed.
 * @throws InputProblem when it has no request head
 */
function gorRequest(message: Buffer, lacking: TextCounts): ImportedParts['request'] {
  const { head, rest } = splitHead(message);
  const line = head.toString('latin1', 0, head.indexOf('\r\n'));
  const [, method = '', target = ''] = /^(\S+) (\S+) HTTP\/1\.[01]$/.exec(line) ?? [];
  if (method === '') throw new InputProblem(`${shown(line)} is not an HTTP/1.1 request line`);
  checkStart(method, target);
  checkedHeaders(head);
  const { body, trailers, behind } = bodyOf(head, rest);
  checkBehind(behind, 'a request', lacking);
  return { method, target, head, body, trailers };
}

/** @throws InputProblem when it has no response head */
function gorResponse(message: Buffer, method: string, lacking: TextCounts): ImportedResponse {
  const { head, rest } = splitHead(message);
  const { status } = parseResponseHead(head);
  if (status < 100) throw new InputProblem('no status line of HTTP/1.1');
  const bodiless = method === 'HEAD' || status === 204 || status === 304;
  const { body, behind } = bodiless ? plain(rest, 0) : bodyOf(head, rest);
  checkBehind(behind, 'a response', lacking);
  return { status, head, body };
}

/** The response after interim ones (100 Continue); null if there are only those. */
function withoutInterim(message: Buffer): Buffer | null {
  let rest = message;
  while (isInterim(rest)) {
    const end = rest.indexOf('\r\n\r\n');
    if (end < 0 || end + 4 === rest.length) return null;
    rest = rest.subarray(end + 4);
  }
  return rest;
}

/** @throws RecordWithin when a separator is missing and another record follows */
function checkBehind(behind: Buffer, what: string, lacking: TextCounts): void {
  if (behind.length === 0) return;
  const next = behind.subarray(/^[\r\n]*/.exec(behind.toString('latin1', 0, 4))?.[0].length ?? 0);
  if (beginsRecord(next)) throw new RecordWithin();
  lacking.count(`bytes after the end of ${what}: left out`);
}

function splitHead(message: Buffer): { head: Buffer; rest: Buffer } {
  const end = message.indexOf('\r\n\r\n');
  if (end < 0) throw new InputProblem('no blank line ends the head');
  return { head: message.subarray(0, end + 4), rest: message.subarray(end + 4) };
}

/** The body, and the bytes after its end. */
interface Framed {
  readonly body: ImportedBody;
  readonly trailers: Uint8Array | null;
  readonly behind: Buffer;
}

function bodyOf(head: Buffer, rest: Buffer): Framed {
  const framing = framingOf(head);
  if (framing === 'chunked') return chunkedBody(rest);
  if (framing !== null) return plain(rest, Math.min(framing, LIMITS.importBodyBytes));
  // A body of unknown length extends to the end, unless another record begins here.
  return plain(rest, beginsRecord(rest) ? 0 : rest.length);
}

/** How a head frames its body: chunked or by length. Null if it states no length, or two different ones. */
function framingOf(head: Buffer): 'chunked' | number | null {
  const text = head.toString('latin1');
  if (/^transfer-encoding:(?:.*,)?[ \t]*chunked[ \t]*$/im.test(text)) return 'chunked';
  const stated = text.matchAll(/^content-length:[ \t]*(\d{1,15})[ \t]*$/gim);
  const [length, another] = new Set([...stated].map(([, digits]) => Number(digits)));
  return length === undefined || another !== undefined ? null : length;
}

/** A body of this length. Later bytes are not part of it; missing bytes were truncated. */
function plain(rest: Buffer, bytes: number): Framed {
  return {
    body: { bytes, kept: rest.subarray(0, bytes), truncated: rest.length < bytes },
    trailers: null,
    behind: rest.subarray(bytes),
  };
}

/** A chunk's size line. */
const CHUNK_LINE = /^[0-9A-Fa-f]{1,8}[ \t]*(?:;[^\r\n]*)?\r\n/;
const CHUNK_LINE_BYTES = 1024;

/** Joins chunks. GoReplay may have joined them already without removing the `Transfer-Encoding` header. */
function chunkedBody(coded: Buffer): Framed {
  if (!CHUNK_LINE.test(coded.toString('latin1', 0, CHUNK_LINE_BYTES))) return plain(coded, coded.length);
  const chunks: Buffer[] = [];
  const reader = chunkedReader();
  const end = reader.read(coded, 0, { write: (bytes) => chunks.push(bytes) });
  const kept = Buffer.concat(chunks);
  return {
    body: { bytes: kept.length, kept, truncated: !reader.done },
    trailers: reader.done ? reader.trailers() : null,
    behind: reader.done ? coded.subarray(end) : EMPTY,
  };
}

function chunkedReader(): ChunkedReader {
  return new ChunkedReader(new AssemblyBudget(LIMITS.trailerBytes));
}

const EMPTY = Buffer.alloc(0);

/** The end of a message: a position; null if its framing does not state one; `later` if more bytes are needed. */
type StatedEnd = number | null | 'later';

/**
 * Finds the end of a record by the framing of its message. A client can put a separator into the body, but the
 * body's length is reliable. A call with more bytes continues where the last one stopped.
 */
class GorFraming {
  #found: StatedEnd = 'later';
  /** For a chunked message: its reader, and the position that the reader has reached. */
  #chunked: ChunkedReader | null = null;
  #at = 0;

  /**
   * @param record from its first byte, with the bytes available after it
   * @param separator position of a possible end. If the head is not complete before it, there is no framing.
   */
  endIn(record: Buffer, separator: number): StatedEnd {
    if (this.#found !== 'later') return this.#within(record);
    if (this.#chunked === null) this.#readHead(record, separator);
    if (this.#chunked !== null) this.#found = this.#readChunks(record, this.#chunked);
    return this.#within(record);
  }

  #within(record: Buffer): StatedEnd {
    if (typeof this.#found !== 'number') return this.#found;
    if (this.#found > LIMITS.importLineBytes) return null;
    return this.#found > record.length ? 'later' : this.#found;
  }

  #readHead(record: Buffer, separator: number): void {
    this.#found = null;
    const start = record.indexOf('\n') + 1;
    const message = start === 0 ? null : withoutInterim(record.subarray(start));
    if (message === null) return;
    const from = record.length - message.length;
    const end = record.indexOf('\r\n\r\n', from);
    if (end < 0 || end > separator) return;
    const framing = framingOf(record.subarray(from, end));
    if (framing === 'chunked') {
      this.#chunked = chunkedReader();
      this.#at = end + 4;
    } else if (framing !== null) this.#found = end + 4 + framing;
  }

  #readChunks(record: Buffer, reader: ChunkedReader): StatedEnd {
    this.#at = reader.read(record, this.#at, { write: () => undefined });
    if (this.#at < 0 || this.#at > LIMITS.importLineBytes) return null;
    return reader.done ? this.#at : 'later';
  }
}

/** Whether a head is an interim answer: 100 Continue, 103 Early Hints. */
function isInterim(head: Buffer): boolean {
  return /^HTTP\/1\.[01] 1(?!01)\d\d(?: |\r|$)/.test(head.toString('latin1', 0, 16));
}

export const GOR = importFormat({
  summary: 'from a file of GoReplay, requests with their responses',
  description: null,
  files: ['<file>', 'the file'],
  rows: 'exchanges',
  options: BODIES_OPTION,
  open: ([file = '']) => openGor(file),
});
