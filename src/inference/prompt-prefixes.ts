import { LIMITS } from '../core/limits.ts';

/** Bytes that count as a token, where a server's tokenizer is not known. */
export const TOKEN_BYTES = 4;

/**
 * The text that a server builds a prompt from, in the order of the prompt: tools, instructions, turns. If the turns of
 * one body are the first turns of another, its text is a prefix of the other's. Null for a body without a prompt.
 */
export function promptTextOf(body: Readonly<Record<string, unknown>>): string | null {
  const { tools, system, instructions, messages, prompt, input } = body;
  const turns = messages ?? prompt ?? input ?? null;
  if (turns === null) return null;
  return [tools, system, instructions, ...(Array.isArray(turns) ? turns : [turns])]
    .filter((part) => part !== undefined && part !== null)
    .map((part) => JSON.stringify(part))
    .join('\n');
}

/** Tokens of a block. Only ends of blocks are remembered, except where prompts begin to differ. */
const BLOCK = 16;
const FIRST_SLOTS = 4_096;
/** Set in the low word of every remembered prefix, so that no slot in use is 0. */
const USED = 2;
/** Set in the low word of a prefix if blocks after it are remembered only by their ends. */
const COARSE = 1;

/**
 * Prompts by their prefixes, as hashes of 62 bits. Shows how much of a prompt an earlier one begins with: all that a
 * server could have in a cache without a limit. Memory is bounded.
 */
export class PromptPrefixes {
  #high = new Uint32Array(FIRST_SLOTS);
  #low = new Uint32Array(FIRST_SLOTS);
  #used = 0;
  /** True once a prompt found no room. Then nothing is known of it and of later ones. */
  isFull = false;
  /** Hashes of the prefixes that end in the current block, by token. */
  readonly #blockHigh = new Uint32Array(BLOCK);
  readonly #blockLow = new Uint32Array(BLOCK);

  /**
   * Adds a prompt.
   * @param owner prompts of different owners, such as models, share nothing
   * @returns how many of its tokens, of `TOKEN_BYTES`, an earlier prompt begins with: exact, or up to `BLOCK` - 1 too many
   *   where prompts part inside a block that only its end is remembered of. Null if there is no more room.
   */
  add(owner: string, text: Uint8Array): number | null {
    const tokens = Math.ceil(text.length / TOKEN_BYTES);
    const room = LIMITS.promptPrefixes - this.#used;
    this.isFull ||= room < 2 * BLOCK + tokens / BLOCK;
    if (this.isFull) return null;
    const state = seeded(owner);
    let before = -1;
    let at = 0;
    for (; at < tokens; at += BLOCK) {
      const size = this.#readBlock(text, at, state);
      const slot = this.#slotOf(size - 1);
      if (this.#low[slot] === 0) break;
      before = slot;
    }
    if (at >= tokens) return tokens;
    const size = Math.min(BLOCK, tokens - at);
    const isCoarse = before >= 0 && (this.#low[before]! & COARSE) !== 0;
    const known = at + (isCoarse ? size - (size === BLOCK ? 1 : 0) : this.#knownOf(size));
    this.#rememberFrom(text, at, tokens, state);
    return known;
  }

  /** Remembers all prefixes in the current block and in the last one, and the ends of the blocks between. */
  #rememberFrom(text: Uint8Array, from: number, tokens: number, state: State): void {
    this.#rememberAll(Math.min(BLOCK, tokens - from));
    for (let at = from + BLOCK; at < tokens; at += BLOCK) {
      const before = [this.#blockHigh[BLOCK - 1]!, this.#blockLow[BLOCK - 1]!] as const;
      const size = this.#readBlock(text, at, state);
      const isLast = at + BLOCK >= tokens;
      if (isLast) this.#rememberAll(size);
      else {
        this.#low[this.#find(...before)]! |= COARSE;
        this.#remember(BLOCK - 1);
      }
    }
  }

  /** Hashes the tokens of the block at `at`. @returns how many it has */
  #readBlock(text: Uint8Array, at: number, state: State): number {
    let size = 0;
    for (let byte = at * TOKEN_BYTES; size < BLOCK && byte < text.length; byte += TOKEN_BYTES) {
      // Beyond the end of the text its length is hashed, so that a shorter text is no prefix in the middle of a token.
      const isWhole = byte + TOKEN_BYTES <= text.length;
      let word = isWhole ? 0 : text.length << 24;
      for (let each = Math.min(TOKEN_BYTES, text.length - byte) - 1; each >= 0; each -= 1)
        word ^= text[byte + each]! << (8 * each);
      advance(state, word);
      this.#blockHigh[size] = state.high;
      this.#blockLow[size] = (state.low & ~COARSE) | USED;
      size += 1;
    }
    return size;
  }

  #knownOf(size: number): number {
    let known = 0;
    while (known < size && this.#low[this.#slotOf(known)] !== 0) known += 1;
    return known;
  }

  #rememberAll(size: number): void {
    for (let index = 0; index < size; index += 1) this.#remember(index);
  }

  #remember(index: number): void {
    const slot = this.#slotOf(index);
    if (this.#low[slot] !== 0) return;
    this.#high[slot] = this.#blockHigh[index]!;
    this.#low[slot] = this.#blockLow[index]!;
    this.#used += 1;
    if (this.#used * 4 > this.#low.length * 3) this.#grow();
  }

  #slotOf(index: number): number {
    return this.#find(this.#blockHigh[index]!, this.#blockLow[index]!);
  }

  /** The slot of a prefix, or the free one where it belongs. */
  #find(high: number, low: number): number {
    const mask = this.#low.length - 1;
    let slot = high & mask;
    while (this.#low[slot] !== 0) {
      if (this.#high[slot] === high && (this.#low[slot]! & ~COARSE) >>> 0 === low) break;
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #grow(): void {
    const [high, low] = [this.#high, this.#low];
    this.#high = new Uint32Array(high.length * 2);
    this.#low = new Uint32Array(low.length * 2);
    for (const [index, each] of low.entries()) {
      if (each === 0) continue;
      const slot = this.#find(high[index]!, (each & ~COARSE) >>> 0);
      this.#high[slot] = high[index]!;
      this.#low[slot] = each;
    }
  }
}

/** A hash of everything read so far, in two words. */
interface State {
  high: number;
  low: number;
}

function seeded(owner: string): State {
  const state = { high: 0x9e3779b9, low: 0x7feb352d };
  for (let at = 0; at < owner.length; at += 1) advance(state, owner.charCodeAt(at));
  return state;
}

function advance(state: State, word: number): void {
  const high = Math.imul(state.high ^ word, 0x85ebca6b);
  const low = Math.imul(state.low ^ word ^ (high >>> 13), 0xc2b2ae35);
  state.high = high ^ (high >>> 15) ^ (low >>> 7);
  state.low = low ^ (low >>> 16);
}
