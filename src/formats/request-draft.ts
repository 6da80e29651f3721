import { buildRequestHead, type HeaderPair, headerPairsOf } from '../core/headers.ts';
import { InputProblem, shown } from './input-problem.ts';

/** A request that was never on a wire: whole and well framed, not yet redacted. */
export interface RequestDraft {
  readonly method: string;
  readonly target: string;
  /** Start line, header lines and the blank line, as they would be on the wire. */
  readonly head: Uint8Array;
  /** After transfer decoding. */
  readonly body: Uint8Array;
  /** Raw trailer lines with their line ends, null when there are none. */
  readonly trailers: Uint8Array | null;
}

/** Stands for the server an imported request was meant for; `.invalid` never resolves (RFC 2606). */
const HOST_OF_IMPORTS = 'imported.invalid';
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const TARGET = /^[\x21-\x7e]+$/;
/** What latin1 can hold and a header line may carry: no line ends, no NUL. */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** RFC 9110 section 8.6: these say their length even when it is 0. */
const METHODS_WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/**
 * Builds a request from its parts: `Host` first and `Content-Length` last where they are missing.
 * @throws InputProblem for parts that no well-framed HTTP/1.1 request has.
 */
export function draftRequest(
  method: string,
  target: string,
  headers: readonly HeaderPair[],
  body: Uint8Array,
): RequestDraft {
  checkStart(method, target);
  for (const [name, value] of headers) {
    if (!TOKEN.test(name)) throw new InputProblem(`${shown(name)} is no header name`);
    if (!FIELD_VALUE.test(value)) throw new InputProblem(`the value of ${name} cannot stand in a header`);
  }
  const chunked = checkFraming(headers, body.length);
  const added = missingHeaders(method, headers, body.length, chunked);
  const head = buildRequestHead(method, target, [...added.first, ...headers, ...added.last]);
  return { method, target, head, body, trailers: null };
}

/** Whether name and value can stand in a header line. */
export function isHeader(name: string, value: string): boolean {
  return TOKEN.test(name) && FIELD_VALUE.test(value);
}

/** @throws InputProblem unless method and target can stand in a request line. */
export function checkStart(method: string, target: string): void {
  if (!TOKEN.test(method)) throw new InputProblem(`${shown(method)} is no HTTP method`);
  if (!TARGET.test(target) || !target.startsWith('/')) {
    throw new InputProblem(`${shown(target)} is no request path`, {
      hint: 'A path begins with / and has white space and non-ASCII characters percent-encoded.',
    });
  }
}

/**
 * Whether the headers say that the body is chunked.
 * @throws InputProblem when they frame the body in any other way than its `bodyBytes`: such a request would
 * hang its connection, or smuggle.
 */
export function checkFraming(headers: readonly HeaderPair[], bodyBytes: number): boolean {
  const lengths = valuesOf(headers, 'content-length');
  const codings = valuesOf(headers, 'transfer-encoding');
  if (codings.length > 0 && (codings.length > 1 || codings[0]?.toLowerCase() !== 'chunked')) {
    throw new InputProblem(`Transfer-Encoding ${shown(codings.join(', '))} is not supported`, {
      hint: 'Only chunked is; leave the header out and the length is put in.',
    });
  }
  if (lengths.length > 1 || (lengths.length === 1 && codings.length > 0)) {
    throw new InputProblem('the headers give the length of the body more than once', {
      hint: 'Leave out Content-Length and Transfer-Encoding and the length is put in.',
    });
  }
  if (lengths.length === 1 && lengths[0] !== String(bodyBytes)) {
    throw new InputProblem(`Content-Length is ${shown(lengths[0] ?? '')}, the body has ${bodyBytes} bytes`, {
      hint: 'Leave the header out and the length is put in; a body that is not text belongs in bodyBase64.',
    });
  }
  return codings.length > 0;
}

/** The headers a request needs and lacks. */
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

/** Headers of a raw head whose every line was seen to be one. */
export function checkedHeaders(head: Uint8Array): HeaderPair[] {
  const pairs = headerPairsOf(head);
  for (const [name] of pairs) {
    if (!TOKEN.test(name)) throw new InputProblem(`${shown(name)} is no header name`);
  }
  return pairs;
}

function valuesOf(headers: readonly HeaderPair[], lowerName: string): string[] {
  return headers.filter(([name]) => name.toLowerCase() === lowerName).map(([, value]) => value);
}
