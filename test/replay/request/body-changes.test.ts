import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ExchangeRow } from '../../../src/core/exchange.ts';
import { FACT_BYTES } from '../../../src/inference/features.ts';
import { BodyChanges, type PinMode } from '../../../src/replay/request/body-changes.ts';
import { withJsonMember } from '../../../src/replay/request/edit-json.ts';
import { exchangeRow } from '../../support/exchange-row.ts';

const ONE = '{"messages":[]}';
const CHAT = { route: 'POST /v1/chat/completions', outputTokens: 42, batch: 1 };

function changed(
  body: string,
  facts: Partial<ExchangeRow> = {},
  options: { pin?: PinMode; usage?: boolean; headers?: string[] } = {},
) {
  const changes = new BodyChanges({
    pinOutputLength: options.pin ?? null,
    requestUsage: options.usage ?? false,
  });
  const request = {
    method: 'POST',
    path: '/v1/chat/completions',
    headers: options.headers ?? [],
    body: Buffer.from(body),
    chunked: false,
  };
  const sent = changes.apply(exchangeRow({ ...CHAT, ...facts }), request);
  return { text: Buffer.from(sent.body ?? '').toString('utf8'), counts: changes.counts() };
}

describe('a pinned length', () => {
  it('is that of an import too, which does not say how the request ended', () => {
    expect(changed(ONE, { outcome: null }, { pin: 'limit' }).counts).toMatchObject({
      pinned: 1,
      unpinned: 0,
    });
    expect(changed(ONE, { outcome: 'client_aborted' }, { pin: 'limit' }).counts).toMatchObject({ pinned: 0 });
  });

  it.each<[string, string, PinMode, string]>([
    ['the older name', '{"max_tokens": 9 ,"prompt":"a"}', 'limit', '{"max_tokens": 42 ,"prompt":"a"}'],
    [
      'the newer name',
      '{"messages":[],"max_completion_tokens":null}',
      'limit',
      '{"messages":[],"max_completion_tokens":42}',
    ],
    ['no name', '{ "prompt":"\\u00e9 \\"" }', 'limit', '{"max_tokens":42, "prompt":"\\u00e9 \\"" }'],
    [
      "vLLM's fields",
      '{"max_tokens":9,"ignore_eos":false,"messages":[]}',
      'vllm',
      '{"min_tokens":42,"max_tokens":42,"ignore_eos":true,"messages":[]}',
    ],
    [
      'the name twice, of which servers take the last',
      '{"max_tokens":2,"messages":[],"max_tokens":9}',
      'limit',
      '{"max_tokens":42,"messages":[],"max_tokens":42}',
    ],
  ])('is set where the body has %s, every other byte as it was', (_, body, pin, expected) => {
    const { text, counts } = changed(body, {}, { pin });
    expect(text).toBe(expected);
    expect(counts).toMatchObject({ pinOutputLength: pin, pinned: 1, unpinned: 0 });
  });

  it.each<[string, Partial<ExchangeRow>, string, string[]]>([
    ['is not known', { outputTokens: null }, ONE, []],
    ['is that of an answer that broke off', { outcome: 'client_aborted' }, ONE, []],
    ['is of several answers together', { batch: 2 }, ONE, []],
    ['is of an unknown number of answers', { batch: null }, '{}', []],
    ['stands in a body that is no object', {}, '[]', []],
    ['stands in a body that is cut', {}, '{"messages":[]', []],
    ['stands in a compressed body', {}, ONE, ['Content-Encoding', 'gzip']],
  ])('is left alone and counted where it %s', (_, facts, body, headers) => {
    const { text, counts } = changed(body, facts, { pin: 'limit', headers });
    expect(text).toBe(body);
    expect(counts).toMatchObject({ pinned: 0, unpinned: 1 });
  });

  const long = 'x'.repeat(FACT_BYTES);
  it.each<[string, Partial<ExchangeRow>, string]>([
    [
      'a list of prompts that the recorder did not see the end of',
      { batch: null },
      `{"prompt":["${long}","b"]}`,
    ],
    ['lists of tokens', { batch: null }, '{"prompt":[[1,2],[3]]}'],
    ['an n behind what the recorder read', { batch: 1 }, `{"messages":["${long}"],"n":4}`],
    ['an n that is said twice', { batch: 1 }, '{"messages":[],"n":1,"n":4}'],
    ['an n that is no number', { batch: 1 }, '{"messages":[],"n":"4"}'],
    ['a best of several', { batch: 1 }, '{"prompt":"a","best_of":4}'],
  ])('is not that of each answer where the body has %s', (_, facts, body) => {
    const { text, counts } = changed(body, facts, { pin: 'vllm' });
    expect(text === body).toBe(true);
    expect(counts).toMatchObject({ pinned: 0, unpinned: 1 });
  });

  it.each([
    ['one prompt in a list', `{"prompt":["${long}"]}`],
    ['one list of tokens', '{"prompt":[1,2]}'],
    ['an n of one', '{"messages":[],"n":1}'],
    ['no n', '{"messages":[],"n":null,"best_of":null}'],
  ])('is set where a body that the recorder did not understand has %s', (_, body) => {
    expect(changed(body, { batch: null }, { pin: 'limit' }).counts).toMatchObject({ pinned: 1, unpinned: 0 });
  });

  it('is no matter of other requests', () => {
    const { text, counts } = changed('{}', { route: 'POST /v1/embeddings' }, { pin: 'limit', usage: true });
    expect(text).toBe('{}');
    expect(counts).toMatchObject({ pinned: 0, unpinned: 0, usageRequested: 0 });
  });
});

describe('counts of tokens', () => {
  it.each([
    ['{"stream":true}', '{"stream_options":{"include_usage":true},"stream":true}', 1],
    [
      '{"stream":true,"stream_options":{"a":1}}',
      '{"stream":true,"stream_options":{"include_usage":true,"a":1}}',
      1,
    ],
    ['{"stream":true,"stream_options":null}', '{"stream":true,"stream_options":{"include_usage":true}}', 1],
    ['{"stream":true,"stream_options":{"include_usage":true}}', '', 0],
    ['{"stream":false}', '', 0],
  ])('are asked for in %s', (body, expected, asked) => {
    const { text, counts } = changed(body, {}, { usage: true });
    expect(text).toBe(expected === '' ? body : expected);
    expect(counts.usageRequested).toBe(asked);
  });
});

describe('withJsonMember', () => {
  it('sets a member and leaves every other as it was, whatever they are', () => {
    const object = fc.dictionary(
      fc.string().filter((key) => key !== '__proto__'),
      fc.jsonValue(),
      { maxKeys: 6 },
    );
    const name = fc.constantFrom('max_tokens', 'n', 'stream');
    fc.assert(
      fc.property(
        object,
        name,
        fc.boolean(),
        fc.nat(),
        fc.constantFrom(0, 2),
        (value, key, has, count, indent) => {
          const before = has ? { ...value, [key]: { deep: [1, '}'] } } : value;
          const text = JSON.stringify(before, null, indent);
          const after = withJsonMember(Buffer.from(text), [key], String(count));
          // Held against what the text says: JSON.stringify writes -0 as 0.
          const expected = { ...(JSON.parse(text) as object), [key]: count };
          expect(JSON.parse(after?.toString('utf8') ?? 'null')).toEqual(expected);
        },
      ),
    );
  });
});
