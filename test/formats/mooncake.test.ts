import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { byProgram, resolveOptions, type StatedOptions } from '../../src/core/options.ts';
import { MOONCAKE_OPTIONS, openMooncake } from '../../src/formats/mooncake.ts';
import { sharedData } from '../support/shared-data.ts';
import { BOM, latin1, readImport, traceFile } from './support.ts';

type Flags = StatedOptions<typeof MOONCAKE_OPTIONS>;
const readingOf = (flags: Flags) => resolveOptions(MOONCAKE_OPTIONS, byProgram(MOONCAKE_OPTIONS, flags));

describe('a Mooncake trace', () => {
  const reading = (flags: Flags = {}) => readingOf({ requestPath: '/v1/chat/completions', ...flags });

  test('with payloads becomes requests, byte for byte', async () => {
    const payload = '{"model": "m", "n": 12345678901234567890, "x": 1.10}';
    const lines = `{"timestamp": 0.5, "payload": ${payload}, "session_id": "s"}\n{"payload": ${payload}}\n`;
    const { exchanges, source } = await readImport(
      openMooncake(traceFile(lines, 'a.jsonl'), reading({ gap: '100ms' })),
    );
    expect(exchanges.map(({ arrivalUs }) => arrivalUs)).toEqual([500, 100_500]);
    expect(latin1(exchanges[0]?.request?.body.kept ?? null)).toBe(payload);
    expect(exchanges[0]).toMatchObject({ model: 'm', route: 'POST /v1/chat/completions' });
    expect(exchanges[0]?.session).not.toBeNull();
    expect(source.parts.requests).toBe(true);
    expect(source.lacking).toEqual({ 'no time: 100 ms after the row before': 1 });
  });

  test('of lengths becomes arrivals with tokens', async (context) => {
    const path = sharedData('mooncake-synthetic/synthetic_trace.jsonl.gz');
    if (path === null) return context.skip('data/mooncake-synthetic is not here');
    const { exchanges, source } = await readImport(openMooncake(path, reading({ origin: '2026-01-01' })));
    expect(exchanges).toHaveLength(3_993);
    expect(exchanges[0]).toMatchObject({ promptTokens: 40_160, outputTokens: 6, request: null });
    expect(source.parts.requests).toBe(false);
    expect(source.parts.missing).toContain('requests');
  });

  test('of messages becomes a body made of them, which is counted', async () => {
    const row = '{"timestamp": 1, "messages": [{"role": "user", "content": "hi"}], "output_length": 3}';
    const { exchanges, source } = await readImport(openMooncake(traceFile(row, 'a.jsonl'), reading()));
    expect(JSON.parse(latin1(exchanges[0]?.request?.body.kept ?? null))).toEqual({
      messages: [{ role: 'user', content: 'hi' }],
      max_tokens: 3,
    });
    expect(Object.values(source.lacking)).toEqual([1]);
  });

  test.each([
    ['an empty file', '', /the file is empty/],
    ['blank lines alone', '\n\n', /holds no row/],
    ['no JSON', '{"timestamp": 1', /line 1: not JSON/],
    ['a row without a request', '{"timestamp": 1}', /no request/],
    ['a row with two', '{"payload": {}, "text_input": "x"}', /both payload and text_input/],
    [
      'rows of two kinds',
      '{"timestamp": 1, "input_length": 1}\n{"timestamp": 1, "payload": {"a": 1}}',
      /line 2: one file has both rows/,
    ],
    ['a row without a time', '{"payload": {"a": 1}}', /line 1: no timestamp/],
    ['a time below zero', '{"timestamp": -1, "input_length": 1}', /line 1: .*below zero/],
    [
      'JSON deeper than a stack',
      `{"timestamp": 1, "text_input": ${'['.repeat(50_000)}${']'.repeat(50_000)}}`,
      /line 1: the JSON is nested too deeply/,
    ],
    ['a file cut in a line', '{"timestamp": 1, "input_length": 1}\n{"timesta', /line 2: not JSON/],
    ['a gzip cut short', gzipSync('{"timestamp": 1, "input_length": 1}').subarray(0, -5), /gzip/],
  ])('refuses %s with the line', async (_, content, reason) => {
    await expect(readImport(openMooncake(traceFile(content, 'a.jsonl'), reading()))).rejects.toThrow(reason);
  });

  test('with payloads has no prompts to build', async () => {
    const row = '{"timestamp": 1, "payload": {"a": 1}}';
    const open = openMooncake(traceFile(row, 'a.jsonl'), reading({ buildPrompts: 'm' }));
    await expect(readImport(open)).rejects.toThrow(/its rows have requests/);
  });

  test('takes timestamps and lengths that are texts, and counts lengths that are none', async () => {
    const lines = [
      '{"timestamp": "0", "input_length": "12"}',
      '{"timestamp": "5000", "input_length": -5, "output_length": 1.5}',
    ].join('\n');
    const { exchanges, source } = await readImport(
      openMooncake(traceFile(lines, 'a.jsonl'), reading({ gap: '100ms' })),
    );
    expect(exchanges).toMatchObject([
      { arrivalUs: 0, promptTokens: 12 },
      { arrivalUs: 5_000_000, promptTokens: null, outputTokens: null },
    ]);
    expect(source.lacking).toEqual({
      'an input_length that is not a whole number: unknown': 1,
      'an output_length that is not a whole number: unknown': 1,
    });
  });

  test('with delays after answers is refused, also where a gap is given: they are no rows without a time', async () => {
    const lines = '{"timestamp": 0, "payload": {"a": 1}}\n{"delay": 5000, "payload": {"a": 2}}';
    const open = openMooncake(traceFile(lines, 'a.jsonl'), reading({ gap: '100ms' }));
    await expect(readImport(open)).rejects.toThrow(/line 2: a delay without a timestamp/);
  });

  test('wants a path for payloads, and is read under a mark and gzip', async () => {
    const row = '{"timestamp": 1, "payload": {"a": 1}}';
    await expect(readImport(openMooncake(traceFile(row, 'a.jsonl'), readingOf({})))).rejects.toThrow(
      /no path/,
    );
    for (const content of [Buffer.concat([BOM, Buffer.from(row)]), gzipSync(row)]) {
      expect((await readImport(openMooncake(traceFile(content, 'a.bin'), reading()))).exchanges).toHaveLength(
        1,
      );
    }
  });
});
