import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliDecompressSync, constants, gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import type { Message } from '../../src/core/exchange.ts';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { variantsOf } from './planted-secrets.ts';

/** Bytes to search, and their name in reports. */
export interface Haystack {
  readonly name: string;
  readonly bytes: Uint8Array;
}

const ZSTD_MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
const FRAME_BYTES = 256 * 1024;
const DECODERS: Readonly<Record<string, (bytes: Uint8Array) => Uint8Array>> = {
  gzip: gunzipSync,
  deflate: inflateSync,
  br: brotliDecompressSync,
  zstd: zstdDecompressSync,
};

/** The places of all secrets, in all forms that they could have. One line for each. */
export function findSecrets(secrets: readonly string[], haystacks: readonly Haystack[]): string[] {
  const all = Buffer.concat(haystacks.map(({ bytes }) => bytes));
  // One search over all bytes first; only secrets that are found are then searched in each haystack.
  return secrets.flatMap((secret) => {
    const variants = variantsOf(secret).filter((variant) => all.includes(variant));
    return variants.flatMap((variant) =>
      haystacks
        .filter(({ bytes }) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes(variant))
        .map(({ name }) => `${secret} as ${variant.toString('latin1')} in ${name}`),
    );
  });
}

/**
 * Every file below a directory, and all compressed data in it that can be decompressed, even in old pages and the log.
 */
export function filesBelow(directory: string): Haystack[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .flatMap((entry) => {
      const path = join(entry.parentPath, entry.name);
      const bytes = readFileSync(path);
      return [{ name: path, bytes }, ...framesIn(path, bytes)];
    });
}

/** Everything that a reader returns for the exchanges of a capture, also with bodies without content coding. */
export function payloadsOf(directory: string): Haystack[] {
  const capture = openCapture(directory);
  try {
    return [...capture.rows()].flatMap((row) => {
      const { request = null, response = null } = capture.payload(row) ?? {};
      const name = `${row.segment}:${row.id}`;
      const facts = { name: `${name} row`, bytes: Buffer.from(JSON.stringify(row)) };
      return [facts, ...partsOf(`${name} request`, request), ...partsOf(`${name} response`, response)];
    });
  } finally {
    capture.close();
  }
}

/** A body without its content coding. */
export function unpackedBody(kept: Uint8Array, contentEncoding: string | null): Buffer {
  const decode = DECODERS[contentEncoding ?? ''];
  if (contentEncoding === null) return Buffer.from(kept);
  return Buffer.from(kept.length > 0 && decode !== undefined ? decode(kept) : []);
}

function partsOf(name: string, message: Message | null): Haystack[] {
  if (message === null) return [];
  const { head, trailers, body, redacted } = message;
  const coding = /^content-encoding: *(\S+)/im.exec(Buffer.from(head).toString('latin1'))?.[1] ?? null;
  const kept = body.kept ?? new Uint8Array(0);
  return [
    { name: `${name} head`, bytes: Buffer.from(head) },
    { name: `${name} trailers`, bytes: Buffer.from(trailers ?? []) },
    { name: `${name} body`, bytes: Buffer.from(kept) },
    { name: `${name} body unpacked`, bytes: unpackedBody(kept, coding) },
    { name: `${name} names`, bytes: Buffer.from(redacted.join(' ')) },
  ];
}

function framesIn(path: string, bytes: Buffer): Haystack[] {
  const found: Haystack[] = [];
  for (let at = bytes.indexOf(ZSTD_MAGIC); at >= 0; at = bytes.indexOf(ZSTD_MAGIC, at + 1)) {
    const frame = unpacked(bytes.subarray(at, at + FRAME_BYTES));
    if (frame !== null) found.push({ name: `${path} frame at ${at}`, bytes: frame });
  }
  return found;
}

/** The readable part of a frame that may be incomplete, or continue on another page. */
function unpacked(bytes: Buffer): Buffer | null {
  for (let end = bytes.length; end >= 64; end = Math.floor(end / 2)) {
    try {
      return zstdDecompressSync(bytes.subarray(0, end), { finishFlush: constants.ZSTD_e_flush });
    } catch {
      // The frame is damaged. A shorter part may still give its beginning.
    }
  }
  return null;
}
