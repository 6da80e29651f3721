import { createHash } from 'node:crypto';
import type { JsonScalar } from './json-splice.ts';

/** Fewer letters and digits than this may be somebody else's name by chance; then some are added. */
const TELLING_CHARS = 12;

/**
 * Another name of the same form: digits for digits, letters for letters, so that what is checked by its form
 * still passes. The same name under the same salt always becomes the same other name.
 */
export function newName(name: string, salt: string): string {
  const isHex = /^[0-9a-f-]+$/i.test(name);
  const bytes = streamOf(`${salt}\n${name}`);
  let telling = 0;
  const renamed = name.replace(/[0-9A-Za-z]/g, (char) => {
    telling += 1;
    return ofSameKind(char, isHex, bytes.next().value);
  });
  return telling >= TELLING_CHARS
    ? renamed
    : `${renamed}${/^\d*$/.test(name) ? digits(bytes) : `-${hex(bytes)}`}`;
}

/** Another value for a text or a number of a JSON document, as it is written there. */
export function newScalar({ literal, isText }: JsonScalar, salt: string): string {
  if (isText) return JSON.stringify(newName(parsedText(literal), salt));
  return String(
    1 + Number(createHash('sha256').update(`${salt}\n${literal}`).digest().readBigUInt64BE() >> 12n),
  );
}

/** What the literal of a text says; one that is not JSON is taken as it stands. */
export function parsedText(literal: string): string {
  try {
    return String(JSON.parse(literal));
  } catch {
    // A raw control character in it: a server that takes it reads it as it is.
    return literal.slice(1, -1);
  }
}

function ofSameKind(char: string, isHex: boolean, byte: number): string {
  if (/\d/.test(char) && !isHex) return String(byte % 10);
  const lower = isHex ? (byte % 16).toString(16) : String.fromCharCode(97 + (byte % 26));
  return char >= 'A' && char <= 'Z' ? lower.toUpperCase() : lower;
}

function digits(bytes: Generator<number, never>): string {
  return Array.from({ length: TELLING_CHARS }, () => bytes.next().value % 10).join('');
}

function hex(bytes: Generator<number, never>): string {
  return Array.from({ length: TELLING_CHARS }, () => (bytes.next().value % 16).toString(16)).join('');
}

/** Bytes without end that the text decides. */
function* streamOf(text: string): Generator<number, never> {
  for (let block = 0; ; block += 1) yield* createHash('sha256').update(`${block}\n${text}`).digest();
}
