import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { GateServer } from '../../src/app/gate/gate.ts';
import { type TestEnd, TestQueue } from '../../src/app/gate/scenario-queue.ts';
import { LogBook } from '../support/log-book.ts';
import { ManualClock } from '../support/manual-clock.ts';

const PASS: TestEnd = { result: 'PASS', reasons: [], run: 'r1' };
const FAIL: TestEnd = { result: 'FAIL', reasons: ['slo_violated: latency'], run: 'r2' };
const OPEN: TestEnd = { result: 'INCONCLUSIVE', reasons: ['too_close: p(99)'], run: 'r3' };

const endings: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0)) await end();
});

/** A gate whose tests end when they are told to. */
async function gate({ token = null, waiting = 2 }: { token?: string | null; waiting?: number } = {}) {
  const started: string[] = [];
  const ends: ((end: TestEnd) => void)[] = [];
  const aborted: number[] = [];
  const clock = new ManualClock();
  const play = (scenario: string, signal: AbortSignal) => {
    started.push(scenario);
    return new Promise<TestEnd>((resolve) => {
      ends.push(resolve);
      signal.addEventListener('abort', () => {
        aborted.push(ends.indexOf(resolve));
        resolve(OPEN);
      });
    });
  };
  let version: string | null = 'first';
  const log = new LogBook();
  const versionOf = () => {
    if (version === null) throw new Error('no such file: /secret/path');
    return version;
  };
  const queue = new TestQueue({ play, versionOf }, clock, {
    waiting,
    remembered: 10,
    rememberMs: 60_000,
  });
  const { server, close } = ((made) => ({ server: made.server, close: () => made.close() }))(
    new GateServer(queue, ['spike', 'soak'], token, log),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  endings.push(async () => {
    await queue.close();
    close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const ask = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(`${base}${path}`, init);
    const body = await response.text();
    return { status: response.status, body, document: body.startsWith('{') ? JSON.parse(body) : null };
  };
  /** As Flagger posts it. */
  const flagger = (path: string, checksum = '85d557f47b', metadata: object = {}, name = 'chat') =>
    ask(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name, namespace: 'prod', phase: 'Progressing', checksum, metadata }),
    });
  return {
    ask,
    flagger,
    started,
    aborted,
    clock,
    end: (at: number, end: TestEnd) => ends[at]?.(end),
    change: (to: string | null = 'second') => {
      version = to;
    },
    log,
    stop: async () => {
      await queue.close();
      close();
    },
  };
}

describe('Argo Rollouts', () => {
  /** Its conditions, as docs/guides/deployment-gate.md and deploy/argo-rollouts have them. */
  const measured = (result: string) =>
    result === 'PASS' ? 'Successful' : result === 'FAIL' ? 'Failed' : 'Inconclusive';

  test.each([
    [PASS, 'Successful'],
    [FAIL, 'Failed'],
    [OPEN, 'Inconclusive'],
  ])('measures %j as %s, and starts a revision once', async (end, phase) => {
    const { ask, started, ...own } = await gate();
    expect((await ask('/argo/spike?id=rev-1')).document).toMatchObject({ result: 'RUNNING', id: 'rev-1' });
    const waiting = ask('/argo/spike?wait=30s', { method: 'POST', body: JSON.stringify({ id: 'rev-1' }) });
    own.end(0, end);
    const { status, document } = await waiting;
    expect([status, document.result, measured(document.result)]).toEqual([200, end.result, phase]);
    expect(document.reasons).toEqual(end.reasons);
    expect(started).toEqual(['spike']);
  });

  test('gets no result for what it does not name', async () => {
    const { ask, started } = await gate();
    expect((await ask('/argo/spike')).status).toBe(400);
    expect((await ask('/argo/other?id=1')).status).toBe(404);
    expect((await ask('/argo/spike?id=1&wait=soon')).status).toBe(400);
    expect(started).toEqual([]);
  });
});

describe('Flagger', () => {
  test('passes a promotion only after a PASS, and rolls back only after a FAIL', async () => {
    const { flagger, end, started } = await gate();
    expect(await flagger('/flagger/spike/rollback')).toMatchObject({ status: 404 });
    expect(await flagger('/flagger/spike')).toMatchObject({ status: 409, body: 'spike: playing\n' });
    expect(await flagger('/flagger/spike/rollback')).toMatchObject({ status: 409 });
    end(0, PASS);
    expect(await flagger('/flagger/spike?wait=30s')).toMatchObject({ status: 200 });
    expect(await flagger('/flagger/spike/rollback')).toMatchObject({ status: 422 });
    const failing = flagger('/flagger/spike', 'another', { wait: '30s' });
    await expect.poll(() => started).toHaveLength(2);
    end(1, FAIL);
    expect(await failing).toMatchObject({
      status: 422,
      body: 'spike: FAIL (run r2); slo_violated: latency\n',
    });
    expect(await flagger('/flagger/spike/rollback', 'another')).toMatchObject({ status: 200 });
  });

  test('is told what is no webhook', async () => {
    const { ask } = await gate();
    expect((await ask('/flagger/spike', { method: 'POST', body: '{"name": "chat"}' })).status).toBe(400);
    expect((await ask('/flagger/spike', { method: 'POST', body: 'no json' })).status).toBe(400);
    expect((await ask('/flagger/spike', { method: 'POST', body: 'x'.repeat(70_000) })).status).toBe(400);
    expect((await ask('/flagger/spike')).status).toBe(400);
  });
});

