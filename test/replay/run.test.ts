import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AppError } from '../../src/core/errors.ts';
import { exchangeRow } from '../support/exchange-row.ts';
import { MemoryCapture, requestPayload } from '../support/memory-capture.ts';
import { type ReplaySetup, replayOf, SECOND_US } from './staged-replay.ts';

let server: Server;
let port: number;
beforeAll(async () => {
  server = createServer((socket) => socket.on('error', () => {}).resume());
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  port = (server.address() as { port: number }).port;
});
afterAll(async () => {
  await new Promise((done) => server.close(done));
});

describe('Replay.check', () => {
  it('passes where the target is there and the capture has something to send', async () => {
    const { replay, engines } = replayOf({ target: `http://127.0.0.1:${port}` });
    await expect(replay.check()).resolves.toBeUndefined();
    expect(engines).toEqual([]);
  });

  it.each<[string, ReplaySetup, string]>([
    ['a capture of arrivals alone', { arrivalsOnly: true }, 'CAPTURE_EMPTY'],
    [
      'a window without replayable requests',
      { capture: new MemoryCapture([exchangeRow({ requestStored: false, arrivalUs: SECOND_US })]) },
      'CAPTURE_EMPTY',
    ],
    ['the recorded host as target', { target: 'http://host-3:80' }, 'TARGET_FORBIDDEN'],
    [
      'a declared production host',
      { target: 'http://prod', raw: { productionHost: ['prod'] } },
      'TARGET_FORBIDDEN',
    ],
    ['a port nobody listens on', { target: 'http://127.0.0.1:1' }, 'TARGET_UNREACHABLE'],
  ])('refuses %s', async (_, setup, code) => {
    await expect(replayOf(setup).replay.check()).rejects.toMatchObject({ code });
  });
});

/** Answers of a target that serves the first requests, and no other. */
function failsAfter(served: number, status = 500) {
  return ({ index }: { index: number }) => (index < served ? {} : { status });
}

