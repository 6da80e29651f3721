import { AppError } from '../core/errors.ts';
import type { PreparedRequest } from './prepared-request.ts';

/** Stands before a host that is named, which may be empty. */
export const NAMED = '=';

const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const SPACE = 0x20;

/** A header line has as much besides its name and value: a colon, a space and a line end. */
const LINE_BYTES = 4;
/** For so short a text a call of what copies texts takes longer than its characters do one by one. */
const SHORT_CHARS = 48;

type Head = Pick<PreparedRequest, 'index' | 'method' | 'path' | 'headers'>;

/** Bytes of a head as `writeHead` writes it. */
export function headBytesOf({ method, path, headers }: Head): number {
  const host = hostAt(headers);
  let bytes = method.length + path.length + 3;
  for (let at = 0; at < headers.length; at += 2) {
    const valueBytes = headers[at + 1]?.length ?? 0;
    bytes += at === host ? NAMED.length + valueBytes : (headers[at]?.length ?? 0) + valueBytes + LINE_BYTES;
  }
  return bytes;
}

/**
 * Writes method, path and host, a line each, and the header lines as they go out, so that a sender only puts them
 * together. Byte by byte into the batch, with no text made in between.
 * @returns where it ends
 */
export function writeHead(target: Buffer, from: number, { index, method, path, headers }: Head): number {
  const host = hostAt(headers);
  let at = writeText(target, from, method);
  target[at++] = LF;
  at = writeText(target, at, path);
  target[at++] = LF;
  if (host >= 0) at = writeText(target, writeText(target, at, NAMED), headers[host + 1] ?? '');
  target[at++] = LF;
  let breaks = 3;
  for (let pair = 0; pair < headers.length; pair += 2) {
    if (pair === host) continue;
    at = writeText(target, at, headers[pair] ?? '');
    target[at++] = COLON;
    target[at++] = SPACE;
    at = writeText(target, at, headers[pair + 1] ?? '');
    target[at++] = CR;
    target[at++] = LF;
    breaks += 2;
  }
  // A line break inside a part could not be sent anyway; here it would shift every part behind it.
  if (breaksIn(target, from, at) !== breaks) {
    throw new AppError('INTERNAL', `request ${index}: a line break within its head`);
  }
  return at;
}

/** Where the pair of the first host stands in a flat list; −1 where there is none. */
function hostAt(headers: readonly string[]): number {
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? '';
    if (name.length === 4 && name.toLowerCase() === 'host') return at;
  }
  return -1;
}

/** Each character as its byte, latin1. */
function writeText(target: Buffer, at: number, text: string): number {
  if (text.length > SHORT_CHARS) return at + target.write(text, at, 'latin1');
  for (let from = 0; from < text.length; from++) target[at + from] = text.charCodeAt(from);
  return at + text.length;
}

function breaksIn(bytes: Buffer, from: number, to: number): number {
  let breaks = 0;
  for (let at = from; at < to; at++) if (bytes[at] === LF || bytes[at] === CR) breaks++;
  return breaks;
}
