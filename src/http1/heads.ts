import { ASCII, byteSet } from '../core/ascii.ts';
import { MARKER_HEADER, trimOws } from '../core/headers.ts';
import { LIMITS } from '../core/limits.ts';
import { type AssemblyBudget, GrowingBytes, type Refusal } from './budget.ts';

/** The header fields that framing, pairing and facts depend on; null if absent, repeated lines joined by `,`. */
export interface HeadFields {
  contentLength: string | null;
  transferEncoding: string | null;
  upgrade: string | null;
  expect: string | null;
  contentType: string | null;
  contentEncoding: string | null;
  /** Bytes of JSON before Triton's binary tensors. */
  inferenceHeaderLength: string | null;
  traceparent: string | null;
  grpcStatus: string | null;
  grpcTimeout: string | null;
  grpcEncoding: string | null;
  /** Whether the request is marked as a replay's. */
  marked: boolean;
}

/**
 * The protocol that a start line names. Streams of HTTP/2 have heads in the form of HTTP/1, with the version `HTTP/2`.
 */
export type HttpProtocol = 'http/1.0' | 'http/1.1' | 'h2';

export interface ScannedRequest {
  readonly method: string;
  readonly target: string;
  readonly protocol: HttpProtocol;
  readonly fields: HeadFields;
}

export interface ScannedResponse {
  readonly status: number;
  readonly protocol: HttpProtocol;
  readonly fields: HeadFields;
}

/** The first line of HTTP/2 with prior knowledge: it looks like a request but is none. */
export const HTTP2_PREFACE_LINE = 'PRI * HTTP/2.0';

const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) HTTP\/(1\.[01]|2)$/;
const STATUS_LINE = /^HTTP\/(1\.[01]|2) ([1-9]\d\d)(?: .*)?$/;

/** A NUL, or a CR that does not end a line: servers may split lines differently there. */
const MISLEADING = /\0|\r(?!\n)/;

const FIELD_KEYS: Readonly<Record<string, Exclude<keyof HeadFields, 'marked'>>> = {
  'content-length': 'contentLength',
  'transfer-encoding': 'transferEncoding',
  upgrade: 'upgrade',
  expect: 'expect',
  'content-type': 'contentType',
  'content-encoding': 'contentEncoding',
  'inference-header-content-length': 'inferenceHeaderLength',
  traceparent: 'traceparent',
  'grpc-status': 'grpcStatus',
  'grpc-timeout': 'grpcTimeout',
  'grpc-encoding': 'grpcEncoding',
};

/** Lengths of the names above and of the marker: this alone rules out most lines. */
const NAME_LENGTHS = new Set([...Object.keys(FIELD_KEYS), MARKER_HEADER].map((name) => name.length));

