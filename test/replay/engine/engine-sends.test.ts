import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type {
  EngineHealth,
  EngineOptions,
  PreparedRequest,
  SendResult,
} from '../../../src/replay/engine/engine.ts';
import { engineFor } from '../../support/engine.ts';
import { prepared } from '../../support/prepared.ts';
import { answer, type RawServer } from '../../support/raw-server.ts';
import { serve } from '../../support/transport-stage.ts';

const MS = 1_000_000;

interface Played {
  readonly health: EngineHealth;
  /** In order of index. */
  readonly results: readonly SendResult[];
}

async function play(
  origin: string,
  requests: readonly PreparedRequest[],
  options: Partial<EngineOptions> = {},
  signal = new AbortController().signal,
): Promise<Played> {
  const results: SendResult[] = [];
  const health = await engineFor(origin, options).run(
    requests[Symbol.iterator](),
    (batch) => results.push(...batch),
    signal,
  );
  return { health, results: results.sort((a, b) => a.index - b.index) };
}

function schedule(
  count: number,
  offsetNs: (index: number) => number,
  parts: Partial<PreparedRequest> = {},
): PreparedRequest[] {
  return Array.from({ length: count }, (_, index) => prepared(index, offsetNs(index), parts));
}

/** How often each request came. */
function arrivals(server: RawServer): Map<number, number> {
  const arrived = new Map<number, number>();
  for (const { target } of server.requests) {
    const index = Number(target.slice(1));
    arrived.set(index, (arrived.get(index) ?? 0) + 1);
  }
  return arrived;
}

/** None was sent before its instant, nor before one that comes before it. */
function expectInOrder(results: readonly SendResult[]): void {
  let previousNs = 0;
  for (const { intendedOffsetNs, actualOffsetNs } of results) {
    expect(actualOffsetNs).toBeGreaterThanOrEqual(Math.max(intendedOffsetNs, previousNs));
    previousNs = actualOffsetNs ?? 0;
  }
}

const ascending = (numbers: readonly number[]): number[] => numbers.toSorted((a, b) => a - b);

