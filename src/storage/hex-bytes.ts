/** Of the code of each hex digit as SQLite's `hex` writes it. */
const DIGITS = new Uint8Array(128);
for (let digit = 0; digit < 16; digit += 1) DIGITS['0123456789ABCDEF'.charCodeAt(digit)] = digit;

/**
 * What a statement selects to give the bytes of a short blob as text, for `bytesOfHex`. A blob itself reaches us as
 * a buffer of its own outside the heap, at eight times the cost of its text: with a client in every row that was
 * half of reading a page.
 */
export function hexOf(blob: string): string {
  // Of NULL `hex` would make an empty text.
  return `iif(${blob} IS NULL, NULL, hex(${blob}))`;
}

/** The bytes of what `hexOf` selected; null for NULL. */
export function bytesOfHex(hex: string | null): Uint8Array | null {
  if (hex === null) return null;
  const bytes = new Uint8Array(hex.length / 2);
  for (let at = 0; at < bytes.length; at += 1) {
    const high = DIGITS[hex.charCodeAt(2 * at)] as number;
    bytes[at] = (high << 4) | (DIGITS[hex.charCodeAt(2 * at + 1)] as number);
  }
  return bytes;
}
