import { buildRequestHead, type HeaderPair, headerPairsOf } from '../core/headers.ts';
import { LIMITS } from '../core/limits.ts';
import { AssemblyBudget } from '../http1/budget.ts';
import { ChunkedReader } from '../http1/chunked.ts';
import { InputProblem, shown } from './input.ts';

/** A request that was built, not recorded: complete and well framed, not redacted yet. */
export interface RequestDraft {
  readonly method: string;
  readonly target: string;
  /** Start line, header lines and the blank line, as they would be sent. */
  readonly head: Uint8Array;
  /** After transfer decoding. */
  readonly body: Uint8Array;
  /** Raw trailer lines with their line ends; null if there are none. */
  readonly trailers: Uint8Array | null;
}

/** Placeholder for the unknown server of an imported request; `.invalid` never resolves (RFC 2606). */
const HOST_OF_IMPORTS = 'imported.invalid';
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const TARGET = /^[\x21-\x7e]+$/;
/** Characters allowed in a header value: latin1 without line ends and NUL. */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** RFC 9110 section 8.6: these state their length even if it is 0. */
const METHODS_WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/**
 * Builds a request from its parts. A missing `Host` is put first and a missing `Content-Length` last.
 * @throws InputProblem for parts that are invalid in a well-framed HTTP/1.1 request
 */
export function draftRequest(
  method: string,
  target: string,
  headers: readonly HeaderPair[],
  body: Uint8Array,
): RequestDraft {
  checkStart(method, target);
  for (const [name, value] of headers) {
    if (!TOKEN.test(name)) throw new InputProblem(`${shown(name)} is not a header name`);
    if (!FIELD_VALUE.test(value)) throw new InputProblem(`the value of ${name} is not allowed in a header`);
  }
  const chunked = checkFraming(headers, body.length);
  const added = missingHeaders(method, headers, body.length, chunked);
  const head = buildRequestHead(method, target, [...added.first, ...headers, ...added.last]);
  return { method, target, head, body, trailers: null };
}

/** Whether name and value are valid in a header line. */
export function isHeader(name: string, value: string): boolean {
  return TOKEN.test(name) && FIELD_VALUE.test(value);
}

/** @throws InputProblem unless method and target are valid in a request line */
export function checkStart(method: string, target: string): void {
  if (!TOKEN.test(method)) throw new InputProblem(`${shown(method)} is no HTTP method`);
  if (!TARGET.test(target) || !target.startsWith('/')) {
    throw new InputProblem(`${shown(target)} is no request path`, {
      hint: 'A path begins with / and has white space and non-ASCII characters percent-encoded.',
    });
  }
}

/**
 * Whether the headers declare a chunked body.
 * @throws InputProblem when they contradict `bodyBytes`: such a request would hang its connection, or allow
 * request smuggling
 */
function checkFraming(headers: readonly HeaderPair[], bodyBytes: number): boolean {
  const lengths = valuesOf(headers, 'content-length');
  const codings = valuesOf(headers, 'transfer-encoding');
  if (codings.length > 0 && (codings.length > 1 || codings[0]?.toLowerCase() !== 'chunked')) {
    throw new InputProblem(`Transfer-Encoding ${shown(codings.join(', '))} is not supported`, {
      hint: 'Only chunked is. Omit the header; Reprise adds the length.',
    });
  }
  if (lengths.length > 1 || (lengths.length === 1 && codings.length > 0)) {
    throw new InputProblem('the headers give the length of the body more than once', {
      hint: 'Omit Content-Length and Transfer-Encoding; Reprise adds the length.',
    });
  }
  if (lengths.length === 1 && lengths[0] !== String(bodyBytes)) {
    throw new InputProblem(`Content-Length is ${shown(lengths[0] ?? '')}, the body has ${bodyBytes} bytes`, {
      hint: 'Omit the header; Reprise adds the length. Put binary bodies in bodyBase64.',
    });
  }
  return codings.length > 0;
}

