import { createHash } from 'node:crypto';
import type { JsonScalar } from './edit-json.ts';

/** A new id with fewer letters and digits could equal another id by chance, so some are added. */
const TELLING_CHARS = 12;
/** Digits of a new decimal id if the old one had too few. Every JSON parser keeps this many exactly. */
const WIDENED_DIGITS = 15;
/** Limits of integer types of ids. A new id stays within the smallest limit that the old one was within. */
const ID_RANGES: readonly bigint[] = [
  2n ** 53n - 1n,
  2n ** 63n - 1n,
  2n ** 64n - 1n,
  2n ** 127n - 1n,
  2n ** 128n - 1n,
];

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** Positions of the version and the variant in a UUID. The variant is the highest two bits of its digit. */
const [UUID_VERSION_AT, UUID_VARIANT_AT] = [14, 19];
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i;
const ULID_LETTERS = 'ABCDEFGHJKMNPQRSTVWXYZ';
const LETTERS = 'abcdefghijklmnopqrstuvwxyz';
/** A prefix with the kind of the id: `chatcmpl-`, `req_`. */
const KIND_PREFIX = /^[a-z]{2,12}[_-](?=(?:[^0-9a-z]*[0-9a-z]){12})/i;

/**
 * A new name with the same format, so that format checks still pass. Decimal ids stay decimal and in range, UUIDs keep
 * version and variant, and hexadecimal ids stay hexadecimal. In other names, letters become letters and digits become
 * digits. The same name with the same salt always becomes the same new name.
 */
export function newName(name: string, salt: string): string {
  if (/^\d+$/.test(name)) return newDecimal(name, salt);
  if (UUID.test(name)) return newUuid(name, salt);
  if (isHexadecimal(name)) return newHex(name.padEnd(TELLING_CHARS, '0'), salt);
  const prefix = KIND_PREFIX.exec(name)?.[0];
  if (prefix !== undefined) return prefix + newName(name.slice(prefix.length), salt);
  const bytes = streamOf(`${salt}\n${name}`);
  const isUlid = ULID.test(name);
  let telling = 0;
  const renamed = name.replace(/[0-9A-Za-z]/g, (char) => {
    telling += 1;
    // The first digit of a ULID limits its range, so it is kept.
    if (isUlid && telling === 1) return char;
    return ofSameKind(char, isUlid ? ULID_LETTERS : LETTERS, bytes.next().value);
  });
  if (telling >= TELLING_CHARS) return renamed;
  const added = Array.from({ length: TELLING_CHARS }, () => hexDigit(bytes.next().value % 16, true));
  return `${renamed}-${added.join('')}`;
}

/** A new hexadecimal id of the same length. Zero means no id and stays. */
export function newHex(id: string, salt: string): string {
  if (/^0*$/.test(id)) return id;
  const bytes = streamOf(`${salt}\n${id}`);
  const isLower = !isUpperCase(id);
  const renew = () => id.replace(/[0-9a-f]/gi, () => hexDigit(bytes.next().value % 16, isLower));
  let renewed = renew();
  while (/^0*$/.test(renewed)) renewed = renew();
  return renewed;
}

/** A new decimal id in the same range. It has the same length, unless that is too short to be unique. */
export function newDecimal(id: string, salt: string): string {
  if (/^0+$/.test(id)) return id;
  const digits = id.length < TELLING_CHARS ? WIDENED_DIGITS : id.length;
  const value = BigInt(id);
  const range = ID_RANGES.find((most) => value <= most);
  const least = id.startsWith('0') ? 1n : 10n ** BigInt(digits - 1);
  const longest = 10n ** BigInt(digits) - 1n;
  const most = range !== undefined && range < longest ? range : longest;
  const bytes = streamOf(`${salt}\n${id}`);
  // Eight bytes more than the id needs, so that all values are practically equally likely.
  const hex = Array.from({ length: Math.ceil(digits / 2) + 8 }, () =>
    bytes.next().value.toString(16).padStart(2, '0'),
  );
  return String(least + (BigInt(`0x${hex.join('')}`) % (most - least + 1n))).padStart(digits, '0');
}

/** A new literal for a text or a number of a JSON document. */
export function newScalar({ literal, isText }: JsonScalar, salt: string): string {
  if (isText) return JSON.stringify(newName(parsedText(literal), salt));
  const [, sign, digits] = /^(-?)(\d+)$/.exec(literal) ?? [];
  // A fraction, or a number with an exponent, is no id, so any other number is fine. The same is true for zero.
  if (sign === undefined || digits === undefined || digits === '0')
    return newDecimal('1', `${salt}\n${literal}`);
  return sign + newDecimal(digits, salt);
}

/** The text of a literal. If the literal is not valid JSON, it is used as written. */
export function parsedText(literal: string): string {
  try {
    return String(JSON.parse(literal));
  } catch {
    // It has a raw control character. A server that accepts this reads it unchanged.
    return literal.slice(1, -1);
  }
}

function newUuid(id: string, salt: string): string {
  const renewed = [...newHex(id, salt)];
  const variant = Number.parseInt(id[UUID_VARIANT_AT] ?? '0', 16) & 0b1100;
  const drawn = Number.parseInt(renewed[UUID_VARIANT_AT] ?? '0', 16) & 0b0011;
  renewed[UUID_VERSION_AT] = id[UUID_VERSION_AT] ?? '';
  renewed[UUID_VARIANT_AT] = hexDigit(variant | drawn, !isUpperCase(id));
  return renewed.join('');
}

/**
 * Whether a name has digits and letters a to f in one case, maybe in groups. It must have both: `facade` may be a word,
 * and a name with only digits is a decimal id.
 */
function isHexadecimal(name: string): boolean {
  return /^(?=.{8})(?=.*\d)(?=.*[a-f])(?:[0-9a-f]+-?)+$|^(?=.{8})(?=.*\d)(?=.*[A-F])(?:[0-9A-F]+-?)+$/.test(
    name,
  );
}

function isUpperCase(id: string): boolean {
  return /[A-F]/.test(id) && !/[a-f]/.test(id);
}

function hexDigit(value: number, isLower: boolean): string {
  const digit = value.toString(16);
  return isLower ? digit : digit.toUpperCase();
}

function ofSameKind(char: string, letters: string, byte: number): string {
  if (/\d/.test(char)) return String(byte % 10);
  const letter = letters[byte % letters.length] ?? char;
  return char >= 'A' && char <= 'Z' ? letter.toUpperCase() : letter.toLowerCase();
}

/** An endless stream of bytes that depends only on the text. */
function* streamOf(text: string): Generator<number, never> {
  for (let block = 0; ; block += 1) yield* createHash('sha256').update(`${block}\n${text}`).digest();
}
