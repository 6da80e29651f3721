import { isDeepStrictEqual } from 'node:util';
import { jsonEnd, jsonMember, jsonStart } from '../core/json-cursor.ts';
import { InputProblem } from './input-problem.ts';
import type { JsonObject } from './json-line.ts';

/**
 * The bytes of a member as the object's text has them: a parser would round numbers of more digits than it holds,
 * and put keys in another order.
 * @param object what a parser made of `text`
 * @throws InputProblem where it cannot be said which bytes are meant
 */
export function verbatimMember(text: Buffer, object: JsonObject, key: string): Buffer {
  const at = jsonMember(text, jsonStart(text), key);
  const end = jsonEnd(text, at);
  if (end < 0) throw new InputProblem(`the key ${key} is not written plainly`, { hint: `Write "${key}".` });
  const bytes = text.subarray(at, end);
  // A second key of that name may be written with an escape.
  const mayRepeat = text.includes(`"${key}"`, end) || text.includes('\\u', end);
  if (mayRepeat && !isDeepStrictEqual(JSON.parse(bytes.toString()), object[key])) {
    throw new InputProblem(`two keys are called ${key}`, { hint: 'Leave one of them out.' });
  }
  return bytes;
}
