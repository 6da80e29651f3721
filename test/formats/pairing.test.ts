import { describe, expect, test } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import type { BodyRequest } from '../../src/formats/payloads.ts';
import { fixtureData } from '../support/shared-data.ts';
import { imported, load, traceFile } from './support.ts';

describe('pairing', () => {
  const chat = fixtureData('arena-hard-prompts/chat_completions.jsonl.gz');
  const toChat: BodyRequest = { method: 'POST', path: '/v1/chat/completions' };
  const trace = traceFile(`t\n${Array.from({ length: 1_000 }, (_, row) => row).join('\n')}\n`);

  async function paired(seed: number): Promise<Exchange[]> {
    return (await imported(trace, { time: 't', unit: 'ms' }, await load(chat, toChat, seed))).exchanges;
  }
  const hashes = (exchanges: readonly Exchange[]): string[] =>
    exchanges.map(({ request }) => Buffer.from(request?.body.hash ?? []).toString('hex'));

  test('is the same for the same seed, and another for another', async () => {
    const first = hashes(await paired(1));
    expect(hashes(await paired(1))).toEqual(first);
    const other = hashes(await paired(2));
    expect(other).not.toEqual(first);
    expect([...other].sort()).not.toEqual([...first].sort());
  });

  test('draws from all of 300 prompts with replacement', async () => {
    const distinct = new Set(hashes(await paired(1))).size;
    // 300 × (1 − (1 − 1/300)^1000) = 289 are expected; fewer than 270 do not happen by chance.
    expect(distinct).toBeGreaterThan(270);
    expect(distinct).toBeLessThanOrEqual(300);
  });

  test('gives every arrival a whole request with its route, and nothing of a response', async () => {
    for (const exchange of await paired(3)) {
      expect(exchange).toMatchObject({
        protocol: 'http/1.1',
        method: 'POST',
        route: 'POST /v1/chat/completions',
        model: 'staging-chat',
        status: null,
        response: null,
      });
      expect(exchange.request?.body.kept?.length).toBe(exchange.request?.body.bytes);
      expect(exchange.request?.body.truncated).toBe(false);
    }
  });
});
