import {
  isJsonArray,
  isJsonString,
  jsonElement,
  jsonLastMember,
  jsonNumber,
  jsonStart,
} from '../../core/json-cursor.ts';

/**
 * Whether a request for chat or completions asks for one answer, read from the whole of it: the recorded count of
 * tokens is that of all its answers together. What cannot be told is none.
 */
export function asksOneAnswer(body: Uint8Array): boolean {
  const at = jsonStart(body);
  return isOnePrompt(body, at) && isOnce(body, at, 'n') && isOnce(body, at, 'best_of');
}

/** A text or a list of tokens is one prompt; of a list of those, more than one are several. */
function isOnePrompt(body: Uint8Array, at: number): boolean {
  const prompt = jsonLastMember(body, at, 'prompt');
  if (prompt < 0) return isJsonArray(body, jsonLastMember(body, at, 'messages'));
  if (!isJsonArray(body, prompt)) return isJsonString(body, prompt);
  const first = jsonElement(body, prompt, 0);
  if (isJsonString(body, first) || isJsonArray(body, first)) return jsonElement(body, prompt, 1) < 0;
  return jsonNumber(body, first) !== null;
}

/** How many answers to each prompt are made: one, where nothing is said. */
function isOnce(body: Uint8Array, at: number, key: string): boolean {
  const wanted = jsonLastMember(body, at, key);
  return wanted < 0 || isNull(body, wanted) || jsonNumber(body, wanted) === 1;
}

function isNull(body: Uint8Array, at: number): boolean {
  return Buffer.from(body.subarray(at, at + 4)).toString('latin1') === 'null';
}