export function missingHeaders(
  method: string,
  headers: readonly HeaderPair[],
  bodyBytes: number,
  chunked: boolean,
): { readonly first: readonly HeaderPair[]; readonly last: readonly HeaderPair[] } {
  const hasHost = valuesOf(headers, 'host').length > 0;
  const hasLength = chunked || valuesOf(headers, 'content-length').length > 0;
  const needsLength = !hasLength && (bodyBytes > 0 || METHODS_WITH_BODY.has(method));
  return {
    first: hasHost ? [] : [['Host', HOST_OF_IMPORTS]],
    last: needsLength ? [['Content-Length', String(bodyBytes)]] : [],
  };
}

/** Headers of a raw head after checking that every line is one. */
export function checkedHeaders(head: Uint8Array): HeaderPair[] {
  const pairs = headerPairsOf(head);
  for (const [name] of pairs) {
    if (!TOKEN.test(name)) throw new InputProblem(`${shown(name)} is not a header name`);
  }
  return pairs;
}

function valuesOf(headers: readonly HeaderPair[], lowerName: string): string[] {
  return headers.filter(([name]) => name.toLowerCase() === lowerName).map(([, value]) => value);
}

/**
 * Parses a raw HTTP/1.1 request message: head, blank line, body. A complete head is kept byte for byte. LF
 * line ends become CRLF, and a missing Host or length is added.
 * @throws InputProblem when it is no complete, well-framed request
 */
export function parseRawRequest(message: Buffer): RequestDraft {
  const { head, rest } = splitMessage(message);
  const lines = head.toString('latin1').slice(0, -4).split('\r\n');
  const start = /^(\S+) (\S+) HTTP\/1\.1$/.exec(lines[0] ?? '');
  if (!start) {
    throw new InputProblem(`${shown(lines[0] ?? '')} is no HTTP/1.1 request line`, { line: 1 });
  }
  const method = start[1] ?? '';
  const target = start[2] ?? '';
  checkStart(method, target);
  const headers = checkedHeaders(head);
  if (headers.length !== lines.length - 1) {
    const line = lines.findIndex((text, index) => index > 0 && text.indexOf(':') <= 0) + 1;
    throw new InputProblem('not a header line', { line: Math.max(line, 2) });
  }
  const chunked = headers.some(([name]) => name.toLowerCase() === 'transfer-encoding');
  const { body, trailers } = chunked ? decodeChunked(rest) : { body: rest, trailers: null };
  checkFraming(headers, body.length);
  const { first, last } = missingHeaders(method, headers, body.length, chunked);
  const isComplete = first.length + last.length === 0;
  const whole = isComplete ? head : buildRequestHead(method, target, [...first, ...headers, ...last]);
  return { method, target, head: whole, body, trailers };
}

/** Splits off the head, with CRLF line ends and its blank line. */
function splitMessage(message: Buffer): { head: Buffer; rest: Buffer } {
  const crlf = message.indexOf('\r\n\r\n');
  const lf = message.indexOf('\n\n');
  if (crlf >= 0 && (lf < 0 || crlf < lf)) {
    return { head: message.subarray(0, crlf + 4), rest: message.subarray(crlf + 4) };
  }
  if (lf < 0) throw new InputProblem('no blank line ends the head', { hint: 'Put one after the headers.' });
  const text = message.toString('latin1', 0, lf + 2).replace(/\r?\n/g, '\r\n');
  return { head: Buffer.from(text, 'latin1'), rest: message.subarray(lf + 2) };
}

/** Decodes chunked coding (RFC 9112 section 7.1). Extensions are ignored; trailers stay raw. */
function decodeChunked(coded: Buffer): { body: Buffer; trailers: Buffer | null } {
  const chunks: Buffer[] = [];
  const reader = new ChunkedReader(new AssemblyBudget(LIMITS.trailerBytes));
  const end = reader.read(coded, 0, { write: (bytes) => chunks.push(bytes) });
  if (end < 0) throw new InputProblem('the body is not in chunked coding');
  if (!reader.done) throw new InputProblem('the body ends before its last chunk');
  if (end < coded.length) throw new InputProblem('there are bytes after the last chunk');
  return { body: Buffer.concat(chunks), trailers: reader.trailers() };
}
