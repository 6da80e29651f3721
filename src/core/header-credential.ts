import { isUtf8 } from 'node:buffer';

/** How credentials begin, in whatever header. */
const BEGINS = /^(?:bearer|basic|digest|dpop|negotiate|ntlm|aws4-hmac-sha256)\s+\S/i;
/** Schemes that are words too; clients that put one before credentials which have it send it twice. */
const SPOKEN = /^(?:(?:bearer|basic|digest|negotiate|ntlm)\s+)+(?=\S)/i;
/** Words as they are written, and small numbers among them: neither an encoding nor a list of credentials. */
const PROSE = /^[A-Za-z][a-z]{0,19}[.:!?]?(?:\s+(?:[A-Za-z][a-z]{0,19}|[0-9][0-9+.%-]{0,3})[.:!?]?)*$/;

const SPACE = 0x20;
const COLON = 0x3a;

/**
 * Whether the value of a header says itself that it is a credential: it begins with a scheme, and what follows is not
 * for certain the prose of a title that begins with such a word (`Basic English`).
 */
export function isCredential(text: string, from: number, to: number): boolean {
  const value = text.slice(from, to);
  if (!BEGINS.test(value)) return false;
  const schemes = SPOKEN.exec(value)?.[0];
  return schemes === undefined || !isProse(value.slice(schemes.length), schemes);
}

function isProse(text: string, schemes: string): boolean {
  if (!PROSE.test(text)) return false;
  // A bearer's token may be any one word; the others' are encoded.
  return /bearer/i.test(schemes) ? /\s/.test(text) && !text.includes(':') : !encodesText(text);
}

/** Whether the first word is text in base64, as a name and a password are sent. */
function encodesText(prose: string): boolean {
  const bytes = Buffer.from(/^[a-z]*/i.exec(prose)?.[0] ?? '', 'base64');
  return bytes.includes(COLON) || (isUtf8(bytes) && bytes.every((byte) => byte >= SPACE));
}
