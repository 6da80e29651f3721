import {
  asBuffer,
  isJsonArray,
  isJsonString,
  jsonAfterElement,
  jsonElement,
  jsonEnd,
  jsonLastMember,
  jsonNumber,
  jsonStart,
} from '../../core/json-cursor.ts';

/** Whether copies begin their prompts with their own words, or as their originals do. */
export const COPY_PROMPTS = ['own', 'same'] as const;
export type CopyPrompts = (typeof COPY_PROMPTS)[number];

/** Where the words are that change places. A block of a cache has 16 tokens or more. */
const HEAD_BYTES = 1_024;
/** Words that change places. They have 40,320 orders, more than there are copies. */
const MOST_WORDS = 8;
/** Levels of a body in which text is searched: of messages, message, content, part, text. */
const MOST_LEVELS = 6;

/** Words between single spaces. Tokenizers take each with the space before it, so the order changes no number. */
const WORDS = /(?<=[^ ] )[^ ]+(?= [^ ])/g;
/** Where words have no spaces: characters beyond ASCII, escaped or in UTF-8. */
const CHARACTERS =
  /(?<!\\)(?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4})|[\xc2-\xf4][\x80-\xbf]+/g;
/** Ids of tokens. */
const TOKENS = /(?<=[[,\s])\d+(?=\s*,)/g;

/**
 * The body with the first words of its tools, instructions and turns in another order, so that no cache of prefixes
 * takes the prompt for that of the original. It has the same length in bytes, and in tokens of most tokenizers. Equal
 * beginnings stay equal within all sessions of one copy, so that these reuse what their originals reuse.
 * @param copy number of the copy, from 1: each has its own order
 * @returns null if the body has no prompt of so many words
 */
export function withOwnPrompt(json: Uint8Array, copy: number): Buffer | null {
  const edits = [...promptsIn(json)].flatMap((prompt) => {
    for (const at of textsIn(json, prompt, MOST_LEVELS)) {
      const text = reorderedAt(json, at, copy);
      if (text !== null) return [{ at, text }];
    }
    return [];
  });
  if (edits.length === 0) return null;
  const own = Buffer.from(json);
  for (const { at, text } of edits) own.write(text, at, 'latin1');
  return own;
}

/** What a server builds a prompt from. A list of texts is as many prompts. */
function* promptsIn(json: Uint8Array): Generator<number> {
  const member = (name: string): number =>
    // A fast search first, because prompts are long.
    asBuffer(json).includes(`"${name}"`) ? jsonLastMember(json, jsonStart(json), name) : -1;
  for (const name of ['tools', 'system', 'instructions']) yield member(name);
  const turns = ['messages', 'prompt', 'input'].map(member).find((at) => at >= 0) ?? -1;
  if (isJsonArray(json, turns) && isJsonString(json, jsonElement(json, turns, 0)))
    yield* elementsOf(json, turns);
  else yield turns;
}

/** Positions of texts, and of lists of tokens, in the order of the body. */
function* textsIn(json: Uint8Array, at: number, levels: number): Generator<number> {
  if (at < 0 || levels === 0) return;
  if (isJsonString(json, at)) yield at;
  else if (isJsonArray(json, at)) {
    if (jsonNumber(json, jsonElement(json, at, 0)) !== null) yield at;
    else for (const element of elementsOf(json, at)) yield* textsIn(json, element, levels - 1);
  } else {
    for (const name of ['content', 'text', 'function', 'description'])
      yield* textsIn(json, jsonLastMember(json, at, name), levels - 1);
  }
}

function* elementsOf(json: Uint8Array, array: number): Generator<number> {
  for (let at = jsonElement(json, array, 0); at >= 0; at = jsonAfterElement(json, at)) yield at;
}

/** The beginning of a text in the order of a copy, as bytes; null if it has too few words. */
function reorderedAt(json: Uint8Array, at: number, copy: number): string | null {
  const head = asBuffer(json).toString('latin1', at, Math.min(jsonEnd(json, at), at + HEAD_BYTES));
  if (isJsonArray(json, at)) return reordered(head, TOKENS, copy);
  return reordered(head, WORDS, copy) ?? reordered(head, CHARACTERS, copy);
}

/** The number of the copy chooses the order, and most of all the first word. */
function reordered(head: string, words: RegExp, copy: number): string | null {
  const found: { readonly at: number; readonly word: string }[] = [];
  for (const { index: at, 0: word } of head.matchAll(words)) {
    const isCut = at + word.length === HEAD_BYTES;
    if (!isCut && !found.some((each) => each.word === word)) found.push({ at, word });
    if (found.length === MOST_WORDS) break;
  }
  const left = found.map(({ word }) => word);
  let [order, text, from] = [copy, '', 0];
  for (const { at, word } of found) {
    const choices = left.length;
    text += head.slice(from, at) + left.splice(order % choices, 1)[0];
    order = Math.floor(order / choices);
    from = at + word.length;
  }
  return order > 0 ? null : text + head.slice(from);
}
