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

/** The header with the length of the JSON in a binary inference request. The rest of the body is not changed. */
export const JSON_LENGTH = 'inference-header-content-length';

/**
 * Edits the JSON of a body. The bytes after it in a binary inference request are not changed.
 * @param stated value of the header with the length of the JSON; null without it
 * @returns the same body if nothing was changed; `jsonBytes` is the new value of the header, if it is present
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

/** A text or a number as written in a document, including quotes. */
export interface JsonScalar {
  readonly literal: string;
  readonly isText: boolean;
}

/**
 * Replaces a value. If its object repeats the member, every repeat is replaced, because a server may use any of them
 * (most use the last). All other bytes stay the same.
 * @param change returns the new literal; null to keep the value
 * @returns null if there is no such text or number, or all are kept
 */
export function spliceJson(
  json: Uint8Array,
  steps: readonly string[],
  change: (value: JsonScalar) => string | null,
): Buffer | null {
  return spliceJsonAt(json, places(json, steps), change);
}

/** Replaces the values at these positions, which are in order. */
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

/** The document with new values at these positions, which are in order. Null if all are kept. */
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

/** Positions of all members with this name in an object, in order. */
export function* membersNamed(json: Uint8Array, object: number, name: string): Generator<number> {
  for (let at = jsonMember(json, object, name); at >= 0; at = jsonMemberAgain(json, at, name)) yield at;
}

/** Positions of the values at this place, in order. Of repeated parents, the last one counts, as for a parser. */
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
 * Sets a member of a JSON object. It replaces the value, and that of every repeat; a new member is put first. All other
 * bytes stay the same.
 * @param path names of the members down to the one to set; all except the last must be objects
 * @param literal the value as JSON
 * @returns null if the bytes are no such object
 */
export function withJsonMember(json: Uint8Array, path: readonly string[], literal: string): Buffer | null {
  let object = jsonStart(json);
  for (const name of path.slice(0, -1)) object = jsonLastMember(json, object, name);
  // Rejects a truncated object.
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
