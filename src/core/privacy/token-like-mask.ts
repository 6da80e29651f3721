import { SeededRandom } from '../random.ts';
import { fillWithWords } from './filler.ts';
import { bytesPerToken } from './token-estimate.ts';

const EQUALS = 0x3d;
const ENCODED_FROM_BYTES = 64;
const LETTERS = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz', 'latin1');
const DATA_URL = /^data:(?:image|audio|video|application)\/[a-z0-9.+-]{1,40};base64,/i;
const DATA_URL_BYTES = 64;

/** A generator for masks; the first eight bytes of the seed count. */
export function maskRandom(seed: Uint8Array): SeededRandom {
  const view = new DataView(seed.buffer, seed.byteOffset, seed.byteLength);
  return new SeededRandom((view.getUint32(4) & 0x1f_ffff) * 2 ** 32 + view.getUint32(0));
}

/**
 * Covers `text[from, to)`, the inside of a JSON string, with words that weigh about as many tokens as what
 * they cover and take exactly its bytes. What is long and in the alphabet of base64 (a picture) gets letters
 * of that alphabet instead, behind its `data:` prefix. Only letters, blanks and `=` are written.
 */
export function coverWithWords(text: Buffer, from: number, to: number, random: SeededRandom): void {
  const start = encodedStart(text, from, to);
  if (start !== null) coverWithLetters(text, start, to, random);
  else fillWithWords(text, from, to, bytesPerToken(text, from, to), random);
}

/** Where a long stretch of base64 begins, behind the prefix of a data URL; null where the text is none. */
function encodedStart(text: Buffer, from: number, to: number): number | null {
  if (to - from < ENCODED_FROM_BYTES) return null;
  const prefix = DATA_URL.exec(text.toString('latin1', from, from + DATA_URL_BYTES));
  const start = from + (prefix?.[0].length ?? 0);
  for (let at = start; at < to; at += 1) if (!isEncoded(text[at] as number)) return null;
  return start;
}

function coverWithLetters(text: Buffer, from: number, to: number, random: SeededRandom): void {
  let end = to;
  // The padding says how the length divides by three, which the length says as well.
  while (end > from && text[end - 1] === EQUALS) end -= 1;
  for (let at = from; at < end; ) {
    let bits = random.nextUint32();
    for (let letter = 0; letter < 4 && at < end; letter += 1, at += 1) {
      text[at] = LETTERS[(bits & 0xff) % LETTERS.length] as number;
      bits >>>= 8;
    }
  }
}

function isEncoded(byte: number): boolean {
  if ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a) return true;
  if (byte >= 0x30 && byte <= 0x39) return true;
  return byte === 0x2b || byte === 0x2f || byte === 0x2d || byte === 0x5f || byte === EQUALS;
}
