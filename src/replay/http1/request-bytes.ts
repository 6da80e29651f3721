import type { OutgoingRequest } from '../send-batch.ts';

/** A body of at least this size is written apart from its head, and let go of when it is written. */
export const LARGE_BODY_BYTES = 64 * 1024;

/** Methods whose requests have content; without any they say so (RFC 9110 section 8.6). */
const WITH_CONTENT: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'QUERY', 'PROPFIND', 'PROPPATCH']);

const LAST_CHUNK = '0\r\n\r\n';

/** Everything that stands before the body, and behind it. Both are latin1. */
export interface RequestFrame {
  readonly head: string;
  readonly tail: string;
}

/** @param authority of the target, for a request that names no host */
export function requestFrame(request: OutgoingRequest, authority: string): RequestFrame {
  const { method, path, host, fields, body, chunked } = request;
  const start = `${method} ${path} HTTP/1.1\r\nhost: ${host ?? authority}\r\nconnection: keep-alive\r\n${fields}`;
  if (chunked) return chunkedFrame(`${start}transfer-encoding: chunked\r\n\r\n`, body?.length ?? 0);
  if (body === null) {
    return { head: start + (WITH_CONTENT.has(method) ? 'content-length: 0\r\n\r\n' : '\r\n'), tail: '' };
  }
  return { head: `${start}content-length: ${body.length}\r\n\r\n`, tail: '' };
}

/** All of a body in one chunk; an empty one would be the last. */
function chunkedFrame(head: string, bodyBytes: number): RequestFrame {
  if (bodyBytes === 0) return { head: head + LAST_CHUNK, tail: '' };
  return { head: `${head}${bodyBytes.toString(16)}\r\n`, tail: `\r\n${LAST_CHUNK}` };
}

/** A request with a small body or none, in one piece: one write is one packet and one wake of the target. */
export function requestBytes(request: OutgoingRequest, authority: string): Buffer {
  const { head, tail } = requestFrame(request, authority);
  const bodyBytes = request.body?.length ?? 0;
  const bytes = Buffer.allocUnsafe(head.length + bodyBytes + tail.length);
  bytes.write(head, 0, 'latin1');
  request.body?.copy(bytes, head.length);
  if (tail !== '') bytes.write(tail, head.length + bodyBytes, 'latin1');
  return bytes;
}
