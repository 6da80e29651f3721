import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { captureOf } from '../support/captures.ts';
import { requestMessage } from '../support/exchanges.ts';
import { documentOf, replay, requestsOf } from '../support/replaying.ts';

const WORK_MS = 60;
/** Far above what a busy machine adds to the answers of a cache. */
const LONG_WORK_MS = 600;

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

/** A server that works on each request, and with a cache on none that it has answered before. */
async function workingServer(cache: 'cache' | 'none', workMs = WORK_MS): Promise<string> {
  const answered = new Set<string>();
  const server = createServer((request, response) => {
    const isCached = cache === 'cache' && answered.has(request.url ?? '');
    answered.add(request.url ?? '');
    void setTimeout(isCached ? 0 : workMs).then(() =>
      response.setHeader('content-type', 'application/json').end('{"ok":true}'),
    );
    request.resume();
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Forty requests, 20 ms apart; of production's own every second one asks what the one before it asked. */
const different = requestsOf(40, 20_000);
const production: Exchange[] = different.map((exchange, at) => ({
  ...exchange,
  request: requestMessage({ target: `/v2/models/m/infer?n=${Math.floor(at / 2)}` }),
}));

/** Most of what a cache answers is within this, and nothing that it does not answer. */
const sloOf = (workMs: number) => ['--slo', `latency: p(40)<${workMs * 0.75}`, '--json'];
const SLO = sloOf(WORK_MS);
const LOOPED = ['--loop', '4'];
const COPIED = ['--scaling', 'amplify,jitter=400ms', '--multiplier', '4'];

describe('a server that caches', () => {
  it.each([
    ['--loop', LOOPED, LONG_WORK_MS],
    ['copies', COPIED, WORK_MS],
  ])('passes nothing by %s: repeats_cached, with both numbers', async (_, args, workMs) => {
    const server = await workingServer('cache', workMs);
    const run = await replay(captureOf(different), server, [...sloOf(workMs), ...args]);
    const document = documentOf(run);
    expect(document.slo[0]).toMatchObject({ ok: true });
    expect([document.verdict, run.status]).toEqual(['INCONCLUSIVE', 4]);
    expect(document.reasons.map(({ code }) => code)).toContain('repeats_cached');
    const { repeats } = document;
    expect(repeats).toMatchObject({ time: 'latency', pairs: 40, faster: true });
    expect(repeats?.firstMs).toBeGreaterThanOrEqual(workMs * 0.95);
    expect(repeats?.repeatMs).toBeLessThan(repeats?.firstMs ?? 0);
  });

  it('may answer what production repeated by itself', async () => {
    const run = await replay(captureOf(production), await workingServer('cache'), SLO);
    const document = documentOf(run);
    expect(document.slo[0]).toMatchObject({ ok: true });
    expect(document.repeats).toBeNull();
    expect(document.reasons.map(({ code }) => code)).not.toContain('repeats_cached');
  });
});

it.each([
  ['--loop', LOOPED],
  ['copies', COPIED],
])('a server that works on every request fails by %s as it does without', async (_, args) => {
  const run = await replay(captureOf(different), await workingServer('none'), [...SLO, ...args]);
  const document = documentOf(run);
  expect([document.verdict, run.status]).toEqual(['FAIL', 3]);
  expect(document.repeats).toMatchObject({ pairs: 40, faster: false });
});
