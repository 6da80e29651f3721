import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ExchangeRow } from '../../src/core/exchange.ts';
import { BodyChanges, type PinMode } from '../../src/replay/body-changes.ts';
import { withJsonMember } from '../../src/replay/json-members.ts';
import { exchangeRow } from '../support/exchange-row.ts';

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
  it.each<[string, string, PinMode, string]>([
    ['the older name', '{"max_tokens": 9 ,"a":1}', 'limit', '{"max_tokens": 42 ,"a":1}'],
    ['the newer name', '{"max_completion_tokens":null}', 'limit', '{"max_completion_tokens":42}'],
    ['no name', '{ "a":"\\u00e9 \\"" }', 'limit', '{"max_tokens":42, "a":"\\u00e9 \\"" }'],
    ['nothing at all', '{ }', 'limit', '{"max_tokens":42 }'],
    [
      "vLLM's fields",
      '{"max_tokens":9,"ignore_eos":false}',
      'vllm',
      '{"min_tokens":42,"max_tokens":42,"ignore_eos":true}',
    ],
  ])('is set where the body has %s, every other byte as it was', (_, body, pin, expected) => {
    const { text, counts } = changed(body, {}, { pin });
    expect(text).toBe(expected);
    expect(counts).toMatchObject({ pinOutputLength: pin, pinned: 1, unpinned: 0 });
  });

  it.each<[string, Partial<ExchangeRow>, string, string[]]>([
    ['is not known', { outputTokens: null }, '{}', []],
    ['is that of an answer that broke off', { outcome: 'client_aborted' }, '{}', []],
    ['is of several answers together', { batch: 2 }, '{}', []],
    ['stands in a body that is no object', {}, '[]', []],
    ['stands in a body that is cut', {}, '{"a":1', []],
    ['stands in a compressed body', {}, '{}', ['Content-Encoding', 'gzip']],
  ])('is left alone and counted where it %s', (_, facts, body, headers) => {
    const { text, counts } = changed(body, facts, { pin: 'limit', headers });
    expect(text).toBe(body);
    expect(counts).toMatchObject({ pinned: 0, unpinned: 1 });
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
