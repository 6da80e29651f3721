import {
  isJsonObject,
  jsonEnd,
  jsonLastMember,
  jsonMember,
  jsonMemberAgain,
  jsonStart,
} from '../core/json-cursor.ts';

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
