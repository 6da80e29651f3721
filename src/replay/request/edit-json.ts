import {
  isJsonObject,
  jsonElement,
  jsonEnd,
  jsonLastMember,
  jsonMember,
  jsonMemberAgain,
  jsonStart,
} from '../../core/json-cursor.ts';

/** Where a binary inference request says how much of its body is JSON; what follows stays as it is. */
export const JSON_LENGTH = 'inference-header-content-length';

/** Bytes of JSON that a binary inference request begins with; null for a body that is not split. */
export function jsonLengthIn(body: Uint8Array, stated: string | null): number | null {
  const length = Number(stated ?? Number.NaN);
  return Number.isInteger(length) && length > 0 && length <= body.length ? length : null;
}

/** A text or a number of a document as it stands there, quotes included. */
export interface JsonScalar {
  readonly literal: string;
  readonly isText: boolean;
}

/**
 * Puts another value in the place of one, and of each where its object repeats it: a server may take any of them, and
 * most take the last. Every other byte stays as it was.
 * @param change gives the new literal; null leaves the value as it is
 * @returns null where there is no such text or number, or all are to stay
 */
export function spliceJson(
  json: Uint8Array,
  steps: readonly string[],
  change: (value: JsonScalar) => string | null,
): Buffer | null {
  return spliceJsonAt(json, places(json, steps), change);
}

/** The same at positions of values, in order. */
export function spliceJsonAt(
  json: Uint8Array,
  positions: Iterable<number>,
  change: (value: JsonScalar) => string | null,
): Buffer | null {
  const bytes = Buffer.from(json.buffer, json.byteOffset, json.byteLength);
  const pieces: Uint8Array[] = [];
  let from = 0;
  for (const at of positions) {
    const isText = json[at] === 0x22;
    const to = isText ? textEnd(bytes, at) : numberEnd(bytes, at);
    const literal = to < 0 ? null : change({ literal: bytes.toString('utf8', at, to), isText });
    if (literal === null) continue;
    pieces.push(json.subarray(from, at), Buffer.from(literal, 'utf8'));
    from = to;
  }
  return pieces.length === 0 ? null : Buffer.concat([...pieces, json.subarray(from)]);
}

/** Where values of this place stand, in order: of what holds them the last one counts, as for a parser. */
function* places(json: Uint8Array, steps: readonly string[]): Generator<number> {
  let holder = jsonStart(json);
  for (const step of steps.slice(0, -1)) {
    const member = jsonLastMember(json, holder, nameOf(step));
    holder = member < 0 ? elementAt(json, holder, step) : member;
    if (holder < 0) return;
  }
  const last = steps.at(-1) ?? '';
  const name = nameOf(last);
  const element = elementAt(json, holder, last);
  if (element >= 0) yield element;
  else for (let at = jsonMember(json, holder, name); at >= 0; at = jsonMemberAgain(json, at, name)) yield at;
}

function nameOf(step: string): string {
  return Buffer.from(step, 'utf8').toString('latin1');
}

function elementAt(json: Uint8Array, holder: number, step: string): number {
  return /^\d{1,6}$/.test(step) ? jsonElement(json, holder, Number(step)) : -1;
}

/** Position after the closing quote of the text that opens at `at`; -1 where it is cut. */
function textEnd(json: Buffer, at: number): number {
  for (let quote = json.indexOf(0x22, at + 1); quote >= 0; quote = json.indexOf(0x22, quote + 1)) {
    let slashes = quote;
    while (slashes > at + 1 && json[slashes - 1] === 0x5c) slashes -= 1;
    if ((quote - slashes) % 2 === 0) return quote + 1;
  }
  return -1;
}

function numberEnd(json: Buffer, at: number): number {
  const literal = /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/.exec(json.toString('latin1', at, at + 64))?.[0];
  return literal === undefined ? -1 : at + literal.length;
}

/**
 * A JSON object with a member set, every other byte as it was: in the place of its value, of each where the object
 * repeats it, or in front of the first.
 * @param path names of the members down to the one that is set; all but the last must be objects
 * @param literal the value as JSON
 * @returns null where the bytes are no such object
 */
export function withJsonMember(json: Uint8Array, path: readonly string[], literal: string): Buffer | null {
  let object = jsonStart(json);
  for (const name of path.slice(0, -1)) object = jsonLastMember(json, object, name);
  // A number may end with the text only where the object is cut.
  if (!isJsonObject(json, object) || jsonEnd(json, object) < 0) return null;
  const name = path.at(-1) ?? '';
  const value = Buffer.from(literal, 'utf8');
  const pieces: Uint8Array[] = [];
  let from = 0;
  for (let at = jsonMember(json, object, name); at >= 0; at = jsonMemberAgain(json, at, name)) {
    pieces.push(json.subarray(from, at), value);
    from = jsonEnd(json, at);
    if (from < 0) return null;
  }
  if (pieces.length === 0) {
    const member = `${JSON.stringify(name)}:${literal}${isEmpty(json, object) ? '' : ','}`;
    from = object + 1;
    pieces.push(json.subarray(0, from), Buffer.from(member, 'utf8'));
  }
  return Buffer.concat([...pieces, json.subarray(from)]);
}

function isEmpty(json: Uint8Array, object: number): boolean {
  return json[jsonStart(json, object + 1)] === 0x7d;
}
