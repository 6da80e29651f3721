import type { KeyedHash } from '../core/keyed-hash.ts';
import { SeededRandom } from '../core/random.ts';
import type { JsonObject } from './input.ts';

/** Tokens of a block in the traces that Mooncake published (FAST 2025). */
export const BLOCK_TOKENS = 512;
/** Bytes that count as a token. Blocks are cut by bytes, because only the server has its tokenizer. */
export const TOKEN_BYTES = 4;

/**
 * What a server turns into a prompt, in the order in which it stands there: tools, instructions, turns. A body whose
 * turns begin with those of another has a text that begins with the other's. Null for a body without a prompt.
 */
export function promptTextOf(body: JsonObject): string | null {
  const { tools, system, instructions, messages, prompt, input } = body;
  const turns = messages ?? prompt ?? input ?? null;
  if (turns === null) return null;
  return [tools, system, instructions, ...(Array.isArray(turns) ? turns : [turns])]
    .filter((part) => part !== undefined && part !== null)
    .map((part) => JSON.stringify(part))
    .join('\n');
}

/**
 * The `hash_ids` of a prompt: one for each block of its tokens, each a keyed hash of the text up to the end of its
 * block. So two prompts begin with as many equal ids as they share whole blocks. The last id stands for the whole
 * text, so that prompts are equal only where all their ids are.
 * @param tokens of the prompt, at least 1
 * @param model prompts of two models share nothing
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

/** 53 bits: every reader of JSON keeps them, and among ten million blocks two that collide are not likely. */
function idOf(digest: Buffer): number {
  return digest.readUInt32BE(0) * 2 ** 21 + (digest.readUInt32BE(4) >>> 11);
}

/** Words of three letters, so that a block has as many bytes as an export counts for it. */
const WORDS =
  'act add age ago air all and any are arm art ask bad bag bar bed big bit box boy bus buy can car cat cup cut day did dog dry ear eat egg end eye far few fit fly for get got had has hat her him his hot how ice ill its job key kid law lay leg let lie lot low man map may men met new not now off oil old one our out own pay per put ran red rid run sat saw say sea see set she sit six sky son sun tax tea ten the tie top try two use war was way who why win yes yet you'.split(
    ' ',
  );

/**
 * A prompt of so many words, which tokenizers of English turn into about as many tokens. Equal ids at the same place
 * give equal text; words behind the last id are drawn from `own`.
 */
export function promptOf(
  ids: readonly number[],
  { tokens, blockTokens, own }: { tokens: number; blockTokens: number; own: number },
): string {
  const words: string[] = [];
  for (let block = 0; words.length < tokens; block += 1) {
    const random = new SeededRandom(ids[block] ?? own);
    const end = ids[block] === undefined ? tokens : Math.min(tokens, (block + 1) * blockTokens);
    while (words.length < end) words.push(WORDS[random.nextUint32() % WORDS.length] as string);
  }
  return words.join(' ');
}
