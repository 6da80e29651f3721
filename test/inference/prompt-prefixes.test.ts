import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import { promptOf } from '../../src/formats/prompt-blocks.ts';
import { PromptPrefixes, promptTextOf, TOKEN_BYTES } from '../../src/inference/prompt-prefixes.ts';
import { repeated } from '../support/long-form.ts';
import { missing, sharedData } from '../support/shared-data.ts';

const MOONCAKE = 'mooncake-synthetic/synthetic_trace.jsonl.gz';
const ARENA = 'arena-hard-prompts/chat_completions.jsonl.gz';

/** Tokens of 4 bytes, as few different ones as make prompts part in all places. */
const token = fc.constantFrom('aaa ', 'bbb ', 'ccc ');
const prompts = fc.array(fc.array(token, { minLength: 1, maxLength: 90 }), { minLength: 1, maxLength: 30 });
/** Prompts of which many begin as an earlier one. */
const conversations = fc
  .array(fc.tuple(fc.nat(), fc.nat(90), fc.array(token, { minLength: 1, maxLength: 60 })), {
    minLength: 1,
    maxLength: 40,
  })
  .map((turns) => {
    const made: string[][] = [];
    for (const [from, length, more] of turns)
      made.push([...(made[from % (made.length + 1)] ?? []).slice(0, length), ...more]);
    return made;
  });

function commonLength(a: readonly string[], b: readonly string[]): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a[length] === b[length]) length += 1;
  return length;
}

function longestOf(prompt: readonly string[], earlier: readonly (readonly string[])[]): number {
  return Math.max(0, ...earlier.map((each) => commonLength(prompt, each)));
}

function boundsOf(all: readonly (readonly string[])[]): number[] {
  const prefixes = new PromptPrefixes();
  return all.map((prompt) => prefixes.add('m', Buffer.from(prompt.join(''))) ?? Number.NaN);
}

function shareOf(parts: readonly (readonly [reused: number, tokens: number])[]): number {
  const [reused, tokens] = [0, 1].map((side) => parts.reduce((sum, part) => sum + part[side as 0 | 1], 0));
  return (reused ?? 0) / (tokens ?? 1);
}

describe('prefixes of prompts', () => {
  it('bound the hits of every cache, with any block size, any room and any order of eviction', () => {
    fc.assert(
      fc.property(
        fc.oneof(prompts, conversations),
        fc.integer({ min: 1, max: 40 }),
        fc.nat(8),
        fc.array(fc.nat(), { minLength: 40, maxLength: 40 }),
        (all, block, room, evicted) => {
          const bounds = boundsOf(all);
          const cached: (readonly string[])[] = [];
          for (const [index, prompt] of all.entries()) {
            const hits = Math.floor(longestOf(prompt, cached) / block) * block;
            expect(bounds[index]).toBeGreaterThanOrEqual(hits);
            expect(bounds[index]).toBeLessThanOrEqual(prompt.length);
            cached.push(prompt);
            if (cached.length > room) cached.splice((evicted[index] ?? 0) % cached.length, 1);
          }
        },
      ),
      { numRuns: repeated(80, 400) },
    );
  });

  it('are exact where prompts part at once or at the end of one, and else at most 15 tokens too long', () => {
    fc.assert(
      fc.property(fc.oneof(prompts, conversations), (all) => {
        for (const [index, bound] of boundsOf(all).entries()) {
          const exact = longestOf(all[index]!, all.slice(0, index));
          expect(bound - exact).toBeGreaterThanOrEqual(0);
          expect(bound - exact).toBeLessThan(16);
          if (exact === 0) expect(bound).toBe(0);
        }
      }),
      { numRuns: repeated(40, 200) },
    );
  });

  it('of different models share nothing, and end at the limit of their number', () => {
    const prefixes = new PromptPrefixes();
    const text = Buffer.from('word '.repeat(40));
    expect([prefixes.add('m', text), prefixes.add('n', text), prefixes.add('m', text)]).toEqual([0, 0, 50]);
    const long = Buffer.alloc(LIMITS.promptPrefixes * 16 * TOKEN_BYTES, 'w');
    expect(prefixes.add('m', long)).toBeNull();
    expect(prefixes.isFull).toBe(true);
    expect(prefixes.add('m', text)).toBeNull();
  });

  it('of a public trace with hash_ids give the share that comparing all ids gives, within a point', ({
    skip,
  }) => {
    const path = sharedData(MOONCAKE);
    if (path === null) return skip(missing(MOONCAKE));
    const lines = gunzipSync(readFileSync(path)).toString().trim().split('\n').slice(0, 500);
    const rows = lines.map((line) => JSON.parse(line) as { input_length: number; hash_ids: number[] });
    const seen = new Set<string>();
    const prefixes = new PromptPrefixes();
    const parts = rows.map(({ input_length: tokens, hash_ids: ids }, own) => {
      // The last block of a row may be a part; ids of whole rows are compared by their chain.
      let shared = 0;
      for (let end = 1; end <= ids.length; end += 1) {
        const chain = ids.slice(0, end).join();
        if (seen.has(chain) && shared === end - 1) shared = end;
        seen.add(chain);
      }
      const text = promptOf(ids, { tokens, blockTokens: 512, own: 2 ** 52 + own });
      const known = prefixes.add('m', Buffer.from(text)) ?? Number.NaN;
      return { exact: [Math.min(tokens, shared * 512), tokens], bound: [known, tokens] } as const;
    });
    const [exact, bound] = [
      shareOf(parts.map((each) => each.exact)),
      shareOf(parts.map((each) => each.bound)),
    ];
    expect(exact).toBeGreaterThan(0.05);
    expect(bound).toBeGreaterThanOrEqual(exact - 1e-4);
    expect(bound - exact).toBeLessThan(0.01);
  });

  it('of public chats in two turns give the share that comparing all pairs gives, within a point', ({
    skip,
  }) => {
    const path = sharedData(ARENA);
    if (path === null) return skip(missing(ARENA));
    const lines = gunzipSync(readFileSync(path)).toString().trim().split('\n').slice(0, 200);
    const chats = lines.map((line) => JSON.parse(line) as { messages: object[] });
    const turns = [
      ...chats,
      ...chats.map((chat, at) => ({ messages: [...chat.messages, chats[at - 1] ?? chat] })),
    ];
    const texts = turns.map((each) => Buffer.from(promptTextOf(each) ?? ''));
    const prefixes = new PromptPrefixes();
    const parts = texts.map((text, index) => {
      let longest = 0;
      for (const other of texts.slice(0, index)) {
        let length = longest;
        if (!text.subarray(0, length).equals(other.subarray(0, length))) continue;
        while (length < text.length && text[length] === other[length]) length += 1;
        longest = length;
      }
      const tokens = Math.ceil(text.length / TOKEN_BYTES);
      const known = prefixes.add('m', text) ?? Number.NaN;
      return { exact: [longest / TOKEN_BYTES, tokens], bound: [known, tokens] } as const;
    });
    const [exact, bound] = [
      shareOf(parts.map((each) => each.exact)),
      shareOf(parts.map((each) => each.bound)),
    ];
    expect(exact).toBeGreaterThan(0.2);
    expect(Math.abs(bound - exact)).toBeLessThan(0.01);
  });
});
