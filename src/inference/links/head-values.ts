import { byteSet, seek } from '../../core/ascii.ts';
import type { Place } from '../../core/exchange.ts';
import { decodePercent, ownText } from '../../core/text.ts';
import { LEAST_CHARS } from './values.ts';

/** Headers whose values say nothing of a session. */
const NO_VALUES = new Set(
  `accept accept-encoding accept-language accept-ranges age allow alt-svc cache-control connection content-encoding
  content-length content-security-policy date expires grpc-encoding grpc-status grpc-timeout if-modified-since keep-alive
  last-modified pragma server server-timing strict-transport-security te trailer transfer-encoding upgrade vary`.split(
    /\s+/,
  ),
);

/** Headers whose values are the client's or a proxy's: those of tracing, credentials, and what it knows of before. */
const OF_CLIENTS = new Set(
  `authorization baggage content-type etag forwarded host idempotency-key if-match if-none-match origin
  proxy-authorization referer traceparent tracestate user-agent via x-api-key x-b3-spanid x-b3-traceid x-forwarded-for
  x-forwarded-host x-forwarded-proto x-real-ip`.split(/\s+/),
);

/** Names as received, with their lower case; empty for those of clients, null for those without values. */
const names = new Map<string, string | null>();
/** A full table is cleared. */
const MOST_NAMES = 1_024;
const MOST_NAME_CHARS = 64;

function nameOf(received: string): string | null {
  const known = names.get(received);
  if (known !== undefined) return known;
  const lower = received.toLowerCase();
  const name = NO_VALUES.has(lower) ? null : OF_CLIENTS.has(lower) ? '' : lower;
  if (names.size >= MOST_NAMES) names.clear();
  if (received.length <= MOST_NAME_CHARS) names.set(ownText(received), name);
  return name;
}

/** Takes a part of a head that may be a value. The place is made only if it is needed. */
type OnHeadValue = (place: () => Place, bytes: Buffer, from: number, end: number) => void;

/** A head in latin1, and the same as bytes. They are valid until the next one is read. */
export class HeadText {
  readonly text: string;
  readonly bytes: Buffer;

  constructor(text: string) {
    this.text = text;
    this.bytes = text.length > room.length ? Buffer.from(text, 'latin1') : room;
    if (this.bytes === room) room.write(text, 0, 'latin1');
  }
}
const room = Buffer.allocUnsafeSlow(16 * 1024);

/**
 * Reads the target, the headers and the cookies of a request's head, in latin1.
 *
 * @param onOwn takes a header in which no server issues an id: what it has is the client's
 */
export function readRequestHead(
  head: HeadText,
  onValue: OnHeadValue,
  onOwn: (bytes: Buffer, from: number, end: number) => void,
): void {
  const { text, bytes } = head;
  const lineEnd = endOfLine(text, 0);
  const start = text.indexOf(' ') + 1;
  const space = text.indexOf(' ', start);
  readTarget(head, start, space < 0 || space > lineEnd ? lineEnd : space, onValue);
  const onHeader = (name: string, from: number, end: number): void => {
    if (name === '') onOwn(bytes, from, end);
    else if (name === 'cookie') readCookies(head, from, end, onValue);
    else onValue(() => ({ in: 'header', name }), bytes, from, end);
  };
  eachHeader(text, lineEnd, onHeader);
}

/** Reads the headers, the cookies and the location of an answer's head, in latin1. */
export function readAnswerHead(head: HeadText, onValue: OnHeadValue): void {
  const { text, bytes } = head;
  eachHeader(text, endOfLine(text, 0), (name, from, end) => {
    if (name === '') return;
    if (name === 'set-cookie') {
      const pair = text.indexOf(';', from);
      readCookies(head, from, pair < 0 || pair > end ? end : pair, onValue);
    } else if (name === 'location') readTarget(head, from, end, onValue, false);
    else onValue(() => ({ in: 'header', name }), bytes, from, end);
  });
}

function eachHeader(
  head: string,
  lineEnd: number,
  onHeader: (name: string, from: number, end: number) => void,
): void {
  let colon = head.indexOf(':', lineEnd);
  for (
    let at = head.indexOf('\n', lineEnd) + 1;
    at > 0 && at < head.length;
    at = head.indexOf('\n', at) + 1
  ) {
    const end = endOfLine(head, at);
    if (colon >= 0 && colon < at) colon = head.indexOf(':', at);
    if (colon < 0 || colon >= end) continue;
    let from = colon + 1;
    while (head.charCodeAt(from) === 0x20) from += 1;
    if (end - from < LEAST_CHARS) continue;
    const name = nameOf(head.slice(at, colon));
    if (name !== null) onHeader(name, from, end);
  }
}

function endOfLine(head: string, from: number): number {
  const end = head.indexOf('\n', from);
  if (end < 0) return head.length;
  return head.charCodeAt(end - 1) === 0x0d ? end - 1 : end;
}

/** @param withQuery whether its query is read too */
function readTarget(head: HeadText, from: number, end: number, onValue: OnHeadValue, withQuery = true): void {
  const { text, bytes } = head;
  const scheme = text.startsWith('/', from) ? -1 : text.indexOf('://', from);
  const path = scheme < 0 || scheme >= end ? from : seek(bytes, scheme + 3, end, SLASH);
  const query = seek(bytes, path, end, QUESTION);
  let segment = 0;
  for (let at = path + 1; at <= query; segment += 1) {
    const stop = seek(bytes, at, query, SLASH);
    const number = segment;
    if (stop - at >= LEAST_CHARS)
      readEncoded(head, at, stop, () => ({ in: 'path', segment: number }), onValue);
    at = stop + 1;
  }
  for (let at = query + 1; withQuery && at < end; ) {
    const first = at;
    const stop = seek(bytes, at, end, AMPERSAND);
    const equals = seek(bytes, at, stop, EQUALS);
    const name = (): string => decodePercent(text.slice(first, equals));
    if (equals < stop) readEncoded(head, equals + 1, stop, () => ({ in: 'query', name: name() }), onValue);
    at = stop + 1;
  }
}

const SLASH = byteSet('/');
const QUESTION = byteSet('?');
const AMPERSAND = byteSet('&');
const EQUALS = byteSet('=');
const PERCENT = byteSet('%');

function readEncoded(
  { text, bytes }: HeadText,
  from: number,
  end: number,
  place: () => Place,
  onValue: OnHeadValue,
): void {
  if (seek(bytes, from, end, PERCENT) === end) {
    onValue(place, bytes, from, end);
    return;
  }
  const decoded = Buffer.from(decodePercent(text.slice(from, end)), 'latin1');
  onValue(place, decoded, 0, decoded.length);
}

function readCookies({ text, bytes }: HeadText, from: number, end: number, onValue: OnHeadValue): void {
  let equals = text.indexOf('=', from);
  for (let at = from; at < end; ) {
    const semicolon = text.indexOf(';', at);
    const stop = semicolon < 0 || semicolon > end ? end : semicolon;
    // Each character is searched once, however many pairs have no value.
    if (equals >= 0 && equals < at) equals = text.indexOf('=', at);
    if (equals > 0 && equals < stop) {
      const name = text.slice(at, equals).trim();
      onValue(() => ({ in: 'cookie', name }), bytes, equals + 1, stop);
    }
    at = stop + 1;
  }
}
