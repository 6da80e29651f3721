import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { withOwnPrompt } from '../../../src/replay/request/copy-prompt.ts';
import { repeated } from '../../support/long-form.ts';

type Body = Readonly<Record<string, unknown>>;
const SYSTEM = 'You answer the questions of customers about their orders, briefly and politely.';

function own(body: Body | string, copy: number): string | null {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return withOwnPrompt(Buffer.from(text), copy)?.toString() ?? null;
}

function changed(body: Body, copy = 1): Body {
  const text = own(body, copy);
  if (text === null) throw new Error('not changed');
  return JSON.parse(text) as Body;
}

const sorted = (text: string) => text.split(' ').sort().join(' ');

/** ASCII alone, as Python's JSON is. */
function escaped(text: string): string {
  return text.replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

describe('a prompt of its own', () => {
  it.each<[string, Body, (body: Body) => unknown]>([
    [
      'messages',
      { messages: [{ role: 'system', content: SYSTEM }] },
      (b) => (b['messages'] as { content: string }[])[0]?.content,
    ],
    [
      'parts of a message',
      {
        messages: [
          {
            content: [
              { type: 'image_url', image_url: { url: 'a b c d' } },
              { type: 'text', text: SYSTEM },
            ],
          },
        ],
      },
      (b) => JSON.stringify(b).match(/You[^"]+/)?.[0],
    ],
    [
      'Anthropic',
      { system: [{ type: 'text', text: SYSTEM }], messages: [] },
      (b) => (b['system'] as { text: string }[])[0]?.text,
    ],
    ['responses', { instructions: SYSTEM, input: 'hi' }, (b) => b['instructions']],
    ['completions', { prompt: SYSTEM, max_tokens: 4 }, (b) => b['prompt']],
    [
      'tools',
      { tools: [{ type: 'function', function: { name: 'f', description: SYSTEM } }], messages: [] },
      (b) => JSON.stringify(b).match(/You[^"]+/)?.[0],
    ],
    [
      'a short message before',
      { messages: [{ content: 'Hi' }, { content: SYSTEM }] },
      (b) => (b['messages'] as { content: string }[])[1]?.content,
    ],
  ])('has its first words in another order: %s', (_, body, textOf) => {
    const text = String(textOf(changed(body)));
    expect(text).not.toBe(SYSTEM);
    expect(sorted(text)).toBe(sorted(SYSTEM));
    // The first word stays, as tokenizers take it without a space, and the second differs.
    expect(text.split(' ')[0]).toBe('You');
    expect(text.split(' ')[1]).not.toBe('answer');
  });

  it('changes each prompt of a list, and lists of tokens', () => {
    const { prompt } = changed({ prompt: [SYSTEM, `${SYSTEM} Now.`] });
    for (const each of prompt as string[]) expect(each.startsWith('You answer')).toBe(false);
    const tokens = changed({ prompt: [1, 22, 333, 4444, 5] })['prompt'] as number[];
    expect(tokens).not.toEqual([1, 22, 333, 4444, 5]);
    expect([...tokens].sort((a, b) => a - b)).toEqual([1, 5, 22, 333, 4444]);
  });

  it('is the same for the same beginning, so that turns and sessions of a copy share what their originals share', () => {
    const turn = (more: object[]) => ({ messages: [{ role: 'system', content: SYSTEM }, ...more] });
    const [first, second] = [turn([]), turn([{ role: 'user', content: 'and then?' }])].map((each) =>
      own(each, 3),
    );
    expect(second?.startsWith((first ?? '').slice(0, -2))).toBe(true);
  });

  it('is another one for each copy, a thousand of them', () => {
    const bodies = new Set(Array.from({ length: 1_001 }, (_, copy) => own({ prompt: SYSTEM }, copy)));
    expect(bodies.size).toBe(1_001);
  });

  it('keeps length, characters and form, whatever the text and however it is written', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme', maxLength: 60 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 50 }),
        (content, isAscii, copy) => {
          const plain = JSON.stringify({ model: 'm', messages: [{ role: 'user', content }], n: 1 });
          const body = isAscii ? escaped(plain) : plain;
          const text = own(body, copy);
          if (text === null) return;
          expect(Buffer.byteLength(text)).toBe(Buffer.byteLength(body));
          const parsed = JSON.parse(text) as { messages: { role: string; content: string }[] };
          const made = parsed.messages[0]?.content ?? '';
          expect(made).not.toBe(content);
          expect([...made].sort()).toEqual([...content].sort());
          expect({ ...parsed, messages: [{ role: 'user', content }] }).toEqual(JSON.parse(plain));
        },
      ),
      { numRuns: repeated(200, 1_000) },
    );
  });

  it('is found in a text without spaces, and in a long one', () => {
    const chinese = '请简短而礼貌地回答客户关于订单的问题'.repeat(100);
    for (const form of [(text: string) => text, escaped]) {
      const text = own(form(JSON.stringify({ prompt: chinese })), 2);
      const { prompt } = JSON.parse(text ?? '{}') as { prompt: string };
      expect([...prompt].sort().join('')).toBe([...chinese].sort().join(''));
      expect(prompt.slice(20)).toBe(chinese.slice(20));
      expect(prompt).not.toBe(chinese);
    }
  });

  it.each<[string, Body | string]>([
    ['without a prompt', { model: 'm' }],
    ['of one word', { prompt: 'Hello' }],
    ['of equal words', { prompt: 'no no no no no no' }],
    ['that is masked', { prompt: 'x'.repeat(400) }],
    ['that is cut', '{"messages":[{"content":"You answer the quest'],
    ['that is no JSON', 'You answer the questions of customers'],
    ['that is nested too deep', { messages: [[[[[[[[{ content: SYSTEM }]]]]]]]] }],
    ['that is empty', ''],
  ])('is not made of a body %s', (_, body) => {
    expect(own(body, 1)).toBeNull();
  });
});
