import { afterEach, describe, expect, test } from 'vitest';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import type { EngineOptions, SendResult } from '../../../src/replay/engine/engine.ts';
import { engineFor } from '../../support/engine.ts';
import { prepared } from '../../support/prepared.ts';
import { answer, answerAll, RawServer } from '../../support/raw-server.ts';

const servers: RawServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function play(
  startAtUs: number,
  options: Partial<EngineOptions> = {},
  respond = answerAll,
  clock: Clock = systemClock,
) {
  const server = await RawServer.start(respond);
  servers.push(server);
  const engine = engineFor(server.origin, { startAtUs, ...options }, undefined, undefined, clock);
  const results: SendResult[] = [];
  const requests = Array.from({ length: 20 }, (_, index) =>
    prepared(index, index * 1e6, { recordedNs: 4e6 }),
  );
  const { signal } = new AbortController();
  const run = engine.run(requests.values(), (batch) => results.push(...batch), signal);
  return { run, results, server };
}

describe('a start that was set', () => {
  test('is the zero of the run, and nothing is sent before it', async () => {
    const startAtUs = systemClock.epochUs() + 700_000;
    const { run, results } = await play(startAtUs);
    expect((await run).startedAtUs).toBe(startAtUs);
    expect(results).toHaveLength(20);
    expect(results.every(({ actualOffsetNs }) => (actualOffsetNs ?? -1) >= 0)).toBe(true);
  });

  test('finds warmed connections, however long it was waited for', async () => {
    const openAtRequest: number[] = [];
    const { run, server } = await play(
      systemClock.epochUs() + 4_000_000,
      { warmConnections: 4 },
      (_, socket) => {
        openAtRequest.push(server.openConnections);
        socket.write(answer());
      },
    );
    await run;
    expect(openAtRequest[0]).toBe(4);
  });

  test('stays the zero when we are late, which is then lag', async () => {
    const startAtUs = systemClock.epochUs();
    // However long this host takes to get ready, it is a second late.
    const anchor = () => ({ monotonicNs: systemClock.nowNs(), epochUs: startAtUs + 1_000_000 });
    const { run, results } = await play(startAtUs, {}, answerAll, { ...systemClock, anchor });
    expect((await run).startedAtUs).toBe(startAtUs);
    expect(results.every(({ actualOffsetNs }) => (actualOffsetNs ?? 0) >= 1e9)).toBe(true);
  });

  test('is refused when it is long over, and nothing is sent', async () => {
    const { run, server } = await play(systemClock.epochUs() - 60_000_000);
    await expect(run).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    expect(server.requests).toHaveLength(0);
  });
});
