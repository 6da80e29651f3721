import type { Socket } from 'node:net';
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

/**
 * Puts all of a request into memory that is there, if it fits and its body is a small one.
 * @returns its bytes; 0 where it was not put
 */
export function layRequest(into: Buffer, request: OutgoingRequest, authority: string): number {
  const { body } = request;
  if (body !== null && body.length >= LARGE_BODY_BYTES) return 0;
  const frame = requestFrame(request, authority);
  const bytes = frame.head.length + (body?.length ?? 0) + frame.tail.length;
  if (bytes > into.length) return 0;
  lay(into, frame, body);
  return bytes;
}

function lay(into: Buffer, { head, tail }: RequestFrame, body: Buffer | null): void {
  into.write(head, 0, 'latin1');
  // Copies as well, and unlike `copy` does not go word by word where the memory is shared. It takes no empty one.
  if (body !== null && body.length > 0) into.fill(body, head.length, head.length + body.length);
  if (tail !== '') into.write(tail, head.length + (body?.length ?? 0), 'latin1');
}

/** All of a body in one chunk; an empty one would be the last. */
function chunkedFrame(head: string, bodyBytes: number): RequestFrame {
  if (bodyBytes === 0) return { head: head + LAST_CHUNK, tail: '' };
  return { head: `${head}${bodyBytes.toString(16)}\r\n`, tail: `\r\n${LAST_CHUNK}` };
}

/** Longest request that is written in one piece: what a small body and any usual head take. */
const WHOLE_BYTES = 2 * LARGE_BODY_BYTES;

/**
 * Writes requests with a small body or none in one piece each: one write is one packet and one wake of the target.
 * What the kernel takes at once, which is nearly always, lay in one buffer that is used again.
 */
export class RequestWriter {
  #scratch: Buffer = Buffer.allocUnsafeSlow(WHOLE_BYTES);

  write(socket: Socket, request: OutgoingRequest, authority: string): void {
    const frame = requestFrame(request, authority);
    const bytes = frame.head.length + (request.body?.length ?? 0) + frame.tail.length;
    const whole = this.#memoryFor(socket, bytes);
    lay(whole, frame, request.body);
    socket.write(whole.subarray(0, bytes));
    // What is still to be written lies in it.
    if (whole === this.#scratch && socket.writableLength > 0)
      this.#scratch = Buffer.allocUnsafeSlow(WHOLE_BYTES);
  }

  /** A socket that encrypts has everything still to write when it is asked, so that no memory comes back from it. */
  #memoryFor(socket: Socket, bytes: number): Buffer {
    if ('encrypted' in socket) return Buffer.allocUnsafe(bytes);
    return bytes > WHOLE_BYTES ? Buffer.allocUnsafeSlow(bytes) : this.#scratch;
  }
}
