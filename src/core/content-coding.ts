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
import { LIMITS } from './limits.ts';

/** One content coding, there and back. */
interface Coding {
  /** @throws when the data is not in the coding from its first byte to its last */
  decode(bytes: Uint8Array, maxOutputLength: number): Buffer;
  encode(bytes: Uint8Array): Buffer;
}

/** One of Node's decoders: it stops where its data ends, and passes over what follows without a word. */
type Decoder = (
  bytes: Uint8Array,
  options: { readonly info: true; readonly maxOutputLength: number },
) => unknown;

/** What Node's decoders return with `info`, which its types leave out; `bytesWritten` is what was read. */
interface Decoded {
  readonly buffer: Buffer;
  readonly engine: { readonly bytesWritten: number };
}

/** A server that takes zstd need not accept a larger window; nor do we hold one. */
const ZSTD_WINDOW_LOG = 23;
/** Brotli's default is made for files that are compressed once, at a second a megabyte. */
const BROTLI_QUALITY = 4;

const GZIP: Coding = {
  decode: (bytes, maxOutputLength) => wholeOf(gunzipSync, bytes, maxOutputLength),
  encode: (bytes) => gzipSync(bytes),
};
const DEFLATE: Coding = {
  decode: (bytes, maxOutputLength) => wholeOf(inflateSync, bytes, maxOutputLength),
  encode: (bytes) => deflateSync(bytes),
};
/** What some clients send under the name of deflate: no zlib header around it. */
const RAW_DEFLATE: Coding = {
  decode: (bytes, maxOutputLength) => wholeOf(inflateRawSync, bytes, maxOutputLength),
  encode: (bytes) => deflateRawSync(bytes),
};
const BROTLI: Coding = {
  decode: (bytes, maxOutputLength) => wholeOf(brotliDecompressSync, bytes, maxOutputLength),
  encode: (bytes) =>
    brotliCompressSync(bytes, {
      params: {
        [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY,
        [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
      },
    }),
};
const ZSTD: Coding = {
  decode: framesOf,
  encode: (bytes) => zstdCompressSync(bytes),
};

/** A body without its content codings, and the way back. */
interface DecodedBody {
  /** Memory of its own unless there was no coding. */
  readonly bytes: Uint8Array;
  /** Whether there was a coding. */
  readonly coded: boolean;
  /** Applies the same codings to another body; not byte for byte what the client's compressor would make. */
  encode(bytes: Uint8Array): Uint8Array;
}

/**
 * Takes the codings of a `Content-Encoding` off a body, the last first.
 * @throws UnreadableBody for a coding that is not known, data that is not in it, and what unfolds to too much
 */
export function decodeContent(bytes: Uint8Array, contentEncoding: string | null): DecodedBody {
  const names = codingNames(contentEncoding);
  if (names.length > LIMITS.contentCodings) throw new UnreadableBody('unknown_coding');
  const used: Coding[] = [];
  let decoded = bytes;
  for (const name of names.toReversed()) {
    const coding = codingOf(name, decoded);
    decoded = unfold(coding, decoded);
    used.unshift(coding);
  }
  return {
    bytes: decoded,
    coded: used.length > 0,
    encode: (plain) => used.reduce((coded, coding) => coding.encode(coded), plain),
  };
}

function codingNames(contentEncoding: string | null): string[] {
  return (contentEncoding ?? '')
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '' && name !== 'identity');
}

function codingOf(name: string, bytes: Uint8Array): Coding {
  switch (name) {
    case 'gzip':
    case 'x-gzip':
      return GZIP;
    case 'deflate':
      return hasZlibHeader(bytes) ? DEFLATE : RAW_DEFLATE;
    case 'br':
      return BROTLI;
    case 'zstd':
      return ZSTD;
    default:
      throw new UnreadableBody('unknown_coding');
  }
}

function unfold(coding: Coding, bytes: Uint8Array): Buffer {
  const share = Math.max(LIMITS.decodedBodyFloorBytes, bytes.length * LIMITS.decodedBodyRatio);
  try {
    return coding.decode(bytes, Math.min(share, LIMITS.decodedBodyBytes));
  } catch (error) {
    if (error instanceof UnreadableBody) throw error;
    const code = error instanceof Error && 'code' in error ? error.code : null;
    throw new UnreadableBody(code === 'ERR_BUFFER_TOO_LARGE' ? 'too_large' : 'bad_coding');
  }
}

/** Node's decoder for gzip goes through all members by itself; the other codings have one stream each. */
function wholeOf(decoder: Decoder, bytes: Uint8Array, maxOutputLength: number): Buffer {
  const { buffer, engine } = decoder(bytes, { info: true, maxOutputLength }) as Decoded;
  // What a server makes of the rest nobody knows.
  if (engine.bytesWritten < bytes.length) throw new UnreadableBody('bad_coding');
  return buffer;
}

/** zstd's data is any number of frames (RFC 8878, section 3), of which Node's decoder takes the first. */
function framesOf(bytes: Uint8Array, maxOutputLength: number): Buffer {
  const contents: Buffer[] = [];
  let room = maxOutputLength;
  let at = 0;
  do {
    // A frame of nothing has nine bytes, and takes a decoder of its own like any other.
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

/** RFC 1950: method 8, and the two bytes together a multiple of 31. */
function hasZlibHeader(bytes: Uint8Array): boolean {
  const [method = 0, flags = 0] = bytes;
  return (method & 0x0f) === 8 && (method * 256 + flags) % 31 === 0;
}
