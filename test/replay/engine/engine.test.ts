import { setTimeout as sleep } from 'node:timers/promises';
import { queryObjects } from 'node:v8';
import { afterEach, describe, expect, test } from 'vitest';
import type {
  EngineHealth,
  PreparedRequest,
  ReplayEngine,
  SendResult,
} from '../../../src/replay/engine/engine.ts';
import { engineFor } from '../../support/engine.ts';
import { DEAD_PORT } from '../../support/free-port.ts';
import { prepared } from '../../support/prepared.ts';
import { answer, RawServer, type Respond } from '../../support/raw-server.ts';

const MS = 1_000_000;

const servers: RawServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function serve(respond?: Respond): Promise<RawServer> {
  const server = await RawServer.start(respond);
  servers.push(server);
  return server;
}

interface Played {
  readonly health: EngineHealth;
  /** In order of index. */
  readonly results: SendResult[];
}

async function play(
  engine: ReplayEngine,
  requests: Iterable<PreparedRequest>,
  signal = new AbortController().signal,
): Promise<Played> {
  const results: SendResult[] = [];
  const health = await engine.run(requests[Symbol.iterator](), (batch) => results.push(...batch), signal);
  return { health, results: results.sort((a, b) => a.index - b.index) };
}

function schedule(
  count: number,
  gapNs: number,
  parts: (index: number) => Partial<PreparedRequest> = () => ({}),
): PreparedRequest[] {
  return Array.from({ length: count }, (_, index) =>
    prepared(index, Math.floor(index * gapNs), parts(index)),
  );
}