describe('an engine', () => {
  test('sends each request once, in order, and repeats none', async () => {
    const server = await serve();
    const requests = schedule(500, (index) => index * 2 * MS);
    const { health, results } = await play(server.origin, requests, { warmConnections: 20 });
    expect(results.map(({ index, error }) => [index, error])).toEqual(
      requests.map(({ index }) => [index, null]),
    );
    expectInOrder(results);
    expect([...arrivals(server).values()]).toEqual(requests.map(() => 1));
    expect(health).toMatchObject({ prepared: 500, sent: 500, refused: 0, stopped: 0 });
    expect(health.lag.count).toBe(500);
    expect(health.connections.byAddress).toMatchObject([{ requests: 500 }]);
  });

  test('keeps 28 that are due at once in their order', async () => {
    const server = await serve();
    const requests = schedule(28 * 12, (index) => Math.floor(index / 28) * 25 * MS);
    const { results } = await play(server.origin, requests, { warmConnections: 40 });
    expect(results.map(({ index, error }) => [index, error])).toEqual(
      requests.map(({ index }) => [index, null]),
    );
    expectInOrder(results);
    expect([...arrivals(server).values()]).toEqual(requests.map(() => 1));
  });

  test('has the connections of a burst open before it, and never more than the plan needs', async () => {
    let most = 0;
    const openAt = new Map<string, number>();
    const server = await serve((request, socket) => {
      most = Math.max(most, server.openConnections);
      openAt.set(request.target, server.openConnections);
      setTimeout(() => socket.write(answer()), 20);
      // Some of those that are opened for the second burst are closed before it.
      if (request.target === '/11') setTimeout(() => server.closeConnections(), 600);
    });
    // Two bursts of twelve.
    const burstNs = (index: number): number => (index < 12 ? 1_400 : 2_800) * MS + (index % 12) * MS;
    const requests = schedule(24, burstNs, { recordedNs: 25 * MS });
    const { health, results } = await play(server.origin, requests, { warmConnections: 1, rehearsed: 400 });
    expect(results.every(({ error }) => error === null)).toBe(true);
    expect([openAt.get('/0'), openAt.get('/12'), most]).toEqual([12, 12, 12]);
    expect(health.connections.openMax).toBeLessThanOrEqual(12);
    expect(health.connections.openedAhead).toBe(health.connections.opened);
    expect(health.connections.opened).toBe(server.connections);
  });

  test.each<[string, (socket: Socket) => void]>([
    ['closes', (socket) => socket.end()],
    ['resets', (socket) => socket.resetAndDestroy()],
  ])(
    'says of each request what became of it where the target %s connections that are idle',
    async (_title, end) => {
      const ends = new WeakMap<Socket, NodeJS.Timeout>();
      let closed = 0;
      const server = await serve((request, socket) => {
        clearTimeout(ends.get(socket));
        socket.write(answer());
        const idleMs = 4 + (Number(request.target.slice(1)) % 6);
        ends.set(
          socket,
          setTimeout(() => {
            closed += 1;
            end(socket);
          }, idleMs),
        );
      });
      // Ties in fours.
      const requests = schedule(500, (index) => Math.floor(index / 4) * 6 * MS);
      const { health, results } = await play(server.origin, requests, { warmConnections: 10 });
      expect(results.map(({ index }) => index)).toEqual(requests.map(({ index }) => index));
      expectInOrder(results);
      const arrived = arrivals(server);
      expect(Math.max(...arrived.values())).toBe(1);
      const unheard = results.filter(({ index, error }) => error === null && !arrived.has(index));
      expect(unheard).toEqual([]);
      for (const { error } of results)
        expect([null, 'reset_on_reuse', 'reset', 'closed_early']).toContain(error);
      expect(health).toMatchObject({ sent: 500, refused: 0, stopped: 0 });
      expect(closed).toBeGreaterThan(50);
    },
  );

  test('sends nothing more once the run is stopped, and all that it sent has its result', async () => {
    const stop = new AbortController();
    const server = await serve((_request, socket) => {
      if (server.requests.length === 150) stop.abort();
      setTimeout(() => socket.write(answer()), 5);
    });
    const requests = schedule(3_000, (index) => Math.floor(index / 3) * 2 * MS);
    const { health, results } = await play(server.origin, requests, { warmConnections: 30 }, stop.signal);
    expect(health).toMatchObject({ aborted: true, sent: results.length, stopped: 0 });
    expect(results.map(({ index, error }) => [index, error])).toEqual(
      results.map((_, index) => [index, null]),
    );
    expect(results.length).toBeLessThan(requests.length);
    // What is under way to the server when the engine is over would come now.
    await sleep(50);
    expect(ascending([...arrivals(server).keys()])).toEqual(results.map(({ index }) => index));
    expect(server.requests).toHaveLength(results.length);
  });

  test('refuses what the cap leaves no room for, and gives back each place once', async () => {
    let [unanswered, unansweredMax] = [0, 0];
    const server = await serve((_request, socket) => {
      unanswered += 1;
      unansweredMax = Math.max(unansweredMax, unanswered);
      setTimeout(() => {
        unanswered -= 1;
        socket.write(answer());
      }, 20);
    });
    const requests = schedule(300, (index) => Math.floor(index / 6) * 10 * MS);
    // Without code that is warm a busy machine would refuse almost all of it.
    const limits = { warmConnections: 20, maxInFlight: 5, senders: 2, rehearsed: 400 };
    const { health, results } = await play(server.origin, requests, limits);
    const sent = results.filter(({ refused }) => !refused);
    expect(results.map(({ index }) => index)).toEqual(requests.map(({ index }) => index));
    expect(sent.every(({ error, status }) => error === null && status === 200)).toBe(true);
    expect(unansweredMax).toBe(5);
    expect(health).toMatchObject({ sent: sent.length, refused: 300 - sent.length, inFlightMax: 5 });
    expect(ascending([...arrivals(server).keys()])).toEqual(sent.map(({ index }) => index));
    expect(server.requests).toHaveLength(sent.length);
    // A place that is not given back would be missing ever after: the last answers had room.
    expect(sent.filter(({ index }) => index >= 200).length).toBeGreaterThan(5);
  });
});
