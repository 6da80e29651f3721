import { isJsonObject, jsonEnd, jsonMember, jsonStart } from '../core/json-cursor.ts';

/**
 * A JSON object with a member set, every other byte as it was: in the place of its value, or in front of the first.
 * @param path names of the members down to the one that is set; all but the last must be objects
 * @param literal the value as JSON
 * @returns null where the bytes are no such object
 */
export function withJsonMember(json: Uint8Array, path: readonly string[], literal: string): Buffer | null {
  let object = jsonStart(json);
  for (const name of path.slice(0, -1)) object = jsonMember(json, object, name);
  if (!isJsonObject(json, object)) return null;
  const name = path.at(-1) ?? '';
  const at = jsonMember(json, object, name);
  const [from, to, text] =
    at >= 0
      ? [at, jsonEnd(json, at), literal]
      : [object + 1, object + 1, `${JSON.stringify(name)}:${literal}${isEmpty(json, object) ? '' : ','}`];
  // A number may end with the text only where the object is cut.
  if (to < 0 || jsonEnd(json, object) < 0) return null;
  return Buffer.concat([json.subarray(0, from), Buffer.from(text, 'utf8'), json.subarray(to)]);
}

function isEmpty(json: Uint8Array, object: number): boolean {
  return json[jsonStart(json, object + 1)] === 0x7d;
}
