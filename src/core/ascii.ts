/** Bytes with a meaning in some format, by name. */
export const ASCII = {
  TAB: 0x09,
  LF: 0x0a,
  CR: 0x0d,
  SPACE: 0x20,
  QUOTE: 0x22,
  HASH: 0x23,
  PERCENT: 0x25,
  AMPERSAND: 0x26,
  APOSTROPHE: 0x27,
  PLUS: 0x2b,
  COMMA: 0x2c,
  MINUS: 0x2d,
  POINT: 0x2e,
  SLASH: 0x2f,
  ZERO: 0x30,
  ONE: 0x31,
  NINE: 0x39,
  COLON: 0x3a,
  SEMICOLON: 0x3b,
  LESS: 0x3c,
  EQUALS: 0x3d,
  QUESTION: 0x3f,
  AT: 0x40,
  OPEN_BRACKET: 0x5b,
  BACKSLASH: 0x5c,
  CLOSE_BRACKET: 0x5d,
  LOWER_E: 0x65,
  LOWER_U: 0x75,
  OPEN_BRACE: 0x7b,
  CLOSE_BRACE: 0x7d,
  DELETE: 0x7f,
} as const;

/** A set of bytes: 1 at the index of each member. */
export type ByteSet = Uint8Array;

/** @param characters latin1 */
export function byteSet(characters: string): ByteSet {
  const set = new Uint8Array(256);
  for (const byte of Buffer.from(characters, 'latin1')) set[byte] = 1;
  return set;
}

/**
 * Position of the first byte of a set in `bytes[from, to)`, or `to`. A manual loop: most fields are short, so a native
 * call would take longer, and it would search beyond `to`.
 */
export function seek(bytes: Uint8Array, from: number, to: number, set: ByteSet): number {
  for (let at = from; at < to; at += 1) if (set[bytes[at]!] === 1) return at;
  return to;
}