test('tests play one at a time, and no more wait than may', async () => {
  const { ask, flagger, started, end } = await gate({ waiting: 1 });
  await ask('/argo/spike?id=1');
  expect((await ask('/argo/soak?id=1')).document).toMatchObject({ result: 'RUNNING', ahead: 1 });
  expect((await flagger('/flagger/spike')).status).toBe(429);
  expect(started).toEqual(['spike']);
  end(0, PASS);
  await expect.poll(() => started).toEqual(['spike', 'soak']);
  expect((await ask('/tests')).document.tests.map(({ result }: TestEnd) => result)).toEqual([
    'PASS',
    'RUNNING',
  ]);
});

test('a test of a build that a newer one has replaced ends undecided, and is never remembered', async () => {
  const { ask, started, aborted, end } = await gate({ waiting: 1 });
  const older = ask('/argo/spike?id=1&wait=30s');
  await expect.poll(() => started).toHaveLength(1);
  await ask('/argo/soak?id=1');
  expect((await ask('/argo/spike?id=2')).document).toMatchObject({ result: 'RUNNING', ahead: 1 });
  expect(await older).toMatchObject({
    status: 200,
    document: { result: 'INCONCLUSIVE', reasons: [expect.stringMatching(/^superseded: 2 /)] },
  });
  expect(aborted).toEqual([0]);
  await expect.poll(() => started).toEqual(['spike', 'soak']);
  end(1, PASS);
  await expect.poll(() => started).toEqual(['spike', 'soak', 'spike']);
  end(2, PASS);
  expect((await ask('/argo/spike?id=2&wait=30s')).document.result).toBe('PASS');
  // A build that has its verdict keeps it, and one that was replaced is tested anew.
  expect((await ask('/argo/spike?id=1')).document.result).toBe('RUNNING');
  expect((await ask('/argo/spike?id=2')).document.result).toBe('PASS');
  expect(started).toHaveLength(4);
});

test('another deployment of Flagger replaces none, and a newer checksum of the same does', async () => {
  const { flagger, started, aborted } = await gate({ waiting: 3 });
  await flagger('/flagger/spike', 'a');
  await flagger('/flagger/spike', 'b', {}, 'search');
  expect(aborted).toEqual([]);
  await flagger('/flagger/spike', 'c');
  expect(aborted).toEqual([0]);
  await expect.poll(() => started).toHaveLength(2);
  expect(await flagger('/flagger/spike/rollback', 'a')).toMatchObject({ status: 404 });
});

test('a pass of another text of the scenario is no pass', async () => {
  const { ask, started, end, change } = await gate();
  await ask('/argo/spike?id=1');
  end(0, PASS);
  expect((await ask('/argo/spike?id=1&wait=30s')).document.result).toBe('PASS');
  change();
  expect((await ask('/argo/spike?id=1')).document.result).toBe('RUNNING');
  expect(started).toHaveLength(2);
});

test('a wait that ends without a result, or with the gate, is an error that Argo asks again', async () => {
  const { ask, flagger, started, stop } = await gate();
  expect(await ask('/argo/spike?id=1&wait=20ms')).toMatchObject({
    status: 503,
    document: { result: 'RUNNING' },
  });
  const [playing, waiting] = [ask('/argo/spike?id=1&wait=30s'), ask('/argo/soak?id=1&wait=30s')];
  const flaggers = flagger('/flagger/spike?wait=30s');
  await expect.poll(async () => (await ask('/tests')).document.tests).toHaveLength(3);
  await stop();
  expect([(await playing).status, (await waiting).status, (await flaggers).status]).toEqual([503, 503, 409]);
  expect(started).toEqual(['spike']);
});

test('the end of a test is forgotten in time, and then it is played again', async () => {
  const { ask, started, end, clock } = await gate();
  await ask('/argo/spike?id=1');
  end(0, FAIL);
  expect((await ask('/argo/spike?id=1&wait=30s')).document.result).toBe('FAIL');
  clock.advance(59e9);
  expect((await ask('/argo/spike?id=1')).document.result).toBe('FAIL');
  clock.advance(2e9);
  expect((await ask('/argo/spike?id=1')).document.result).toBe('RUNNING');
  expect(started).toHaveLength(2);
});

test('a token is asked for in every form a caller can show it, and browsers are refused', async () => {
  const { ask, flagger } = await gate({ token: 'a secret of many letters' });
  const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
  expect((await ask('/argo/spike?id=1')).status).toBe(401);
  expect((await ask('/argo/spike?id=1', bearer('another'))).status).toBe(401);
  expect((await ask('/argo/spike?id=1', bearer('a secret of many letters'))).status).toBe(200);
  expect((await flagger('/flagger/spike')).status).toBe(401);
  expect((await flagger('/flagger/spike', 'c', { token: 'a secret of many letters' })).status).toBe(409);
  expect((await ask('/livez')).status).toBe(200);
  expect((await ask('/livez', { headers: { 'user-agent': 'Mozilla/5.0' } })).status).toBe(403);
});

test('an error of the gate itself is for its log, and the caller hears nothing of it', async () => {
  const { ask, change, log } = await gate();
  change(null);
  const { status, body } = await ask('/argo/spike?id=a');
  expect(status).toBe(500);
  expect(body).not.toContain('secret');
  expect(log.lines).toMatchObject([{ level: 'error', fields: { reason: 'no such file: /secret/path' } }]);
});
