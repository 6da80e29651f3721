/**
 * What a text says in base64, padded or not; null where it is none: Node skips what is not, and a damaged body would
 * become a shorter one.
 */
export function base64Bytes(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text.padEnd(Math.ceil(text.length / 4) * 4, '=') ? bytes : null;
}
