import { readdirSync } from 'node:fs';
import { getPriority } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { SUPERVISION } from '../../../src/core/limits.ts';
import { lagNsOf, type SendError } from '../../../src/core/run.ts';
import type {
  EngineHealth,
  EngineOptions,
  PreparedRequest,
  SendResult,
} from '../../../src/replay/engine/engine.ts';
import { engineFor } from '../../support/engine.ts';
import { mayHaveNiceness } from '../../support/host-abilities.ts';
import { prepared } from '../../support/prepared.ts';
import { answer, RawServer, type Respond } from '../../support/raw-server.ts';
import { DeafListener } from './deaf-listener.ts';

const MS = 1_000_000;

const cleanUps: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

async function serve(respond?: Respond): Promise<RawServer> {
  const server = await RawServer.start(respond);
  cleanUps.push(() => server.close());
  return server;
}

async function play(
  origin: string,
  requests: readonly PreparedRequest[],
  options: Partial<EngineOptions> = {},
): Promise<{ health: EngineHealth; results: SendResult[] }> {
  const engine = engineFor(origin, { senders: 2, connectTimeoutMs: 5_000, ...options });
  const results: SendResult[] = [];
  const health = await engine.run(
    requests[Symbol.iterator](),
    (batch) => results.push(...batch),
    new AbortController().signal,
  );
  return { health, results: results.sort((a, b) => a.index - b.index) };
}

const schedule = (
  count: number,
  gapNs: number,
  parts: (index: number) => Partial<PreparedRequest> = () => ({}),
): PreparedRequest[] =>
  Array.from({ length: count }, (_, index) => prepared(index, index * gapNs, parts(index)));

describe('several senders', () => {
  test.runIf(process.platform === 'linux')('and the pacer alone come before other programs', async () => {
    const asOthers = getPriority();
    const isUsual = asOthers === 0 && mayHaveNiceness(SUPERVISION.sendingNiceness);
    const raised = isUsual ? SUPERVISION.sendingNiceness : asOthers;
    const threads = (): number =>
      readdirSync('/proc/self/task').filter((id) => getPriority(Number(id)) === raised).length;
    let during = 0;
    const server = await serve((_, socket) => {
      during = Math.max(during, threads());
      socket.write(answer());
    });
    const before = threads();
    const { health } = await play(server.origin, schedule(100, 5 * MS));
    expect(health.niceness).toBe(raised);
    if (isUsual) expect(during - before).toBe(3);
    expect(getPriority()).toBe(asOthers);
  });

  test('send each request once from one start, none early, sessions in order, and report as one', async () => {
    const server = await serve();
    const requests = schedule(300, MS, (index) => ({ stripe: (index * 7) % 10 }));
    const { health, results } = await play(server.origin, requests);
    expect(results.map(({ index, error }) => [index, error])).toEqual(
      requests.map(({ index }) => [index, null]),
    );
    expect(server.requests).toHaveLength(300);
    expect(health).toMatchObject({ prepared: 300, sent: 300, refused: 0, aborted: false });
    expect(health.lag.count).toBe(300);
    const lastOf = new Map<number, number>();
    for (const { index, intendedOffsetNs, actualOffsetNs } of results) {
      const stripe = (index * 7) % 10;
      expect(actualOffsetNs).toBeGreaterThanOrEqual(Math.max(intendedOffsetNs, lastOf.get(stripe) ?? 0));
      lastOf.set(stripe, actualOffsetNs ?? 0);
    }
    const { opened, used, connect, byAddress, requestsPerConnection } = health.connections;
    expect(opened).toBe(server.connections);
    expect(connect.count).toBe(opened);
    expect(byAddress).toEqual([
      { address: '127.0.0.1', connections: opened, requests: 300, firstRequestS: expect.any(Number) },
    ]);
    expect(byAddress[0]?.firstRequestS).toBeGreaterThan(-1e-6);
    expect(requestsPerConnection.mean).toBeCloseTo(300 / used, 9);
    // Nobody has a connection in common with another.
    expect(used).toBeGreaterThanOrEqual(2);
  });

  test('share one cap on what is in flight, whoever has it', async () => {
    const server = await serve(() => undefined);
    // Almost all of it falls on one of them, which may use the whole cap.
    const requests = schedule(60, MS, (index) => ({ stripe: index % 10 === 0 ? 1 : 0 }));
    const { health, results } = await play(server.origin, requests, {
      maxInFlight: 20,
      drainDeadlineMs: 500,
    });
    expect(results.filter(({ refused }) => refused)).toHaveLength(40);
    expect(health).toMatchObject({ sent: 20, refused: 40, refusedForBytes: 0, inFlightMax: 20, stopped: 20 });
    // What was sent lies in the kernel until this thread has read it.
    await expect.poll(() => server.requests.length, { timeout: 10_000 }).toBe(20);
    await sleep(50);
    expect(server.requests).toHaveLength(20);
  });
});

