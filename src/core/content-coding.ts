import {
  brotliCompressSync,
  brotliDecompressSync,
  constants,
  deflateRawSync,
  deflateSync,
  gunzipSync,
  gzipSync,
  inflateRawSync,
  inflateSync,
  zstdCompressSync,
  zstdDecompressSync,
} from 'node:zlib';
import { UnreadableBody } from './errors.ts';
import { asBuffer } from './json-cursor.ts';
import { LIMITS } from './limits.ts';

/** One content coding with its inverse. */
interface Coding {
  /** @throws when the data is not completely in this coding */
  decode(bytes: Uint8Array, maxOutputLength: number): Buffer;
  encode(bytes: Uint8Array): Buffer;
}

/** One of Node's decoders. It stops at the end of its data and silently ignores what follows. */
type Decoder = (
  bytes: Uint8Array,
  options: { readonly info: true; readonly maxOutputLength: number },
) => unknown;

/** The result of Node's decoders with `info`, missing in their types. `bytesWritten` is the input read. */
interface Decoded {
  readonly buffer: Buffer;
  readonly engine: { readonly bytesWritten: number };
}

/** Servers with zstd need not accept a larger window, and we do not allocate one. */
const ZSTD_WINDOW_LOG = 23;
/** Brotli's default quality is for files compressed once: it takes a second per megabyte. */
const BROTLI_QUALITY = 4;

/** A coding with one stream, or with several members that Node's decoder reads completely. */
function codingOf(decoder: Decoder, encode: Coding['encode']): Coding {
  return { decode: (bytes, maxOutputLength) => wholeOf(decoder, bytes, maxOutputLength), encode };
}

const GZIP = codingOf(gunzipSync, (bytes) => gzipSync(bytes));
const DEFLATE = codingOf(inflateSync, (bytes) => deflateSync(bytes));
/** Some clients send this as deflate. It has no zlib header. */
const RAW_DEFLATE = codingOf(inflateRawSync, (bytes) => deflateRawSync(bytes));
const BROTLI = codingOf(brotliDecompressSync, (bytes) =>
  brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  }),
);
const ZSTD: Coding = { decode: framesOf, encode: (bytes) => zstdCompressSync(bytes) };

const CODINGS: ReadonlyMap<string, Coding> = new Map([
  ['gzip', GZIP],
  ['x-gzip', GZIP],
  ['deflate', DEFLATE],
  ['br', BROTLI],
  ['zstd', ZSTD],
]);

/** A body without its content codings, and the inverse. */
interface DecodedBody {
  /** A new buffer, unless there was no coding: then the given bytes. */
  readonly bytes: Uint8Array;
  /** Whether a coding was removed. */
  readonly coded: boolean;
  /** Applies the same codings to another body. The result may differ from the client's compressor. */
  encode(bytes: Uint8Array): Uint8Array;
}

/**
 * Removes the codings of a `Content-Encoding` from a body, last one first.
 * @param mostBytes the most that it may decode to
 * @throws UnreadableBody for an unknown coding, invalid data, or a decoded size over the limit
 */
export function decodeContent(
  bytes: Uint8Array,
  contentEncoding: string | null,
  mostBytes: number = LIMITS.maskedBodyBytes,
): DecodedBody {
  const names = codingNames(contentEncoding);
  if (names.length > LIMITS.contentCodings) throw new UnreadableBody('unknown_coding');
  const used: Coding[] = [];
  let decoded = bytes;
  for (const name of names.toReversed()) {
    const named = CODINGS.get(name);
    if (named === undefined) throw new UnreadableBody('unknown_coding');
    const coding = named === DEFLATE && !hasZlibHeader(decoded) ? RAW_DEFLATE : named;
    decoded = unfold(coding, decoded, mostBytes);
    used.unshift(coding);
  }
  return {
    bytes: decoded,
    coded: used.length > 0,
    encode: (plain) => used.reduce((coded, coding) => coding.encode(coded), plain),
  };
}

/** The same, but null for a body that cannot be read. */
export function decodedOrNull(
  bytes: Uint8Array,
  contentEncoding: string | null,
  mostBytes?: number,
): Buffer | null {
  try {
    return asBuffer(decodeContent(bytes, contentEncoding, mostBytes).bytes);
  } catch (error) {
    if (error instanceof UnreadableBody) return null;
    throw error;
  }
}

function codingNames(contentEncoding: string | null): string[] {
  return (contentEncoding ?? '')
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '' && name !== 'identity');
}

function unfold(coding: Coding, bytes: Uint8Array, mostBytes: number): Buffer {
  const share = Math.max(LIMITS.decodedBodyFloorBytes, bytes.length * LIMITS.decodedBodyRatio);
  try {
    return coding.decode(bytes, Math.min(share, mostBytes));
  } catch (error) {
    if (error instanceof UnreadableBody) throw error;
    const code = error instanceof Error && 'code' in error ? error.code : null;
    throw new UnreadableBody(code === 'ERR_BUFFER_TOO_LARGE' ? 'too_large' : 'bad_coding');
  }
}

/** Node's gzip decoder reads all members. The other codings have one stream each. */
function wholeOf(decoder: Decoder, bytes: Uint8Array, maxOutputLength: number): Buffer {
  const { buffer, engine } = decoder(bytes, { info: true, maxOutputLength }) as Decoded;
  // How a server treats the remaining bytes is unknown.
  if (engine.bytesWritten < bytes.length) throw new UnreadableBody('bad_coding');
  return buffer;
}

/** zstd data has any number of frames (RFC 8878, section 3). Node's decoder reads only the first. */
function framesOf(bytes: Uint8Array, maxOutputLength: number): Buffer {
  const contents: Buffer[] = [];
  let room = maxOutputLength;
  let at = 0;
  do {
    // An empty frame has nine bytes but also needs its own decoder.
    if (contents.length === LIMITS.zstdFrames || room === 0) throw new UnreadableBody('too_large');
    const { buffer, engine } = zstdDecompressSync(bytes.subarray(at), {
      info: true,
      maxOutputLength: room,
      params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG },
    }) as unknown as Decoded;
    contents.push(buffer);
    room -= buffer.length;
    at += engine.bytesWritten;
  } while (at < bytes.length);
  return Buffer.concat(contents);
}

/** RFC 1950: method 8, and the two bytes as a number are a multiple of 31. */
function hasZlibHeader(bytes: Uint8Array): boolean {
  const [method = 0, flags = 0] = bytes;
  return (method & 0x0f) === 8 && (method * 256 + flags) % 31 === 0;
}
