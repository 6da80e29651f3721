import { AppError } from './errors.ts';
import { refused } from './units.ts';

/**
 * Heads in the form of HTTP/1.1 as bytes and as pairs, also those of HTTP/2. Always latin1, never normalised: order,
 * case, duplicates and inner white space stay as received.
 */

/** A header line: name and value, without white space around the value. */
export type HeaderPair = readonly [name: string, value: string];

/** Names that belong to one connection. A proxy does not forward them. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Marks replayed traffic; a recorder omits requests with this header. */
export const MARKER_HEADER = 'x-reprise-run';

export interface RequestHead {
  readonly method: string;
  /** The request target as sent, query included. */
  readonly target: string;
  readonly version: string;
  readonly headers: readonly HeaderPair[];
}

export interface ResponseHead {
  readonly version: string;
  readonly status: number;
  readonly reason: string;
  readonly headers: readonly HeaderPair[];
}

/** The start line of a raw head, without its line end. */
function startLineOf(head: Uint8Array): string {
  const text = latin1(head);
  const lineEnd = text.indexOf('\n');
  const end = lineEnd < 0 ? text.length : lineEnd;
  return text.slice(0, text[end - 1] === '\r' ? end - 1 : end);
}

/** Header pairs of a raw head (or of a trailer section when `skipStartLine` is false). */
export function headerPairsOf(head: Uint8Array, skipStartLine = true): HeaderPair[] {
  const lines = latin1(head).split('\n');
  const pairs: HeaderPair[] = [];
  for (const line of skipStartLine ? lines.slice(1) : lines) {
    const pair = headerPairOf(line);
    if (pair !== null) pairs.push(pair);
  }
  return pairs;
}

/** A header line, with or without its line end; null for an invalid line. */
function headerPairOf(line: string): HeaderPair | null {
  const colon = line.indexOf(':');
  return colon > 0 ? [line.slice(0, colon), trimOws(line.slice(colon + 1))] : null;
}

type RequestLine = Omit<RequestHead, 'headers'>;

/** Splits the raw head of a request that assembly accepted. */
export function parseRequestHead(head: Uint8Array): RequestHead {
  return { ...requestLineOf(startLineOf(head)), headers: headerPairsOf(head) };
}

/** Splits the start line of a request. */
function requestLineOf(line: string): RequestLine {
  const first = line.indexOf(' ');
  const last = line.lastIndexOf(' ');
  return { method: line.slice(0, first), target: line.slice(first + 1, last), version: line.slice(last + 1) };
}

/** Splits the raw head of a response that assembly accepted. */
export function parseResponseHead(head: Uint8Array): ResponseHead {
  const match = /^(HTTP\/\d(?:\.\d)?) (\d{3})(?: (.*))?$/.exec(startLineOf(head));
  return {
    version: match?.[1] ?? '',
    status: Number(match?.[2] ?? 0),
    reason: match?.[3] ?? '',
    headers: headerPairsOf(head),
  };
}

/** First value of a header, by lower-case name. */
export function headerValue(headers: readonly HeaderPair[], lowerName: string): string | null {
  for (const [name, value] of headers) if (name.toLowerCase() === lowerName) return value;
  return null;
}

/** The version in heads of exchanges that were recorded by HTTP/2. */
export const HTTP2_VERSION = 'HTTP/2';

/** Builds the head of a request that was never on the network, for imports. */
export function buildRequestHead(
  method: string,
  target: string,
  headers: readonly HeaderPair[],
  version = 'HTTP/1.1',
): Uint8Array {
  const lines = [`${method} ${target} ${version}`, ...headers.map(([name, value]) => `${name}: ${value}`)];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}

/**
 * Removes white space around a header value. Not a pattern: one anchored at the end takes quadratic time for
 * a run of spaces, and values are untrusted.
 */
