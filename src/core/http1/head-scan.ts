import { MARKER_HEADER, trimOws } from '../headers.ts';
import { LIMITS } from '../limits.ts';

/** The few header fields that framing and pairing depend on; null where absent, repeated lines joined by `,`. */
export interface HeadFields {
  contentLength: string | null;
  transferEncoding: string | null;
  upgrade: string | null;
  expect: string | null;
  contentType: string | null;
  contentEncoding: string | null;
  /** Bytes of JSON before Triton's binary tensors. */
  inferenceHeaderLength: string | null;
  /** Whether the request says that it is a replay's. */
  marked: boolean;
}

export interface ScannedRequest {
  readonly method: string;
  readonly target: string;
  readonly minorVersion: number;
  readonly fields: HeadFields;
}

export interface ScannedResponse {
  readonly status: number;
  readonly minorVersion: number;
  readonly fields: HeadFields;
}

/** The first line of HTTP/2 with prior knowledge: no request, though it looks like one. */
export const HTTP2_PREFACE_LINE = 'PRI * HTTP/2.0';

const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) HTTP\/1\.([01])$/;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: .*)?$/;

/** A NUL anywhere, or a CR that does not end a line: some server would see other lines here than we do. */
const MISLEADING = /\0|\r(?!\n)/;

const FIELD_KEYS: Readonly<Record<string, Exclude<keyof HeadFields, 'marked'>>> = {
  'content-length': 'contentLength',
  'transfer-encoding': 'transferEncoding',
  upgrade: 'upgrade',
  expect: 'expect',
  'content-type': 'contentType',
  'content-encoding': 'contentEncoding',
  'inference-header-content-length': 'inferenceHeaderLength',
};

/** Lengths of the names above and of the marker: most lines are passed over by this alone. */
const NAME_LENGTHS = new Set([...Object.keys(FIELD_KEYS), MARKER_HEADER].map((name) => name.length));

/** RFC 9110 token characters by code. */
const TOKEN = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
  TOKEN[char.charCodeAt(0)] = 1;
}

const COLON = 0x3a;
const CR = 0x0d;

/** Whether a line, without its end, is the start line of an HTTP/1.0 or 1.1 request. */
export function isRequestLine(line: string): boolean {
  return REQUEST_LINE.test(line);
}

/** Whether a line, without its end, is the start line of an HTTP/1.0 or 1.1 response. */
export function isStatusLine(line: string): boolean {
  return STATUS_LINE.test(line);
}

/** Reads a complete request head (latin1), or answers null where servers could read it in two ways. */
export function scanRequest(head: string): ScannedRequest | null {
  const match = REQUEST_LINE.exec(firstLine(head));
  const fields = match === null ? null : scanHeadFields(head);
  if (match === null || fields === null) return null;
  return { method: match[1] ?? '', target: match[2] ?? '', minorVersion: Number(match[3]), fields };
}

/** Reads a complete response head (latin1), or answers null. */
export function scanResponse(head: string): ScannedResponse | null {
  const match = STATUS_LINE.exec(firstLine(head));
  const fields = match === null ? null : scanHeadFields(head);
  if (match === null || fields === null) return null;
  return { status: Number(match[2]), minorVersion: Number(match[1]), fields };
}

/** A head of bare LFs is read as one of CRLFs is; RFC 9112 section 2.2 allows it, and servers accept it or refuse. */
function scanHeadFields(head: string): HeadFields | null {
  const lineFeed = head.indexOf('\n');
  return scanFields(head, lineFeed + 1, head.charCodeAt(lineFeed - 1) === CR);
}

/**
 * Reads the field lines of `text[from…)` up to its end or its blank line. Null for a line without a colon, a
 * name that is no token (white space before the colon included), a folded line (RFC 9112 section 5.2 lets a
 * server refuse or unfold it, and servers do either), too many lines, line ends of both kinds, or bytes that mislead.
 * @param crlf Whether lines end in CRLF, rather than in a bare LF.
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
    marked: false,
  };
  let at = from;
  for (let lines = 0; at < text.length; lines += 1) {
    if (lines > LIMITS.headerLines) return null;
    const lineFeed = text.indexOf('\n', at);
    if (lineFeed < 0) return null;
    // Some servers end a line at a bare LF and some take it into the value: only alike are they unambiguous.
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
