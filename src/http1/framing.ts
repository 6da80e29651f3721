import { trimOws } from '../core/headers.ts';
import type { ScannedRequest, ScannedResponse } from './heads.ts';

/**
 * How the body after a head is delimited. `until_close` occurs only for responses. `tunnel` means that the
 * connection no longer carries HTTP.
 */
export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'until_close' }
  | { readonly kind: 'tunnel' };

const NONE: Framing = { kind: 'none' };
const CHUNKED: Framing = { kind: 'chunked' };
const UNTIL_CLOSE: Framing = { kind: 'until_close' };
const TUNNEL: Framing = { kind: 'tunnel' };

/**
 * Framing of a request by RFC 9112 section 6.3. Null if implementations could disagree: a wrong guess would
 * pair every later exchange of the connection wrongly. A stream of HTTP/2 is fed with all of its DATA as chunks. The
 * DATA of its CONNECT are another protocol, such as WebSocket (RFC 8441).
 */
export function requestFraming(request: ScannedRequest): Framing | null {
  if (request.protocol === 'h2') return request.method === 'CONNECT' ? null : CHUNKED;
  const { contentLength, transferEncoding } = request.fields;
  if (transferEncoding !== null) {
    // With Content-Length, or in HTTP/1.0, this is a request smuggling pattern.
    if (contentLength !== null || request.protocol === 'http/1.0' || request.method === 'CONNECT')
      return null;
    return chunkedIsLast(transferEncoding) === true ? CHUNKED : null;
  }
  if (contentLength === null) return NONE;
  const bytes = parseContentLength(contentLength);
  // Content of CONNECT is undefined in HTTP: it may be the first bytes of the tunnel.
  if (bytes === null || (request.method === 'CONNECT' && bytes > 0)) return null;
  return { kind: 'length', bytes };
}

/** Framing of a response. It depends on the method of its request. Null as above. */
export function responseFraming(response: ScannedResponse, method: string): Framing | null {
  const { status, protocol, fields } = response;
  // An interim head has no body.
  if (protocol === 'h2') return status < 200 ? NONE : CHUNKED;
  if (status === 101) return TUNNEL;
  if (status < 200 || status === 204 || status === 304 || method === 'HEAD') return NONE;
  if (method === 'CONNECT' && status < 300) return TUNNEL;
  if (fields.transferEncoding !== null) {
    if (fields.contentLength !== null || protocol === 'http/1.0') return null;
    const last = chunkedIsLast(fields.transferEncoding);
    if (last === null) return null;
    return last ? CHUNKED : UNTIL_CLOSE;
  }
  if (fields.contentLength === null) return UNTIL_CLOSE;
  const bytes = parseContentLength(fields.contentLength);
  return bytes === null ? null : { kind: 'length', bytes };
}

/**
 * Parses all Content-Length lines joined by commas. Repeats of one number count as one (RFC 9110 section
 * 8.6). Anything else, and numbers above a double's exact range, are null.
 */
export function parseContentLength(value: string): number | null {
  const parts = value.includes(',') ? value.split(',').map(trimOws) : [value];
  const first = parts[0] ?? '';
  if (!/^\d{1,16}$/.test(first) || parts.some((part) => part !== first)) return null;
  const bytes = Number(first);
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/**
 * Whether `chunked` is the last transfer coding. Null if it is repeated, has parameters, or an element is no
 * coding: then readers differ.
 */
function chunkedIsLast(value: string): boolean | null {
  // Only space and tab: String.trim also removes vertical tabs and 0xA0, which most servers do not.
  const codings = value.split(',').map((coding) => trimOws(coding).toLowerCase());
  if (codings.some((coding) => !/^[!#$%&'*+\-.^_`|~0-9a-z]+(?:[ \t]*;.*)?$/.test(coding))) return null;
  const chunked = codings.filter((coding) => /^chunked(?![!#$%&'*+\-.^_`|~0-9a-z])/.test(coding));
  if (chunked.length === 0) return false;
  if (chunked.length > 1 || chunked[0] !== 'chunked') return null;
  return codings.at(-1) === 'chunked';
}