export function trimOws(value: string): string {
  let from = 0;
  let to = value.length;
  while (from < to && isOws(value.charCodeAt(from))) from += 1;
  while (to > from && isOws(value.charCodeAt(to - 1))) to -= 1;
  return value.slice(from, to);
}

/** Space and tab, and the CR that remains when a line is split at LF. */
function isOws(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0d;
}

/** Bytes as text, one character per byte. */
export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

/** A header name or a method. */
export const TOKEN = /^[!#$%&'*+\-.^_`|~A-Za-z0-9]+$/;

/** Sources of secret values, so that a command line need not contain them. */
export interface Secrets {
  /** Value of an environment variable; undefined if it is not set. */
  environment(name: string): string | undefined;
  /** Content of a file. Throws when it cannot be read. */
  readFile(path: string): string;
}

/** Names that this tool or the HTTP client writes itself. */
export const WRITTEN_BY_US: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  'host',
  'content-length',
  'expect',
  MARKER_HEADER,
]);

/**
 * Reads `Name: value`, where the value may be `env:VARIABLE` or `file:PATH`.
 * @throws AppError OPTION_INVALID; the message never repeats a value.
 */
export function parseAddedHeader(text: string, secrets: Secrets, what = '--header'): HeaderPair {
  const colon = text.indexOf(':');
  const name = text.slice(0, Math.max(0, colon)).trim();
  if (colon < 0 || !TOKEN.test(name)) {
    throw new AppError('OPTION_INVALID', `${what}: expected "Name: value" with a valid header name`, {
      hint: 'A value can come from a variable or a file: "Authorization: env:STAGING_TOKEN" or "Authorization: file:/run/token".',
    });
  }
  if (WRITTEN_BY_US.has(name.toLowerCase())) throw refused(what, name, 'is set by reprise itself');
  const value = resolvedValue(name, text.slice(colon + 1).trim(), secrets, what);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what a header must not hold
  if (/[\u0000-\u0008\u000a-\u001f\u007f]|[^\u0000-\u00ff]/.test(value)) {
    throw new AppError(
      'OPTION_INVALID',
      `${what}: the value of ${name} contains characters that are not allowed in a header`,
    );
  }
  return [name, value];
}

/** Splits `RECEIVER Name: value`. The receiver is null if none of these is named: then it is for the requests. */
export function addressedHeader(
  header: string,
  receivers: readonly string[],
): { readonly to: string | null; readonly text: string } {
  const [, to = '', text = ''] = /^\s*([a-z-]+(?:=\S+)?)\s+(\S.*)$/s.exec(header) ?? [];
  return receivers.includes(to.replace(/=.*/s, '')) ? { to, text } : { to: null, text: header };
}

function resolvedValue(name: string, text: string, secrets: Secrets, what: string): string {
  if (text.startsWith('env:')) {
    const value = secrets.environment(text.slice(4));
    if (value === undefined) {
      throw new AppError('OPTION_INVALID', `${what}: ${name} needs ${text}, which is not set`);
    }
    return value.trim();
  }
  if (text.startsWith('file:')) {
    try {
      return secrets.readFile(text.slice(5)).trim();
    } catch (cause) {
      throw new AppError('OPTION_INVALID', `${what}: ${name} needs ${text}, which cannot be read`, {
        cause,
      });
    }
  }
  return text;
}

/** Version, trace id, parent id and flags. All-zero ids are invalid, and so are more fields in version 00. */
const TRACEPARENT =
  /^(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)/;

/**
 * The trace id of a `traceparent`, 16 bytes. Null if it is absent, invalid, or masked or hashed in the stored head.
 * @param value as received
 * @param storedHead the head after redaction
 * @see https://www.w3.org/TR/trace-context/#traceparent-header
 */
export function traceIdOf(value: string | null, storedHead: Uint8Array): Buffer | null {
  const traceId = TRACEPARENT.exec(value ?? '')?.[1];
  if (value === null || traceId === undefined || !latin1(storedHead).includes(value)) return null;
  return Buffer.from(traceId, 'hex');
}
