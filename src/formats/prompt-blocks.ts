import type { KeyedHash } from '../core/keyed-hash.ts';
import { LIMITS } from '../core/limits.ts';
import { SeededRandom } from '../core/random.ts';
import { TOKEN_BYTES } from '../inference/prompt-prefixes.ts';
import { InputProblem } from './input.ts';

/**
 * Tokens of a block in the traces that Mooncake published (FAST 2025). Blocks are cut by bytes, because only the server has
 * its tokenizer.
 */
export const BLOCK_TOKENS = 512;

/**
 * The `hash_ids` of a prompt, one for each block of tokens. Each is a keyed hash of the text up to the end of its
 * block. So the number of equal first ids of two prompts is the number of complete blocks they share. The last id
 * covers the whole text, so two prompts have equal ids only if they are equal.
 * @param tokens tokens of the prompt, at least 1
 * @param model prompts of different models share no ids
 */
export function blockIdsOf(
  text: string,
  { tokens, blockTokens, model }: { tokens: number; blockTokens: number; model: string },
  hash: KeyedHash,
): number[] {
  const bytes = Buffer.from(text);
  const size = blockTokens * TOKEN_BYTES;
  const count = Math.ceil(tokens / blockTokens);
  const ids: number[] = [];
  let chain = hash.ofBody(Buffer.from(model));
  let at = 0;
  const extend = (piece: Uint8Array) => {
    chain = hash.ofBody(Buffer.concat([chain, piece]));
    ids.push(idOf(chain));
  };
  for (; ids.length < count - 1 && at + size <= bytes.length; at += size) {
    extend(bytes.subarray(at, at + size));
  }
  while (ids.length < count) extend(bytes.subarray(at));
  return ids;
}

/** 53 bits: every JSON parser keeps them exactly, and a collision is unlikely among ten million blocks. */
function idOf(digest: Buffer): number {
  return digest.readUInt32BE(0) * 2 ** 21 + (digest.readUInt32BE(4) >>> 11);
}

/** The body of a request with a built prompt: a chat where the path is one of chats, else a completion. */
export function promptBodyOf(
  prompt: string,
  to: { readonly model: string; readonly path: string | null; readonly outputTokens: number | null },
): Buffer {
  const isChat = to.path?.includes('/chat/') === true;
  const turns = isChat ? { messages: [{ role: 'user', content: prompt }] } : { prompt };
  return Buffer.from(JSON.stringify({ model: to.model, ...turns, max_tokens: to.outputTokens ?? undefined }));
}

/** Words of three letters and a space: `TOKEN_BYTES` each, as an export counts tokens. */
const WORDS =
  'act add age ago air all and any are arm art ask bad bag bar bed big bit box boy bus buy can car cat cup cut day did dog dry ear eat egg end eye far few fit fly for get got had has hat her him his hot how ice ill its job key kid law lay leg let lie lot low man map may men met new not now off oil old one our out own pay per put ran red rid run sat saw say sea see set she sit six sky son sun tax tea ten the tie top try two use war was way who why win yes yet you'.split(
    ' ',
  );

/**
 * A prompt of one word for each token, because English tokenizers turn such words into about one token each. Equal ids
 * at the same position give equal text. The words after the last id are drawn with the seed `own`.
 * @throws InputProblem for more than a request may have
 */
export function promptOf(
  ids: readonly number[],
  { tokens, blockTokens, own }: { tokens: number; blockTokens: number; own: number },
): string {
  if (tokens * TOKEN_BYTES > LIMITS.requestBodyBytes) throw new InputProblem('the prompt is too large');
  const words: string[] = [];
  for (let block = 0; words.length < tokens; block += 1) {
    const random = new SeededRandom(ids[block] ?? own);
    const end = ids[block] === undefined ? tokens : Math.min(tokens, (block + 1) * blockTokens);
    while (words.length < end) words.push(WORDS[random.nextUint32() % WORDS.length] as string);
  }
  return words.join(' ');
}
