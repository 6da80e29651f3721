import type { Place } from '../../core/exchange.ts';
import { decodePercent, ownText } from '../../core/text.ts';
import { LEAST_CHARS } from './values.ts';

/** Headers that no server issues an id in: those of HTTP, of proxies and of tracing, and credentials. */
const NO_IDS = new Set(
  `accept accept-encoding accept-language accept-ranges age allow alt-svc authorization baggage cache-control connection
  content-encoding content-length content-security-policy content-type date etag expires forwarded grpc-encoding
  grpc-status grpc-timeout host idempotency-key if-match if-modified-since if-none-match keep-alive last-modified origin
  pragma proxy-authorization referer server server-timing strict-transport-security te trailer traceparent tracestate
  transfer-encoding upgrade user-agent vary via x-api-key x-b3-spanid x-b3-traceid x-forwarded-for x-forwarded-host
  x-forwarded-proto x-real-ip`.split(/\s+/),
);

/** Those of them with ids that clients and proxies make. */
const OF_CLIENTS = new Set(
  `baggage idempotency-key traceparent tracestate x-b3-spanid x-b3-traceid x-forwarded-for x-real-ip`.split(
    ' ',
  ),
);

/** Names as received, with their lower case; null for those without ids. A full table is cleared. */
const names = new Map<string, string | null>();
const MOST_NAMES = 1_024;
const MOST_NAME_CHARS = 64;

function nameOf(received: string): string | null {
  const known = names.get(received);
  if (known !== undefined) return known;
  const lower = received.toLowerCase();
  const name = NO_IDS.has(lower) ? null : lower;
  if (names.size >= MOST_NAMES) names.clear();
  if (received.length <= MOST_NAME_CHARS) names.set(ownText(received), name);
  return name;
}

/** Takes a part of a head that may be a value. The place is made only if it is needed. */
type OnHeadValue = (place: () => Place, text: string, from: number, end: number) => void;

/**
 * Reads the target, the headers and the cookies of a request's head, in latin1.
 *
 * @param onOwn takes text of headers in which no server issues an id: what it has is the client's
 */
export function readRequestHead(
  head: string,
  onValue: OnHeadValue,
  onOwn: (text: string, from: number, end: number) => void,
): void {
  const lineEnd = endOfLine(head, 0);
  const start = head.indexOf(' ') + 1;
  const space = head.indexOf(' ', start);
  readTarget(head.slice(start, space < 0 || space > lineEnd ? lineEnd : space), onValue);
  const onHeader = (name: string, from: number, end: number): void => {
    if (name === 'cookie') readCookies(head, from, end, onValue);
    else onValue(() => ({ in: 'header', name }), head, from, end);
  };
  eachHeader(head, lineEnd, onHeader, (from, end) => onOwn(head, from, end));
}

/** Reads the headers, the cookies and the location of an answer's head, in latin1. */
export function readAnswerHead(head: string, onValue: OnHeadValue): void {
  eachHeader(head, endOfLine(head, 0), (name, from, end) => {
    if (name === 'set-cookie') {
      const pair = head.indexOf(';', from);
      readCookies(head, from, pair < 0 || pair > end ? end : pair, onValue);
    } else if (name === 'location') readTarget(head.slice(from, end), onValue, false);
    else onValue(() => ({ in: 'header', name }), head, from, end);
  });
}

function eachHeader(
  head: string,
  lineEnd: number,
  onHeader: (name: string, from: number, end: number) => void,
  onOwn: ((from: number, end: number) => void) | null = null,
) {
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
    const received = head.slice(at, colon);
    const name = nameOf(received);
    if (name !== null) onHeader(name, from, end);
    else if (OF_CLIENTS.has(received.toLowerCase())) onOwn?.(from, end);
  }
}

function endOfLine(head: string, from: number): number {
  const end = head.indexOf('\n', from);
  if (end < 0) return head.length;
  return head.charCodeAt(end - 1) === 0x0d ? end - 1 : end;
}

/** @param withQuery whether its query is read too */
function readTarget(target: string, onValue: OnHeadValue, withQuery = true): void {
  const host = target.startsWith('/') ? -1 : target.indexOf('://');
  const path = host < 0 ? 0 : Math.max(0, target.indexOf('/', host + 3));
  const query = target.indexOf('?', path);
  const pathEnd = query < 0 ? target.length : query;
  let segment = 0;
  for (let at = path + 1; at <= pathEnd; segment += 1) {
    const slash = target.indexOf('/', at);
    const end = slash < 0 || slash > pathEnd ? pathEnd : slash;
    const number = segment;
    if (end - at >= LEAST_CHARS) {
      const text = decodePercent(target.slice(at, end));
      onValue(() => ({ in: 'path', segment: number }), text, 0, text.length);
    }
    at = end + 1;
  }
  if (query < 0 || !withQuery) return;
  for (const pair of target.slice(query + 1).split('&')) {
    const equals = pair.indexOf('=');
    if (equals < 0) continue;
    const text = decodePercent(pair.slice(equals + 1));
    onValue(() => ({ in: 'query', name: decodePercent(pair.slice(0, equals)) }), text, 0, text.length);
  }
}

function readCookies(head: string, from: number, end: number, onValue: OnHeadValue): void {
  let equals = head.indexOf('=', from);
  for (let at = from; at < end; ) {
    const semicolon = head.indexOf(';', at);
    const stop = semicolon < 0 || semicolon > end ? end : semicolon;
    // Each character is searched once, however many pairs have no value.
    if (equals >= 0 && equals < at) equals = head.indexOf('=', at);
    if (equals > 0 && equals < stop) {
      const name = head.slice(at, equals).trim();
      onValue(() => ({ in: 'cookie', name }), head, equals + 1, stop);
    }
    at = stop + 1;
  }
}
