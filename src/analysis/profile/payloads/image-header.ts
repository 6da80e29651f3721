/** What the first bytes of a picture say. */
export interface ImageHeader {
  readonly format: 'png' | 'jpeg' | 'gif' | 'webp' | 'bmp';
  /** Pixels; null where they lie further inside. */
  readonly width: number | null;
  readonly height: number | null;
}

const MAX_SEGMENTS = 200;

/** The header of a picture; null for anything else. Never throws. */
export function imageHeader(bytes: Buffer): ImageHeader | null {
  if (bytes.length < 12) return null;
  if (bytes.readUInt32BE(0) === 0x89504e47)
    return sized('png', bytes, 24, () => [bytes.readUInt32BE(16), bytes.readUInt32BE(20)]);
  if (bytes.toString('latin1', 0, 4) === 'GIF8')
    return sized('gif', bytes, 10, () => [bytes.readUInt16LE(6), bytes.readUInt16LE(8)]);
  if (bytes.toString('latin1', 0, 4) === 'RIFF' && bytes.toString('latin1', 8, 12) === 'WEBP')
    return webp(bytes);
  if (bytes.toString('latin1', 0, 2) === 'BM' && bytes.readUInt32LE(6) === 0)
    return sized('bmp', bytes, 26, () => [bytes.readUInt32LE(18), Math.abs(bytes.readInt32LE(22))]);
  if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return jpeg(bytes);
  return null;
}

function sized(
  format: ImageHeader['format'],
  bytes: Buffer,
  needed: number,
  read: () => readonly [number, number],
): ImageHeader {
  if (bytes.length < needed) return { format, width: null, height: null };
  const [width, height] = read();
  return { format, width, height };
}

function webp(bytes: Buffer): ImageHeader {
  const chunk = bytes.toString('latin1', 12, 16);
  if (chunk === 'VP8X')
    return sized('webp', bytes, 30, () => [bytes.readUIntLE(24, 3) + 1, bytes.readUIntLE(27, 3) + 1]);
  if (chunk === 'VP8 ') {
    return sized('webp', bytes, 30, () => [bytes.readUInt16LE(26) & 0x3fff, bytes.readUInt16LE(28) & 0x3fff]);
  }
  if (chunk === 'VP8L') {
    return sized('webp', bytes, 25, () => {
      const bits = bytes.readUInt32LE(21);
      return [(bits & 0x3fff) + 1, ((bits >>> 14) & 0x3fff) + 1];
    });
  }
  return { format: 'webp', width: null, height: null };
}

/** Goes from segment to segment up to the frame's header. */
function jpeg(bytes: Buffer): ImageHeader {
  let at = 2;
  for (let segment = 0; segment < MAX_SEGMENTS && at + 9 <= bytes.length; segment += 1) {
    if (bytes[at] !== 0xff) break;
    const marker = bytes[at + 1]!;
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame)
      return { format: 'jpeg', width: bytes.readUInt16BE(at + 7), height: bytes.readUInt16BE(at + 5) };
    at += 2 + bytes.readUInt16BE(at + 2);
  }
  return { format: 'jpeg', width: null, height: null };
}
