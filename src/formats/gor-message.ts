import { headerPairsOf, headerValue, parseResponseHead } from '../core/headers.ts';
import { LIMITS } from '../core/limits.ts';
import { isInterim } from './gor-framing.ts';
import { beginsRecord } from './gor-records.ts';
import type { ImportedBody, ImportedParts, ImportedResponse } from './imported-exchange.ts';
import { InputProblem, shown } from './input-problem.ts';
import { checkedHeaders, checkStart } from './request-draft.ts';
import type { TextCounts } from './text-counts.ts';

/** Of a message whose end another record follows with no separator between. */
export class RecordWithin extends InputProblem {
  constructor() {
    super('another record begins within it', {
      hint: 'A line with the separator of GoReplay is missing between them: put it in, or copy the file again.',
    });
  }
}

/**
 * A request as GoReplay kept it: a head, and of the body what it had. A body that is shorter than its length says
 * is cut, not malformed.
 * @throws InputProblem when it has no head of a request
 */
export function gorRequest(message: Buffer, lacking: TextCounts): ImportedParts['request'] {
  const { head, rest } = splitHead(message);
  const line = head.toString('latin1', 0, head.indexOf('\r\n'));
  const [, method = '', target = ''] = /^(\S+) (\S+) HTTP\/1\.[01]$/.exec(line) ?? [];
  if (method === '') throw new InputProblem(`${shown(line)} is no request line of HTTP/1.1`);
  checkStart(method, target);
  checkedHeaders(head);
  const { body, trailers, behind } = bodyOf(head, rest);
  checkBehind(behind, 'a request', lacking);
  return { method, target, head, body, trailers };
}

/** @throws InputProblem when it has no head of a response */
export function gorResponse(message: Buffer, method: string, lacking: TextCounts): ImportedResponse {
  const { head, rest } = splitHead(message);
  const { status } = parseResponseHead(head);
  if (status < 100) throw new InputProblem('no status line of HTTP/1.1');
  const bodiless = method === 'HEAD' || status === 204 || status === 304;
  const { body, behind } = bodiless ? plain(rest, 0) : bodyOf(head, rest);
  checkBehind(behind, 'a response', lacking);
  return { status, head, body };
}

/** A response without the interim ones before it (100 Continue); null where nothing but such is there. */
export function withoutInterim(message: Buffer): Buffer | null {
  let rest = message;
  while (isInterim(rest)) {
    const end = rest.indexOf('\r\n\r\n');
    if (end < 0 || end + 4 === rest.length) return null;
    rest = rest.subarray(end + 4);
  }
  return rest;
}

/** @throws RecordWithin where a separator is missing: what stands behind is another record */
function checkBehind(behind: Buffer, what: string, lacking: TextCounts): void {
  if (behind.length === 0) return;
  const next = behind.subarray(/^[\r\n]*/.exec(behind.toString('latin1', 0, 4))?.[0].length ?? 0);
  if (beginsRecord(next)) throw new RecordWithin();
  lacking.count(`bytes behind the end of ${what}: left out`);
}

function splitHead(message: Buffer): { head: Buffer; rest: Buffer } {
  const end = message.indexOf('\r\n\r\n');
  if (end < 0) throw new InputProblem('no blank line ends the head');
  return { head: message.subarray(0, end + 4), rest: message.subarray(end + 4) };
}

/** The body, and what stands behind its end. */
interface Framed {
  readonly body: ImportedBody;
  readonly trailers: Uint8Array | null;
  readonly behind: Buffer;
}

function bodyOf(head: Buffer, rest: Buffer): Framed {
  const headers = headerPairsOf(head);
  if (/(?:^|,)\s*chunked\s*$/i.test(headerValue(headers, 'transfer-encoding') ?? ''))
    return chunkedBody(rest);
  const stated = headerValue(headers, 'content-length');
  if (stated === null || !/^\d+$/.test(stated)) {
    // A body whose length nothing says goes to the end, unless that is another record.
    return beginsRecord(rest) ? plain(rest, 0) : plain(rest, rest.length);
  }
  return plain(rest, Math.min(Number(stated), LIMITS.importBodyBytes));
}

/** What goes on after its length is none of the body; what is missing was cut. */
function plain(rest: Buffer, bytes: number): Framed {
  return {
    body: { bytes, kept: rest.subarray(0, bytes), truncated: rest.length < bytes },
    trailers: null,
    behind: rest.subarray(bytes),
  };
}

/** Joins chunks as far as they go. GoReplay may have joined them already and left the header. */
function chunkedBody(coded: Buffer): Framed {
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
  const behind = whole && end >= 0 ? coded.subarray(end + 4) : coded.subarray(coded.length);
  return { body: { bytes: kept.length, kept, truncated: !whole && !joinedAlready }, trailers, behind };
}
