import { createHash } from 'node:crypto';
import type { JsonScalar } from './edit-json.ts';

/** Fewer letters and digits than this may be somebody else's name by chance; then some are added. */
const TELLING_CHARS = 12;
/** Digits of a new decimal id where the old one had too few: every JSON reader takes that many exactly. */
const WIDENED_DIGITS = 15;
/** What ids are counted in. An id stays at or below the first of these that it did not exceed. */
const ID_RANGES: readonly bigint[] = [
  2n ** 53n - 1n,
  2n ** 63n - 1n,
  2n ** 64n - 1n,
  2n ** 127n - 1n,
  2n ** 128n - 1n,
];

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** Position of the version in a UUID, and of the variant, which are its highest two bits there. */
const [UUID_VERSION_AT, UUID_VARIANT_AT] = [14, 19];
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i;
const ULID_LETTERS = 'ABCDEFGHJKMNPQRSTVWXYZ';
const LETTERS = 'abcdefghijklmnopqrstuvwxyz';
/** A word that says what kind of id follows: `chatcmpl-`, `req_`. */
const KIND_PREFIX = /^[a-z]{2,12}[_-](?=(?:[^0-9a-z]*[0-9a-z]){12})/i;

/**
 * Another name of the same form, so that what is checked by its form still passes. Decimal ids stay decimal and in
 * range, UUIDs keep version and variant, hexadecimal ids stay hexadecimal; of anything else letters become letters and
 * digits digits. The same name under the same salt always becomes the same other name.
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
    // The first digit of a ULID bounds its range.
    if (isUlid && telling === 1) return char;
    return ofSameKind(char, isUlid ? ULID_LETTERS : LETTERS, bytes.next().value);
  });
  if (telling >= TELLING_CHARS) return renamed;
  const added = Array.from({ length: TELLING_CHARS }, () => hexDigit(bytes.next().value % 16, true));
  return `${renamed}-${added.join('')}`;
}

/** Another hexadecimal id of the same length, even one that happens to have digits only. Zero means none and stays. */
export function newHex(id: string, salt: string): string {
  if (/^0*$/.test(id)) return id;
  const bytes = streamOf(`${salt}\n${id}`);
  const isLower = !isUpperCase(id);
  const renew = () => id.replace(/[0-9a-f]/gi, () => hexDigit(bytes.next().value % 16, isLower));
  let renewed = renew();
  while (/^0*$/.test(renewed)) renewed = renew();
  return renewed;
}

/** Another decimal id in the same range: of the same length, unless that is too short to be told from others. */
export function newDecimal(id: string, salt: string): string {
  if (/^0+$/.test(id)) return id;
  const digits = id.length < TELLING_CHARS ? WIDENED_DIGITS : id.length;
  const value = BigInt(id);
  const range = ID_RANGES.find((most) => value <= most);
  const least = id.startsWith('0') ? 1n : 10n ** BigInt(digits - 1);
  const longest = 10n ** BigInt(digits) - 1n;
  const most = range !== undefined && range < longest ? range : longest;
  const bytes = streamOf(`${salt}\n${id}`);
  // Eight bytes more than the id holds: no value is noticeably likelier than another.
  const hex = Array.from({ length: Math.ceil(digits / 2) + 8 }, () =>
    bytes.next().value.toString(16).padStart(2, '0'),
  );
  return String(least + (BigInt(`0x${hex.join('')}`) % (most - least + 1n))).padStart(digits, '0');
}

/** Another value for a text or a number of a JSON document, as it is written there. */
export function newScalar({ literal, isText }: JsonScalar, salt: string): string {
  if (isText) return JSON.stringify(newName(parsedText(literal), salt));
  const [, sign, digits] = /^(-?)(\d+)$/.exec(literal) ?? [];
  // A fraction or a power of ten is no id; any other number will do. Zero as well, where it is one.
  if (sign === undefined || digits === undefined || digits === '0')
    return newDecimal('1', `${salt}\n${literal}`);
  return sign + newDecimal(digits, salt);
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

function newUuid(id: string, salt: string): string {
  const renewed = [...newHex(id, salt)];
  const variant = Number.parseInt(id[UUID_VARIANT_AT] ?? '0', 16) & 0b1100;
  const drawn = Number.parseInt(renewed[UUID_VARIANT_AT] ?? '0', 16) & 0b0011;
  renewed[UUID_VERSION_AT] = id[UUID_VERSION_AT] ?? '';
  renewed[UUID_VARIANT_AT] = hexDigit(variant | drawn, !isUpperCase(id));
  return renewed.join('');
}

/**
 * Digits and the letters a to f in one case, maybe in groups. Both are there: `facade` may as well be a word, and what
 * has digits only is a decimal id.
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

/** Bytes without end that the text decides. */
function* streamOf(text: string): Generator<number, never> {
  for (let block = 0; ; block += 1) yield* createHash('sha256').update(`${block}\n${text}`).digest();
}