describe('the engine', () => {
  test.each([
    ['no refusal', answer('', '404 Not Found'), false],
    ['an answer that never ends', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', true],
  ])('counts %s as served', async (_, bytes, hasServed) => {
    const server = await serve((_request, socket) => socket.write(bytes));
    const engine = engineFor(server.origin, { drainDeadlineMs: 500 });
    await play(engine, schedule(3, MS));
    expect(engine.hasServed).toBe(hasServed);
  });

  test('sends each request once and whole, none before its instant, dispatching them in order', async () => {
    const server = await serve();
    const bodies = new Map<number, Buffer>();
    const requests = schedule(600, MS, (index) => {
      // Ties in threes; all sizes from empty over small to a buffer of its own.
      const body =
        index % 7 === 0
          ? null
          : Buffer.alloc(1 + ((index * 977) % (index % 50 === 1 ? 200_000 : 3_000)), `${index} `);
      if (body) bodies.set(index, body);
      return {
        intendedOffsetNs: Math.floor(index / 3) * MS,
        body,
        chunked: body !== null && index % 5 === 0,
      };
    });
    const { health, results } = await play(engineFor(server.origin), requests);

    expect(results.map(({ index }) => index)).toEqual(requests.map(({ index }) => index));
    expect(results.every(({ error, status, refused }) => error === null && status === 200 && !refused)).toBe(
      true,
    );
    let previousNs = 0;
    for (const {
      intendedOffsetNs,
      actualOffsetNs,
      startOffsetNs,
      firstByteOffsetNs,
      lastByteOffsetNs,
    } of results) {
      expect(actualOffsetNs).toBeGreaterThanOrEqual(Math.max(intendedOffsetNs, previousNs));
      previousNs = actualOffsetNs ?? 0;
      expect(startOffsetNs).toBeGreaterThanOrEqual(actualOffsetNs ?? 0);
      expect(firstByteOffsetNs).toBeGreaterThanOrEqual(startOffsetNs ?? 0);
      expect(lastByteOffsetNs).toBeGreaterThanOrEqual(firstByteOffsetNs ?? 0);
    }

    expect(server.requests).toHaveLength(600);
    expect(new Set(server.requests.map(({ target }) => target)).size).toBe(600);
    for (const request of server.requests) {
      const index = Number(request.target.slice(1));
      expect(request.body.equals(bodies.get(index) ?? Buffer.alloc(0))).toBe(true);
      expect(request.chunked).toBe(bodies.has(index) && index % 5 === 0);
    }
    expect(health).toMatchObject({ prepared: 600, sent: 600, refused: 0, stopped: 0, aborted: false });
    expect(health.lag.count).toBe(600);
    expect(health.connections.byAddress).toMatchObject([{ address: '127.0.0.1', requests: 600 }]);
  });

  test('is not slowed down by a target that answers nothing', async () => {
    const server = await serve(() => undefined);
    const engine = engineFor(server.origin, { drainDeadlineMs: 500 });
    const { health, results } = await play(engine, schedule(200, MS));
    // What was sent lies in the kernel until this thread has read it.
    await expect.poll(() => server.requests.length, { timeout: 10_000 }).toBe(200);
    expect(health).toMatchObject({ sent: 200, stopped: 200, refused: 0, inFlightMax: 200 });
    expect(results.every(({ error, actualOffsetNs }) => error === 'stopped' && actualOffsetNs !== null)).toBe(
      true,
    );
  });

  test('refuses and counts what the in-flight cap does not let out', async () => {
    const server = await serve(() => undefined);
    const engine = engineFor(server.origin, { maxInFlight: 5, drainDeadlineMs: 500 });
    const { health, results } = await play(engine, schedule(50, MS));
    expect(results.filter(({ refused }) => refused)).toHaveLength(45);
    expect(health).toMatchObject({ prepared: 50, sent: 5, refused: 45, stopped: 5 });
    await expect.poll(() => server.requests.length, { timeout: 10_000 }).toBe(5);
    await sleep(50);
    expect(server.requests).toHaveLength(5);
  });

  test('keeps sending, in time, while the target refuses connections', async () => {
    const engine = engineFor(`http://127.0.0.1:${DEAD_PORT}`);
    const { health, results } = await play(engine, schedule(50, 2 * MS));
    expect(results.map(({ error }) => error)).toEqual(Array.from({ length: 50 }, () => 'connect_refused'));
    expect(health.sent).toBe(50);
    expect(health.connections.opened).toBe(0);
    expect(health.connections.failed).toBeGreaterThanOrEqual(50);
  });

  test('says of each request what became of it when the target misbehaves', async () => {
    const misbehaviour: readonly Respond[] = [
      (_request, socket) => socket.write(answer('fine')),
      (_request, socket) => socket.write(answer('busy', '503 Busy')),
      (_request, socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf'),
      (_request, socket) => socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'),
    ];
    const server = await serve((request, socket) =>
      misbehaviour[Number(request.target.slice(1)) % 4]?.(request, socket),
    );
    const { results } = await play(engineFor(server.origin), schedule(16, 20 * MS));
    expect(results.map(({ status, error }) => [status, error])).toEqual(
      Array.from({ length: 4 }, () => [
        [200, null],
        [503, null],
        [200, 'closed_early'],
        [200, 'protocol'],
      ]).flat(),
    );
  });

  test('stops at once when its signal aborts and lets what is in flight finish', async () => {
    const stop = new AbortController();
    let answered = 0;
    const server = await serve((_request, socket) => {
      if (server.requests.length === 20) stop.abort();
      setTimeout(() => socket.write(answer(), () => answered++), 100);
    });
    const { health, results } = await play(engineFor(server.origin), schedule(100_000, 2 * MS), stop.signal);
    expect(health.aborted).toBe(true);
    expect(health.sent).toBeLessThan(2_000);
    expect(results).toHaveLength(health.sent);
    expect(results.every(({ error }) => error === null)).toBe(true);
    expect(answered).toBe(health.sent);
    // Reading ahead is bounded by time: two seconds of schedule, whatever its length.
    expect(health.prepared).toBeLessThan(4_000);
  });

  test('sends nothing when its signal was aborted before the start', async () => {
    const server = await serve();
    const { health, results } = await play(engineFor(server.origin), schedule(10, MS), AbortSignal.abort());
    expect(health).toMatchObject({ sent: 0, aborted: true });
    expect(results).toEqual([]);
    expect(server.requests).toEqual([]);
  });

  test('has nothing to do for an empty schedule', async () => {
    const server = await serve();
    const { health } = await play(engineFor(server.origin), []);
    expect(health).toMatchObject({ prepared: 0, sent: 0, aborted: false, stalls: [] });
  });

  test('holds no more than its bounds ahead and still sends everything', async () => {
    const server = await serve();
    let pulled = 0;
    let over = 0;
    let aheadMax = 0;
    function* requests(): Generator<PreparedRequest> {
      for (let index = 0; index < 300; index++) {
        pulled++;
        aheadMax = Math.max(aheadMax, pulled - over);
        yield prepared(index, index * 2 * MS);
      }
    }
    const engine = engineFor(server.origin, { readAheadRequests: 32 });
    const health = await engine.run(
      requests(),
      (batch) => {
        over += batch.length;
      },
      new AbortController().signal,
    );
    expect(health.sent).toBe(300);
    // Results come every 100 ms: what is ahead, what is in flight and what is not reported yet, together.
    expect(aheadMax).toBeLessThan(300);
    expect(server.requests).toHaveLength(300);
  });

  test('waits for its turn, however long, without leaving anything behind', async () => {
    const server = await serve();
    const stop = new AbortController();
    const engine = engineFor(server.origin);
    // The second is beyond the horizon, so that all the while only time has to pass.
    const run = play(engine, [prepared(0, 0), prepared(1, 3_600_000 * MS)], stop.signal);
    await expect.poll(() => server.requests.length, { timeout: 20_000 }).toBe(1);
    const before = Number(queryObjects(Promise));
    // Some hundred turns.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const after = Number(queryObjects(Promise));
    stop.abort();
    expect((await run).health.sent).toBe(1);
    expect(after - before).toBeLessThan(20);
  });

  test('lets go of the schedule when it stops before its end', async () => {
    const server = await serve();
    const stop = new AbortController();
    let released = false;
    function* requests(): Generator<PreparedRequest> {
      try {
        for (let index = 0; ; index++) yield prepared(index, index * MS);
      } finally {
        released = true;
      }
    }
    setTimeout(() => stop.abort(), 50);
    await play(engineFor(server.origin), { [Symbol.iterator]: requests }, stop.signal);
    expect(released).toBe(true);
  });

  test('passes on what the schedule or the listener throws, and leaves no thread behind', async () => {
    const server = await serve();
    function* broken(): Generator<PreparedRequest> {
      for (let index = 0; index < 2_100; index++) yield prepared(index, index * MS);
      throw new Error('segment damaged');
    }
    await expect(play(engineFor(server.origin), broken())).rejects.toThrow('segment damaged');
    const failing = engineFor(server.origin).run(
      schedule(5_000, MS)[Symbol.iterator](),
      () => {
        throw new Error('disk full');
      },
      new AbortController().signal,
    );
    await expect(failing).rejects.toThrow('disk full');
    await expect.poll(() => server.openConnections, { timeout: 10_000 }).toBe(0);
  });

  test('fails with an error of its own when a thread cannot run', async () => {
    const engine = engineFor('http://127.0.0.1:1', {}, new URL('file:///nowhere/sender.ts'));
    await expect(play(engine, schedule(1, 0))).rejects.toMatchObject({ code: 'INTERNAL' });
  });
});
