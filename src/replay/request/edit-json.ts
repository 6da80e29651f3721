import {
  isJsonObject,
  isJsonString,
  jsonElement,
  jsonEnd,
  jsonLastMember,
  jsonMember,
  jsonMemberAgain,
  jsonStart,
} from '../../core/json-cursor.ts';

/** Where a binary inference request says how much of its body is JSON; what follows stays as it is. */
export const JSON_LENGTH = 'inference-header-content-length';

/**
 * Edits the JSON of a body. What follows it in a binary inference request stays as it is.
 * @param stated the header with the length of that JSON; null without it
 * @returns the same body where nothing was changed; `jsonBytes` is the new value of that header, if it has one
 */
export function editBody(
  body: Uint8Array,
  stated: string | null,
  edit: (json: Uint8Array) => Uint8Array,
): { readonly body: Uint8Array; readonly jsonBytes: number | null } {
  const length = Number(stated ?? Number.NaN);
  if (!(Number.isInteger(length) && length > 0 && length <= body.length))
    return { body: edit(body), jsonBytes: null };
  const json = body.subarray(0, length);
  const edited = edit(json);
  if (edited === json) return { body, jsonBytes: null };
  return { body: Buffer.concat([edited, body.subarray(length)]), jsonBytes: edited.length };
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
  return withLiterals(json, positions, (at, to) => {
    const isText = isJsonString(json, at);
    const literal = Buffer.from(json.subarray(at, to)).toString('utf8');
    return isText || NUMBER.test(literal) ? change({ literal, isText }) : null;
  });
}

const NUMBER = /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** The document with other values at these positions, which come in order. Null where all of them stay. */
function withLiterals(
  json: Uint8Array,
  positions: Iterable<number>,
  literalOf: (at: number, to: number) => string | null,
): Buffer | null {
  const pieces: Uint8Array[] = [];
  let from = 0;
  for (const at of positions) {
    const to = jsonEnd(json, at);
    const literal = to < 0 ? null : literalOf(at, to);
    if (literal === null) continue;
    pieces.push(json.subarray(from, at), Buffer.from(literal, 'utf8'));
    from = to;
  }
  return pieces.length === 0 ? null : Buffer.concat([...pieces, json.subarray(from)]);
}

/** Where an object has members of this name: all of them, in order. */
export function* membersNamed(json: Uint8Array, object: number, name: string): Generator<number> {
  for (let at = jsonMember(json, object, name); at >= 0; at = jsonMemberAgain(json, at, name)) yield at;
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
  const element = elementAt(json, holder, last);
  if (element >= 0) yield element;
  else yield* membersNamed(json, holder, nameOf(last));
}

function nameOf(step: string): string {
  return Buffer.from(step, 'utf8').toString('latin1');
}

function elementAt(json: Uint8Array, holder: number, step: string): number {
  return /^\d{1,6}$/.test(step) ? jsonElement(json, holder, Number(step)) : -1;
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
  const set = withLiterals(json, membersNamed(json, object, name), () => literal);
  if (set !== null) return set;
  const member = `${JSON.stringify(name)}:${literal}${isEmpty(json, object) ? '' : ','}`;
  const from = object + 1;
  return Buffer.concat([json.subarray(0, from), Buffer.from(member, 'utf8'), json.subarray(from)]);
}

function isEmpty(json: Uint8Array, object: number): boolean {
  return json[jsonStart(json, object + 1)] === 0x7d;
}
