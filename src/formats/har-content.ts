import { brotliDecompressSync, gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import { type HeaderPair, headerValue } from '../core/headers.ts';
import { LIMITS } from '../core/limits.ts';

/** A body as a HAR has it: text, or base64 where it is none. */
export interface HarText {
  readonly text: string;
  readonly encoding: 'base64' | null;
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const UNPACK = {
  gzip: gunzipSync,
  'x-gzip': gunzipSync,
  deflate: inflateSync,
  br: brotliDecompressSync,
  zstd: zstdDecompressSync,
} as const;

export function harText(body: Uint8Array): HarText {
  try {
    return { text: UTF8.decode(body), encoding: null };
  } catch {
    return { text: Buffer.from(body).toString('base64'), encoding: 'base64' };
  }
}

/** A body without its content coding, as a HAR wants responses; null where it cannot be had, or is too large. */
export function unpackedBody(headers: readonly HeaderPair[], body: Uint8Array): Uint8Array | null {
  const coding = headerValue(headers, 'content-encoding')?.trim().toLowerCase() ?? '';
  if (coding === '' || coding === 'identity') return body;
  const unpack = Object.hasOwn(UNPACK, coding) ? UNPACK[coding as keyof typeof UNPACK] : null;
  if (unpack === null) return null;
  try {
    return unpack(body, { maxOutputLength: LIMITS.decodedBodyBytes });
  } catch {
    // Cut short, damaged or a bomb: counted by who asked.
    return null;
  }
}