describe('Replay.run', () => {
  const never = new AbortController().signal;

  it('plays the window once and in order, and tells of everything', async () => {
    const { replay, engines, sends, planned, listener, recorded } = replayOf({ raw: { multiplier: '2' } });
    const outcome = await replay.run(listener, never);
    expect(outcome.end).toEqual({ kind: 'complete' });
    expect(engines[0]?.requests.map(({ path, intendedOffsetNs }) => [path, intendedOffsetNs])).toEqual([
      ['/base/0', 0],
      ['/base/1', 0.5e9],
      ['/base/2', 1e9],
      ['/base/3', 1.5e9],
      ['/base/4', 2e9],
    ]);
    expect(engines[0]?.requests.every(({ headers }) => headers.join() === 'x-reprise-run,run-1')).toBe(true);
    expect(planned).toEqual([0, 1, 2, 3, 4]);
    expect(recorded()).toBe(5);
    expect(sends.map(({ index, exchangeId, status }) => [index, exchangeId, status])).toEqual(
      [0, 1, 2, 3, 4].map((id) => [id, id, 200]),
    );
  });

  it('tells of what a ceiling refused as planned and refused', async () => {
    const { replay, engines, sends, listener } = replayOf({ raw: { multiplier: '5', maxRate: '2' } });
    await replay.run(listener, never);
    expect(engines[0]?.requests.map(({ index }) => index)).toEqual([0, 1]);
    const refused = sends.filter((send) => send.refused).map(({ index }) => index);
    expect(refused).toEqual([2, 3, 4]);
    expect(sends).toHaveLength(5);
  });

  it('stops where it is when it is asked to, and tells what was not reached', async () => {
    const stop = new AbortController();
    const { replay, sends, listener } = replayOf({
      answer: ({ index }) => (index === 1 ? null : {}),
      afterEach: ({ index }) => {
        if (index === 2) stop.abort();
      },
    });
    const outcome = await replay.run(listener, stop.signal);
    expect(outcome.end).toEqual({ kind: 'interrupted' });
    expect(sends.map(({ index, error }) => [index, error])).toEqual([
      [0, null],
      [2, null],
      [1, 'stopped'],
    ]);
  });

  it.each([
    ['complete', () => ({ status: null, error: 'stopped' as const })],
    [
      'aborted',
      ({ index }: { index: number }) => (index % 3 ? { cancelled: true } : failsAfter(1)({ index })),
    ],
  ])('aborts for what the target did, not for what we ended ourselves: %s', async (kind, answer) => {
    const { replay, listener } = replayOf({ count: 100, answer });
    expect((await replay.run(listener, never)).end.kind).toBe(kind);
  });

  it('aborts once over half of 30 s failed, and not before', async () => {
    const { replay, engines, listener } = replayOf({ count: 100, answer: failsAfter(1) });
    const outcome = await replay.run(listener, never);
    expect(outcome.end).toMatchObject({ kind: 'aborted', error: { code: 'RUN_ABORTED' } });
    expect(engines[0]?.requests).toHaveLength(31);
  });

  it('does not count answers of other statuses as failed', async () => {
    const { replay, listener } = replayOf({ count: 100, answer: failsAfter(1, 429) });
    expect((await replay.run(listener, never)).end.kind).toBe('complete');
  });

  it.each([501, 404, 401])('aborts early where all of the first twenty get %i', async (status) => {
    const { replay, engines, listener } = replayOf({ count: 100, answer: failsAfter(0, status) });
    const outcome = await replay.run(listener, never);
    expect(outcome.end).toMatchObject({
      kind: 'aborted',
      error: { code: 'RUN_ABORTED', hint: expect.stringContaining('right server') },
    });
    expect(engines[0]?.requests).toHaveLength(20);
  });

  it('does not take a target for wrong that has begun an answer, and refuses beyond it', async () => {
    const staged = replayOf({
      count: 100,
      answer: failsAfter(0, 404),
      afterEach: ({ index }) => {
        const [engine] = staged.engines;
        if (index === 10 && engine !== undefined) engine.hasServed = true;
      },
    });
    expect((await staged.replay.run(staged.listener, never)).end.kind).toBe('complete');
  });

  it('does not take a target for wrong while a request is open that may yet be served', async () => {
    const answer = ({ index }: { index: number }) => (index === 3 ? null : { status: 404 });
    const { replay, sends, listener } = replayOf({ count: 100, answer });
    expect((await replay.run(listener, never)).end.kind).toBe('complete');
    expect(sends.filter(({ status }) => status === 404)).toHaveLength(99);
  });

  it('does not stop for a wrong server once all is sent, nor in a closed loop', async () => {
    const { replay, listener } = replayOf({ count: 20, answer: failsAfter(0, 404), readsAll: true });
    expect((await replay.run(listener, never)).end.kind).toBe('complete');
    const closed = replayOf({
      count: 100,
      raw: { concurrency: '1', duration: '60s' },
      answer: failsAfter(0, 404),
    });
    expect((await closed.replay.run(closed.listener, never)).end.kind).toBe('complete');
    expect(closed.sends).toHaveLength(100);
  });

  it.each([503, 429])('gives a cold target that answers %i its time to come up', async (status) => {
    const answer = ({ index }: { index: number }) => (index < 25 ? { status } : {});
    const { replay, engines, listener } = replayOf({ count: 200, raw: { multiplier: '4' }, answer });
    expect((await replay.run(listener, never)).end.kind).toBe('complete');
    expect(engines[0]?.requests).toHaveLength(200);
  });

  it('ends in order at a block of the capture that cannot be read', async () => {
    const damage = new AppError('CAPTURE_DAMAGED', 'block 3 is damaged');
    const rows = Array.from({ length: 5 }, (_, id) => exchangeRow({ id, arrivalUs: (id + 1) * SECOND_US }));
    const capture = new MemoryCapture(rows, (row) => {
      if (row.id === 3) throw damage;
      return requestPayload('/');
    });
    const { replay, sends, listener } = replayOf({ capture });
    const outcome = await replay.run(listener, never);
    expect(outcome.end).toEqual({ kind: 'aborted', error: damage });
    expect(sends).toHaveLength(3);
  });

  it('ends when the name of its target comes to mean production', async () => {
    let asked = 0;
    const { replay, listener } = replayOf({
      target: 'http://staging.invalid',
      raw: { productionHost: ['triton.prod'] },
      untilStopped: true,
      resolveHost: async (name) => {
        if (name !== 'staging.invalid') return ['10.0.0.5'];
        asked += 1;
        return asked === 1 ? ['10.9.0.1'] : ['10.9.0.1', '10.0.0.5'];
      },
    });
    await expect(replay.check()).rejects.toMatchObject({ code: 'TARGET_UNREACHABLE' });
    const { end } = await replay.run(listener, new AbortController().signal);
    expect(end).toMatchObject({ kind: 'aborted', error: { code: 'TARGET_FORBIDDEN' } });
  });

  it('lets an error of our own through', async () => {
    const capture = new MemoryCapture([exchangeRow({ arrivalUs: SECOND_US })], () => {
      throw new TypeError('a defect');
    });
    const { replay, listener } = replayOf({ capture });
    await expect(replay.run(listener, never)).rejects.toThrow('a defect');
  });

  it('says where it is: what is due and has not ended is outstanding', async () => {
    const positions: number[] = [];
    const { replay, listener } = replayOf({
      answer: ({ index }) => (index < 3 ? null : {}),
      afterEach: () => positions.push(replay.position().outstanding),
    });
    expect(replay.position()).toEqual({ elapsedNs: 0, outstanding: 0, inFlight: 0, waiting: 0 });
    await replay.run(listener, never);
    expect(positions).toEqual([1, 2, 3, 4, 4]);
  });

  it('counts what became due after the last report of ends only when that is half a second ago', async () => {
    const positionsAt = async (multiplier: string) => {
      const positions: number[] = [];
      const { replay, listener } = replayOf({
        raw: { multiplier },
        answer: ({ index }) => (index < 2 ? null : {}),
        afterEach: () => positions.push(replay.position().outstanding),
      });
      await replay.run(listener, never);
      return positions;
    };
    expect(await positionsAt('10')).toEqual([1, 2, 3, 2, 2]);
    expect(await positionsAt('2')).toEqual([1, 2, 3, 3, 3]);
  });

  it('asks the engine for no more than the plan and the options allow', async () => {
    const optionsOf = async (connections: string) => {
      const raw = { connections, multiplier: '3', maxInFlight: '7', timeout: '5s,drain=1s' };
      const { replay, engines, listener } = replayOf({ raw });
      await replay.run(listener, never);
      return engines[0]?.options;
    };
    // Pooled connections are opened by the plan.
    expect(await optionsOf('recorded')).toMatchObject({ maxInFlight: 7, warmConnections: 4 });
    expect(await optionsOf('pooled')).toMatchObject({
      origin: 'http://127.0.0.1:9',
      maxInFlight: 7,
      connectTimeoutMs: 5_000,
      totalTimeoutMs: 5_000,
      drainDeadlineMs: 1_000,
      peakRatePerSecond: 3,
      warmConnections: 1,
    });
  });
});