describe('recorded connections', () => {
  test('carry what they carried, one request at a time, and have no lag for it', async () => {
    const atOnce = new Map<number, number>();
    const server = await serve((request, socket) => {
      const now = (atOnce.get(request.connection) ?? 0) + 1;
      atOnce.set(request.connection, now);
      expect(now).toBe(1);
      setTimeout(() => {
        atOnce.set(request.connection, 0);
        socket.write(answer());
      }, 60);
    });
    const requests = schedule(40, MS, (index) => ({ lane: index % 4, stripe: index % 4 }));
    const { health, results } = await play(server.origin, requests, { warmConnections: 0 });
    expect(results.every(({ error }) => error === null)).toBe(true);
    const byConnection = Map.groupBy(server.requests, ({ connection }) => connection);
    for (const sent of byConnection.values()) {
      const indexes = sent.map(({ target }) => Number(target.slice(1)));
      expect(new Set(indexes.map((index) => index % 4)).size).toBe(1);
      expect(indexes).toEqual(indexes.toSorted((a, b) => a - b));
    }
    expect(health.connections.requestsPerConnection.max).toBe(10);
    expect(health.connections.used).toBe(4);
    // Ten requests of 60 ms each, due within 40 ms of each other.
    const last = results.at(-1);
    expect(last?.connectionWaitNs).toBeGreaterThan(100 * MS);
    const lagMaxNs = Math.max(
      ...results.map((r) => lagNsOf({ ...r, actualOffsetNs: r.actualOffsetNs ?? 0 })),
    );
    expect(health.lag.maxNs).toBe(lagMaxNs);
    // Were the wait a part of it, it would be as large as the last one's time from its instant on.
    expect(lagMaxNs).toBeLessThan((last?.actualOffsetNs ?? 0) - (last?.intendedOffsetNs ?? 0));
  });
});

describe('a limit of time', () => {
  const silent: Respond = () => undefined;
  const head: Respond = (_request, socket) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf');
  };
  const dripping: Respond = (_request, socket) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n');
    const drips = setInterval(() => socket.write('.'), 20);
    socket.once('close', () => clearInterval(drips));
  };

  // A machine that stands still for as long as one limit lasts must not make it look like another: the others are
  // far away.
  const FAR = { firstByteTimeoutMs: 20_000, idleTimeoutMs: 20_000, totalTimeoutMs: 20_000 };

  test.each<[SendError, Partial<EngineOptions>, Respond]>([
    ['first_byte_timeout', { firstByteTimeoutMs: 300 }, silent],
    ['idle_timeout', { idleTimeoutMs: 300 }, head],
    ['total_timeout', { totalTimeoutMs: 1_000 }, dripping],
  ])('has its own reason: %s', async (error, limit, respond) => {
    const server = await serve(respond);
    const limits = { ...FAR, ...limit, connectTimeoutMs: 20_000, drainDeadlineMs: 20_000 };
    const { results } = await play(server.origin, schedule(3, MS), { senders: 1, ...limits });
    expect(results.map((result) => result.error)).toEqual([error, error, error]);
  });

  test('on connecting is one too, and a target whose queue is full delays no send', async () => {
    const deaf = await DeafListener.start();
    cleanUps.push(() => deaf.close());
    const { health, results } = await play(`http://127.0.0.1:${deaf.port}`, schedule(60, MS), {
      senders: 1,
      connectTimeoutMs: 1_000,
      warmConnections: 0,
      firstByteTimeoutMs: 1_000,
      totalTimeoutMs: 8_000,
    });
    expect(health).toMatchObject({ sent: 60, refused: 0 });
    const errors = Map.groupBy(results, ({ error }) => error);
    // Those the kernel took into the queue were connected, and nobody answered them.
    expect(errors.get('first_byte_timeout')?.length ?? 0).toBeLessThan(10);
    expect(errors.get('connect_timeout')?.length ?? 0).toBeGreaterThan(50);
    expect(errors.size).toBeLessThanOrEqual(2);
    // They were all sent while the first still knocked: by then no connection had failed.
    const firstEndNs = Math.min(...results.map(({ lastByteOffsetNs }) => lastByteOffsetNs ?? 0));
    expect(results.at(-1)?.actualOffsetNs).toBeLessThan(firstEndNs);
    expect(results.every((r) => (r.actualOffsetNs ?? 0) >= r.intendedOffsetNs)).toBe(true);
  });
});
