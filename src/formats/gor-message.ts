import { headerPairsOf, headerValue, parseResponseHead } from '../core/headers.ts';
import type { ImportedBody, ImportedParts, ImportedResponse } from './imported-exchange.ts';
import { InputProblem, shown } from './input-problem.ts';
import { checkedHeaders, checkStart } from './request-draft.ts';

/**
 * A request as GoReplay kept it: a head, and of the body what it had. A body that is shorter than its length says
 * is cut, not malformed.
 * @throws InputProblem when it has no head of a request
 */
export function gorRequest(message: Buffer): ImportedParts['request'] {
  const { head, rest } = splitHead(message);
  const line = head.toString('latin1', 0, head.indexOf('\r\n'));
  const [, method = '', target = ''] = /^(\S+) (\S+) HTTP\/1\.[01]$/.exec(line) ?? [];
  if (method === '') throw new InputProblem(`${shown(line)} is no request line of HTTP/1.1`);
  checkStart(method, target);
  checkedHeaders(head);
  const { body, trailers } = bodyOf(head, rest);
  return { method, target, head, body, trailers };
}

/** @throws InputProblem when it has no head of a response */
export function gorResponse(message: Buffer, method: string): ImportedResponse {
  const { head, rest } = splitHead(message);
  const { status } = parseResponseHead(head);
  if (status < 100) throw new InputProblem('no status line of HTTP/1.1');
  const bodiless = method === 'HEAD' || status === 204 || status === 304;
  if (bodiless) return { status, head, body: { bytes: 0, kept: Buffer.alloc(0), truncated: false } };
  return { status, head, body: bodyOf(head, rest).body };
}

function splitHead(message: Buffer): { head: Buffer; rest: Buffer } {
  const end = message.indexOf('\r\n\r\n');
  if (end < 0) throw new InputProblem('no blank line ends the head');
  return { head: message.subarray(0, end + 4), rest: message.subarray(end + 4) };
}

function bodyOf(head: Buffer, rest: Buffer): { body: ImportedBody; trailers: Uint8Array | null } {
  const headers = headerPairsOf(head);
  if (/(?:^|,)\s*chunked\s*$/i.test(headerValue(headers, 'transfer-encoding') ?? ''))
    return chunkedBody(rest);
  const stated = headerValue(headers, 'content-length');
  if (stated === null || !/^\d{1,15}$/.test(stated)) return plain(rest, rest.length);
  return plain(rest, Number(stated));
}

/** What goes on after its length is none of the body; what is missing was cut. */
function plain(rest: Buffer, bytes: number): { body: ImportedBody; trailers: null } {
  return {
    body: { bytes, kept: rest.subarray(0, bytes), truncated: rest.length < bytes },
    trailers: null,
  };
}

/** Joins chunks as far as they go. GoReplay may have joined them already and left the header. */
function chunkedBody(coded: Buffer): { body: ImportedBody; trailers: Uint8Array | null } {
  const chunks: Buffer[] = [];
  let at = 0;
  let whole = false;
  while (at < coded.length) {
    const lineEnd = coded.indexOf('\r\n', at);
    const [, size] =
      /^([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?$/.exec(coded.toString('latin1', at, Math.max(lineEnd, at))) ?? [];
    if (lineEnd < 0 || size === undefined) break;
    const bytes = Number.parseInt(size, 16);
    whole = bytes === 0;
    at = lineEnd + 2;
    if (whole) break;
    chunks.push(coded.subarray(at, at + bytes));
    at += bytes + 2;
  }
  const joinedAlready = chunks.length === 0 && !whole && coded.length > 0;
  const kept = joinedAlready ? coded : Buffer.concat(chunks);
  const end = coded.indexOf('\r\n\r\n', Math.max(0, at - 2));
  const trailers = whole && end > at ? coded.subarray(at, end + 2) : null;
  return { body: { bytes: kept.length, kept, truncated: !whole && !joinedAlready }, trailers };
}