/** RFC 9110 token characters by code. */
const TOKEN = byteSet("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

const { LF, CR, COLON } = ASCII;

/** Whether a line (without line end) is the start line of a request. */
export function isRequestLine(line: string): boolean {
  return REQUEST_LINE.test(line);
}

/** Whether a line (without line end) is the start line of a response. */
export function isStatusLine(line: string): boolean {
  return STATUS_LINE.test(line);
}

/** Reads a complete request head (latin1); null if it is ambiguous. */
export function scanRequest(head: string): ScannedRequest | null {
  const match = REQUEST_LINE.exec(firstLine(head));
  const fields = match === null ? null : scanHeadFields(head);
  if (match === null || fields === null) return null;
  return { method: match[1] ?? '', target: match[2] ?? '', protocol: protocolOf(match[3]), fields };
}

/** Reads a complete response head (latin1); null if it is ambiguous. */
export function scanResponse(head: string): ScannedResponse | null {
  const match = STATUS_LINE.exec(firstLine(head));
  const fields = match === null ? null : scanHeadFields(head);
  if (match === null || fields === null) return null;
  return { status: Number(match[2]), protocol: protocolOf(match[1]), fields };
}

function protocolOf(version: string | undefined): HttpProtocol {
  if (version === '2') return 'h2';
  return version === '1.0' ? 'http/1.0' : 'http/1.1';
}

/** Bare LF line ends are also accepted: RFC 9112 section 2.2 allows it, and servers accept or refuse them. */
function scanHeadFields(head: string): HeadFields | null {
  const lineFeed = head.indexOf('\n');
  return scanFields(head, lineFeed + 1, head.charCodeAt(lineFeed - 1) === CR);
}

/**
 * Reads the field lines of `text[from…)` up to its end or its blank line. Null for a line without a colon, or
 * a name that is no token (including white space before the colon). Null for too many lines, mixed line ends
 * or misleading bytes. Also null for a folded line: RFC 9112 section 5.2 lets servers refuse or unfold it,
 * and they differ.
 * @param crlf whether lines end in CRLF instead of a bare LF
 */
export function scanFields(text: string, from: number, crlf: boolean): HeadFields | null {
  if (MISLEADING.test(text)) return null;
  const fields: HeadFields = {
    contentLength: null,
    transferEncoding: null,
    upgrade: null,
    expect: null,
    contentType: null,
    contentEncoding: null,
    inferenceHeaderLength: null,
    traceparent: null,
    grpcStatus: null,
    grpcTimeout: null,
    grpcEncoding: null,
    marked: false,
  };
  let at = from;
  for (let lines = 0; at < text.length; lines += 1) {
    if (lines > LIMITS.headerLines) return null;
    const lineFeed = text.indexOf('\n', at);
    if (lineFeed < 0) return null;
    // Some servers end a line at a bare LF, others take it into the value. Only uniform line ends are
    // unambiguous.
    if ((text.charCodeAt(lineFeed - 1) === CR) !== crlf) return null;
    const end = crlf ? lineFeed - 1 : lineFeed;
    if (end <= at) return fields;
    let colon = at;
    while (TOKEN[text.charCodeAt(colon)] === 1) colon += 1;
    if (colon === at || text.charCodeAt(colon) !== COLON) return null;
    if (NAME_LENGTHS.has(colon - at)) takeField(fields, text, at, colon, end);
    at = lineFeed + 1;
  }
  return fields;
}

function takeField(fields: HeadFields, text: string, at: number, colon: number, end: number): void {
  const name = text.slice(at, colon).toLowerCase();
  if (name === MARKER_HEADER) {
    fields.marked = true;
    return;
  }
  const key = Object.hasOwn(FIELD_KEYS, name) ? FIELD_KEYS[name] : undefined;
  if (key === undefined) return;
  const value = trimOws(text.slice(colon + 1, end));
  const before = fields[key];
  fields[key] = before === null ? value : `${before},${value}`;
}

function firstLine(head: string): string {
  const end = head.indexOf('\n');
  return end > 0 && head.charCodeAt(end - 1) === CR
    ? head.slice(0, end - 1)
    : head.slice(0, Math.max(end, 0));
}

/**
 * Finds the end of a head: its first blank line. A head within one chunk, the usual case, is not copied. A
 * head in several pieces is collected and searched once in total.
 */
export class HeadReader {
  readonly #collected: GrowingBytes;
  readonly #isStartLine: (line: string) => boolean;
  #startLineSeen = false;
  /** The complete head with its blank line: a view that is valid until the call returns. */
  head: Buffer | null = null;
  /** Why `take` returned -1. */
  refusal: Refusal | 'start_line' | null = null;

  /** @param isStartLine checks the first line, so that another protocol is not collected up to the limit */
  constructor(budget: AssemblyBudget, isStartLine: (line: string) => boolean) {
    this.#collected = new GrowingBytes(LIMITS.headBytes, budget);
    this.#isStartLine = isStartLine;
  }

  /** Whether a head is partly read. */
  get inside(): boolean {
    return this.#collected.length > 0;
  }

  /**
   * Position of the first byte of a head. Empty lines before a start line are skipped, as RFC 9112 section
   * 2.2 asks of servers. Clients do the same after an interim response.
   */
  skip(bytes: Uint8Array, from: number): number {
    let at = from;
    if (!this.inside) {
      while (at < bytes.length && (bytes[at] === CR || bytes[at] === LF)) at += 1;
    }
    return at;
  }

  /**
   * Reads from `from`. Returns the position after the head, with `head` set. Returns `bytes.length` if more
   * is needed, or -1 with `refusal` set.
   */
  take(bytes: Buffer, from: number): number {
    return this.inside ? this.#takeMore(bytes, from) : this.#takeFirst(bytes, from);
  }

  /** Discards the complete or partial head. */
  clear(): void {
    this.#collected.clear();
    this.#startLineSeen = false;
    this.head = null;
  }

  #takeFirst(bytes: Buffer, from: number): number {
    const end = headEnd(bytes, from);
    if (end < 0) return this.#collect(bytes, from);
    if (end - from > LIMITS.headBytes) return this.#refuse('limit');
    this.head = bytes.subarray(from, end);
    return end;
  }

  #takeMore(bytes: Buffer, from: number): number {
    // The end may span two pieces: up to two of its bytes may already be collected.
    const before = this.#collected.length;
    const tail = Buffer.concat([this.#collected.view().subarray(-2), bytes.subarray(from, from + 2)]);
    const known = tail.length - Math.min(2, bytes.length - from);
    const straddling = headEnd(tail, 0);
    const end = straddling > known ? from + straddling - known : headEnd(bytes, from);
    if (end < 0) return this.#collect(bytes, from);
    const refusal = this.#collected.append(bytes, from, end);
    if (refusal !== null) return this.#refuse(refusal);
    this.head = this.#collected.view().subarray(0, before + end - from);
    return end;
  }

  #collect(bytes: Buffer, from: number): number {
    const refusal = this.#collected.append(bytes, from, bytes.length);
    if (refusal !== null) return this.#refuse(refusal);
    if (!this.#startLineSeen) {
      const collected = this.#collected.view();
      const lineEnd = collected.indexOf(LF, Math.max(0, collected.length - (bytes.length - from)));
      if (lineEnd >= 0) {
        this.#startLineSeen = true;
        if (!this.#isStartLine(lineText(collected, lineEnd))) return this.#refuse('start_line');
      }
    }
    return bytes.length;
  }

  #refuse(refusal: Refusal | 'start_line'): number {
    this.refusal = refusal;
    return -1;
  }
}

/**
 * Position after the first blank line at or after `from`, or -1. Lines may end in CRLF or a bare LF. Checks
 * only every other byte, which always meets one of two consecutive line ends. For heads of some hundred bytes
 * that is faster than a native search.
 */
export function headEnd(bytes: Uint8Array, from: number): number {
  for (let at = from + 1; at < bytes.length; at += 2) {
    if (bytes[at] !== LF && bytes[at] !== CR) continue;
    const end = blankLineEnd(bytes, at - 1);
    if (end >= 0) return end;
    const next = blankLineEnd(bytes, at);
    if (next >= 0) return next;
  }
  return -1;
}

/** Position after the blank line that follows the line feed at `at`; -1 if there is none. */
function blankLineEnd(bytes: Uint8Array, at: number): number {
  if (bytes[at] !== LF) return -1;
  if (bytes[at + 1] === LF) return at + 2;
  return bytes[at + 1] === CR && bytes[at + 2] === LF ? at + 3 : -1;
}

function lineText(bytes: Buffer, lineEnd: number): string {
  const end = bytes[lineEnd - 1] === CR ? lineEnd - 1 : lineEnd;
  return bytes.toString('latin1', 0, end);
}
