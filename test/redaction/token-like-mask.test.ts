import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { bodyRedaction, cover } from '../support/body-redaction.ts';
import { missing, sharedData } from '../support/shared-data.ts';

/** What a byte-pair tokenizer cuts before it looks anything up: words with their blank, digits by three, marks. */
const PIECES = / ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+/gu;
/** A common word is one token, a rare one more; a run of the same sign is sixteen to a token. */
const LETTERS_PER_TOKEN = 9;
const STARS_PER_TOKEN = 16;

function weightOf(text: string): number {
  return (text.match(PIECES) ?? []).reduce((sum, piece) => {
    const repeated = /^ ?(.)\1{3,}$/.test(piece);
    return sum + Math.ceil(piece.length / (repeated ? STARS_PER_TOKEN : LETTERS_PER_TOKEN));
  }, 0);
}

interface ChatBody {
  readonly messages: readonly { readonly content: string }[];
}

const contentOf = (body: string) => (JSON.parse(body) as ChatBody).messages[0]?.content ?? '';

const PROMPTS = 'arena-hard-prompts/chat_completions.jsonl.gz';

describe('the words of a mask', () => {
  it('weigh about what real prompts weigh, each and together', (context) => {
    const path = sharedData(PROMPTS);
    if (path === null) context.skip(missing(PROMPTS));
    const bodies = gunzipSync(readFileSync(path as string))
      .toString('utf8')
      .trim()
      .split('\n');
    const redaction = bodyRedaction([], ['chat']);
    const weights = bodies.slice(0, 200).map((body) => {
      const { text, dropped } = cover(redaction, body);
      expect(dropped).toBeNull();
      expect(Buffer.byteLength(text)).toBe(Buffer.byteLength(body));
      const content = contentOf(body);
      return {
        plain: weightOf(content),
        masked: weightOf(contentOf(text)),
        stars: weightOf('*'.repeat(content.length)),
      };
    });
    const sum = (pick: (weight: (typeof weights)[0]) => number) =>
      weights.reduce((all, each) => all + pick(each), 0);
    const ratio = sum(({ masked }) => masked) / sum(({ plain }) => plain);
    expect(ratio).toBeGreaterThan(0.9);
    expect(ratio).toBeLessThan(1.15);
    const near = weights.filter(({ plain, masked }) => masked > 0.7 * plain && masked < 1.45 * plain);
    expect(near.length).toBeGreaterThan(190);
    // The measure itself tells a mask of stars from text.
    expect(sum(({ stars }) => stars)).toBeLessThan(0.35 * sum(({ plain }) => plain));
  });

  it.each([
    ['prose', 'Please tell me how the tide works, and why it comes twice a day. '.repeat(20)],
    ['code', 'for (let i = 0; i < n; i++) { out[i] = f(a[i], b[i]) ?? null; }\n'.repeat(20)],
    ['ideographs', '今天天气很好，我们去公园玩吧。'.repeat(20)],
  ])('follow the weight of %s', (_, content) => {
    const { text } = cover(bodyRedaction(['/a=mask']), JSON.stringify({ a: content }));
    const masked = (JSON.parse(text) as { a: string }).a;
    const plain = /\p{Script=Han}/u.test(content) ? 0.8 * content.length : weightOf(content);
    expect(weightOf(masked) / plain).toBeGreaterThan(0.75);
    expect(weightOf(masked) / plain).toBeLessThan(1.33);
  });

  it('differ between bodies from their first words on, so that no prefix is shared that was not', () => {
    const redaction = bodyRedaction(['/a=mask']);
    const beginnings = Array.from({ length: 100 }, (_, index) => {
      const body = JSON.stringify({ a: `question ${index}: what is the answer to everything there is?` });
      return cover(redaction, body).text.slice(6, 30);
    });
    expect(new Set(beginnings).size).toBeGreaterThan(90);
  });
});
