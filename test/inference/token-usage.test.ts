import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { usageIn } from '../../src/inference/token-usage.ts';

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

describe('the tokens an answer says it took', () => {
  it.each<[string, unknown, number | null, number | null]>([
    [
      'OpenAI, with details inside',
      {
        choices: [{ message: { content: 'the "usage": {"prompt_tokens": 9}' } }],
        usage: { prompt_tokens: 12, completion_tokens: 34, prompt_tokens_details: { cached_tokens: 5 } },
      },
      12,
      34,
    ],
    ['responses', { output: [], usage: { input_tokens: 1, output_tokens: 2 }, user: null }, 1, 2],
    ['embeddings', { data: [[0.1]], usage: { prompt_tokens: 8, total_tokens: 8 } }, 8, null],
    [
      'Anthropic, whose prompt is partly cached',
      {
        usage: {
          input_tokens: 10,
          cache_read_input_tokens: 100,
          cache_creation_input_tokens: 7,
          output_tokens: 3,
        },
      },
      117,
      3,
    ],
    [
      'somebody who counts the cached in the prompt, and says them as Anthropic does',
      {
        usage: {
          prompt_tokens: 1_000,
          completion_tokens: 5,
          total_tokens: 1_005,
          cache_creation_input_tokens: 0,
          cache_read_input_tokens: 900,
        },
      },
      1_000,
      5,
    ],
    [
      'Anthropic’s start, which has but a placeholder for what is to come',
      { type: 'message_start', message: { usage: { input_tokens: 25, output_tokens: 1 } } },
      25,
      null,
    ],
    ['Ollama', { done: true, prompt_eval_count: 26, eval_count: 298 }, 26, 298],
    ['TGI', { generated_text: 'x', details: { generated_tokens: 20, input_length: 4, prefill: [] } }, 4, 20],
    ['Gemini', { usageMetadata: { promptTokenCount: 4, candidatesTokenCount: 6 } }, 4, 6],
    ['llama.cpp', { tokens_predicted: 7, tokens_evaluated: 5, timings: {} }, 5, 7],
    ['nobody', { a: 1 }, null, null],
    ['counts that are none', { usage: { prompt_tokens: -1, completion_tokens: '3' } }, null, null],
    ['a usage that is null', { usage: null }, null, null],
  ])('by %s', (_, body, promptTokens, outputTokens) => {
    expect(usageIn(json(body))).toMatchObject({ promptTokens, outputTokens });
  });

  it.each<[string, object, number | null]>([
    ['chats', { prompt_tokens: 12, prompt_tokens_details: { cached_tokens: 5 } }, 5],
    ['chats without a hit', { prompt_tokens: 12, prompt_tokens_details: { cached_tokens: 0 } }, 0],
    ['responses', { input_tokens: 9, input_tokens_details: { cached_tokens: 8 } }, 8],
    ['Anthropic', { input_tokens: 9, cache_read_input_tokens: 100, cache_creation_input_tokens: 7 }, 100],
    ['DeepSeek', { prompt_tokens: 12, prompt_cache_hit_tokens: 4 }, 4],
    ['servers that report none', { prompt_tokens: 12, prompt_tokens_details: null }, null],
    [
      'servers that report nonsense',
      { prompt_tokens: 12, prompt_tokens_details: { cached_tokens: '5' } },
      null,
    ],
  ])('include those from the cache, by %s', (_, usage, cachedTokens) => {
    expect(usageIn(json({ usage }))).toMatchObject({ cachedTokens });
  });

  it('are those said last, in a piece that begins anywhere', () => {
    const events = [1, 2, 3].map(
      (count) => `data: ${JSON.stringify({ usage: { prompt_tokens: 5, completion_tokens: count } })}\n\n`,
    );
    const stream = `${events.join('')}data: {"choices":[],"usage":null}\n\ndata: [DONE]\n\n`;
    for (let from = 0; from < (events[0]?.length ?? 0); from += 1)
      expect(usageIn(Buffer.from(stream.slice(from)))).toMatchObject({ promptTokens: 5, outputTokens: 3 });
  });

  it('are never read out of a text', () => {
    fc.assert(
      fc.property(fc.nat(1_000), fc.nat(40), (count, from) => {
        const content = JSON.stringify({ usage: { completion_tokens: count }, eval_count: count });
        const piece = json({ message: { content: JSON.stringify(content) + content } }).subarray(from);
        expect(usageIn(piece)).toEqual({ promptTokens: null, cachedTokens: null, outputTokens: null });
      }),
    );
  });
});
