import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { KeyedHash } from '../../src/core/keyed-hash.ts';
import { byProgram, resolveOptions } from '../../src/core/options.ts';
import { MOONCAKE_OPTIONS, openMooncake } from '../../src/formats/mooncake.ts';
import { blockIdsOf } from '../../src/formats/prompt-blocks.ts';
import { promptTextOf } from '../../src/inference/prompt-prefixes.ts';
import { runCommand } from '../support/command-here.ts';
import { exported, jsonLines } from '../support/export-scene.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { latin1, readImport, traceFile } from './support.ts';

const hash = new KeyedHash(Buffer.alloc(32, 7));
const BLOCK = 16;

/** How many ids two rows begin with in common. */
function shared(a: readonly number[], b: readonly number[]): number {
  const differs = a.findIndex((id, at) => id !== b[at]);
  return differs < 0 ? a.length : differs;
}

describe('hash_ids of a prompt', () => {
  const turn = (role: string, words: number) => ({ role, content: `${role} `.repeat(words) });
  const first = { model: 'm', temperature: 0, messages: [turn('user', 100)] };
  const second = { messages: [...first.messages, turn('assistant', 60), turn('user', 50)], temperature: 1 };
  const idsOf = (body: object, { model = 'm', key = hash, tokens = 0 } = {}) => {
    const text = promptTextOf(body as Record<string, unknown>) ?? '';
    return blockIdsOf(text, { tokens: tokens || Math.ceil(text.length / 4), blockTokens: BLOCK, model }, key);
  };

  test('begin with one equal id for each whole block that two prompts share', () => {
    const bytes = promptTextOf(first)!.length;
    expect(promptTextOf(second)!.startsWith(promptTextOf(first)!)).toBe(true);
    expect(shared(idsOf(first), idsOf(second))).toBe(Math.floor(bytes / (BLOCK * 4)));
    expect(idsOf(first)).toEqual(idsOf({ ...first, temperature: 0.5 }));
  });

  test('are as many as the tokens have blocks, and end alike only for equal prompts', () => {
    for (const tokens of [1, BLOCK, BLOCK + 1, 40 * BLOCK]) {
      expect(idsOf(first, { tokens })).toHaveLength(Math.ceil(tokens / BLOCK));
      // The end of the text counts also where its tokens are fewer than its bytes say.
      expect(idsOf(first, { tokens }).at(-1)).not.toBe(idsOf(second, { tokens }).at(-1));
    }
  });

  test('share nothing with another model or under another key', () => {
    const other = new KeyedHash(Buffer.alloc(32, 8));
    const ids = new Set(idsOf(first));
    for (const id of [...idsOf(first, { model: 'n' }), ...idsOf(first, { key: other })]) {
      expect(ids.has(id)).toBe(false);
      expect(Number.isSafeInteger(id)).toBe(true);
    }
  });

  test('of tools come before those of turns; a body without a prompt has none', () => {
    const text = promptTextOf({ messages: ['m'], tools: [{ name: 't' }], system: null });
    expect(text).toBe('[{"name":"t"}]\n"m"');
    expect(promptTextOf({ prompt: 'p' })).toBe('"p"');
    expect(promptTextOf({ inputs: [] })).toBeNull();
  });
});

const ROWS = [
  { timestamp: 0, input_length: 40, output_length: 4, hash_ids: [1, 2, 3] },
  { timestamp: 10, input_length: 70, output_length: 5, hash_ids: [1, 2, 4, 5, 6] },
  { timestamp: 20, input_length: 40, output_length: 6, hash_ids: [1, 2, 3] },
  { timestamp: 30, input_length: 50, output_length: 7, hash_ids: [9, 10, 11, 12] },
  // Ids of a prefix alone; the rest is the prompt's own.
  { timestamp: 40, input_length: 90, output_length: 8, hash_ids: [9, 10] },
  { timestamp: 50, input_length: 90, output_length: 8, hash_ids: [9, 10] },
];
const trace = () => traceFile(ROWS.map((row) => JSON.stringify(row)).join('\n'), 'trace.jsonl');

test('prompts that are built of ids and lengths share what the ids share', async () => {
  const reading = resolveOptions(
    MOONCAKE_OPTIONS,
    byProgram(MOONCAKE_OPTIONS, { requestPath: '/v1/completions', buildPrompts: 'm', blockTokens: BLOCK }),
  );
  const { exchanges, source } = await readImport(openMooncake(trace(), reading));
  expect(source.parts.requests).toBe(true);
  const bodies = exchanges.map(({ request }) => JSON.parse(latin1(request?.body.kept ?? null)));
  const words = bodies.map(({ prompt }) => prompt.split(' ') as string[]);
  expect(words.map(({ length }) => length)).toEqual(ROWS.map(({ input_length }) => input_length));
  expect(bodies[0]).toMatchObject({ model: 'm', max_tokens: 4 });
  expect(exchanges[1]).toMatchObject({ promptTokens: 70, outputTokens: 5, model: 'm' });
  expect(words[0]).toEqual(words[2]);
  expect(words[1]?.slice(0, 2 * BLOCK)).toEqual(words[0]?.slice(0, 2 * BLOCK));
  expect(words[5]?.slice(0, 2 * BLOCK)).toEqual(words[4]?.slice(0, 2 * BLOCK));
  expect(words[5]).not.toEqual(words[4]);
});

test('a trace that is imported and exported without payloads keeps its times, lengths and shared prefixes', async () => {
  const capture = join(temporaryDirectory(), 'capture');
  const block = ['--block-tokens', String(BLOCK)];
  const built = ['--build-prompts', 'm', '--request-path', '/v1/chat/completions', ...block];
  const imported = await runCommand(['import', 'mooncake', trace(), '--out', capture, ...built]);
  expect(imported.status, imported.stderr).toBe(0);
  const { out, document } = await exported('mooncake', capture, '--omit-payloads', ...block);
  expect(document).toMatchObject({ exported: ROWS.length, lost: {} });
  expect(readFileSync(out, 'utf8')).not.toContain('payload');
  const rows = jsonLines<(typeof ROWS)[number]>(out);
  const facts = ({ timestamp, input_length, output_length }: (typeof ROWS)[number]) => [
    ...[timestamp, input_length, output_length],
  ];
  expect(rows.map(facts)).toEqual(ROWS.map(facts));
  for (const [a, row] of ROWS.slice(0, 4).entries()) {
    for (const [b, other] of ROWS.slice(0, 4).entries()) {
      expect(shared(rows[a]!.hash_ids, rows[b]!.hash_ids)).toBe(shared(row.hash_ids, other.hash_ids));
    }
  }
  expect(shared(rows[4]!.hash_ids, rows[5]!.hash_ids)).toBe(2);
});

test('blocks and their key belong to a trace without payloads', async () => {
  const args = ['export', 'mooncake', temporaryDirectory(), '--out', join(temporaryDirectory(), 'out')];
  expect((await runCommand([...args, '--block-tokens', '16'])).status).toBe(2);
  expect((await runCommand(['export', 'csv', ...args.slice(2), '--omit-payloads'])).status).toBe(2);
});
