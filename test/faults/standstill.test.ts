import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { MessageChannel } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { NOTHING_EXPECTED } from '../../src/replay/answers/expected-answer.ts';
import { LoopTime } from '../../src/replay/engine/loop-time.ts';
import type { FromSender, SendResult } from '../../src/replay/engine/messages.ts';
import { packBatch, unpacked } from '../../src/replay/engine/messages.ts';
import { SenderThread } from '../../src/replay/engine/sender-thread.ts';
import { DueRing, InFlight } from '../../src/replay/engine/shared-memory.ts';
import { captureOf } from '../support/captures.ts';
import { afterwards } from '../support/leftovers.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { prepared } from '../support/prepared.ts';
import { startReprise } from '../support/process.ts';
import { answer } from '../support/raw-server.ts';
import { documentOf, requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { outgoing, play, serve, transportTo } from '../support/transport-stage.ts';

/** Nothing of this process runs for so long, and nothing of its server, which lives in it. */
function standStill(ms: number): void {
  const untilMs = performance.now() + ms;
  while (performance.now() < untilMs);
}

/** What becomes of one request whose client leaves after so many milliseconds, sent on this very loop. */
async function leaving(origin: string, leaveMs: number): Promise<SendResult> {
  const limits = { maxRequests: 1_000, maxBodyBytes: 2 ** 30 };
  const [ports, wake] = [new MessageChannel(), new MessageChannel()];
  const setup = {
    sender: 0,
    ringMemory: DueRing.create(1).memory,
    inFlight: InFlight.create(limits).setup,
    held: null,
    wakePort: wake.port1,
    origin,
    socketPath: null,
    connectTimeoutMs: 10_000,
    firstByteTimeoutMs: 10_000,
    idleTimeoutMs: 10_000,
    totalTimeoutMs: 10_000,
    drainDeadlineMs: 10_000,
    catchUpGapNs: 1e6,
    warmConnections: 1,
    maxConnectionAgeMs: null,
    caPem: null,
    acceptAnyCertificate: false,
  };
  const results: SendResult[] = [];
  const over = Promise.withResolvers<void>();
  ports.port2.on('message', (message: FromSender) => {
    if (message.kind === 'results') results.push(...unpacked<SendResult[]>(message.results));
    if (message.kind === 'over') over.resolve();
  });
  await new SenderThread(setup, ports.port1, systemClock, () => ({ highest: 0, follow: () => {} })).run();
  const leaves = prepared(0, 0, { answer: { ...NOTHING_EXPECTED, cancelAfterNs: leaveMs * 1e6 } });
  ports.port2.postMessage({ kind: 'start', startNs: systemClock.nowNs() });
  ports.port2.postMessage({ kind: 'batch', batch: packBatch([leaves]) });
  ports.port2.postMessage({ kind: 'finish' });
  await over.promise;
  return results[0] as SendResult;
}

test('the time of a loop is the clock while the loop turns, and stands where it stood', () => {
  const clock = new ManualClock(1_000e6);
  const time = new LoopTime(clock);
  for (let look = 0; look < 40; look++) {
    clock.advance(25e6);
    expect(time.nowNs()).toBe(clock.nowNs());
  }
  clock.advance(5_000e6);
  const stoodNs = clock.nowNs() - time.nowNs();
  expect(stoodNs).toBe(4_900e6);
  clock.advance(25e6);
  expect(time.nowNs()).toBe(clock.nowNs() - stoodNs);
});

describe('a process that stood still', () => {
  test.each([
    ['first byte', { firstByteTimeoutMs: 1_000 }, ''],
    ['pause in an answer', { idleTimeoutMs: 1_000 }, 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n'],
  ])('does not take its own time for a target that is too slow: %s', async (_title, limit, head) => {
    const server = await serve(async (_request, socket) => {
      socket.write(head);
      await delay(100);
      standStill(1_500);
      await delay(100);
      socket.write(head === '' ? answer() : 'ab');
    });
    const transport = transportTo(server.origin, limit);
    expect(await play(transport, outgoing())).toMatchObject({ error: null, status: 200 });
  });

  test('sees that it was connected meanwhile before it gives up connecting', async () => {
    const server = await serve();
    const transport = transportTo(server.origin, { connectTimeoutMs: 300 });
    const outcome = play(transport, outgoing());
    standStill(600);
    expect(await outcome).toMatchObject({ error: null, status: 200 });
  });

  test('gives a handshake that needs several turns the time that it has left', async () => {
    const greeted = createServer((socket) => void delay(100).then(() => socket.end()));
    greeted.listen(0, '127.0.0.1');
    await once(greeted, 'listening');
    afterwards(async () => {
      greeted.close();
    });
    const origin = `https://127.0.0.1:${(greeted.address() as AddressInfo).port}`;
    const transport = transportTo(origin, { connectTimeoutMs: 1_000 });
    const outcome = play(transport, outgoing());
    await once(greeted, 'connection');
    standStill(1_500);
    // Ended by whom it had reached, and not given up.
    expect((await outcome).error).toBe('connect_failed');
  });

  test('does not take its own time for the patience of a client that left', async () => {
    const server = await serve((_request, socket) => {
      standStill(400);
      setImmediate(() => setImmediate(() => socket.write(answer())));
    });
    expect(await leaving(server.origin, 300)).toMatchObject({ cancelled: false, error: null, status: 200 });
  });

  test('uses no connection that grew old meanwhile: nobody has seen yet whether its server is gone', async () => {
    const server = await serve();
    const transport = transportTo(server.origin);
    await play(transport, outgoing());
    standStill(1_600);
    expect(await play(transport, outgoing())).toMatchObject({ error: null, reused: false });
  });
});

test('a run whose process stood still ends with 4, for its load was not as planned', async () => {
  const server = await serverOf((_, response) => setTimeout(() => response.end('{}'), 300));
  const out = join(temporaryDirectory(), 'run');
  const slo = ['--timeout', '2s', '--slo', 'service: p(50)<2000; errors: rate<0.001'];
  const process = startReprise([
    'replay',
    captureOf(requestsOf(400, 5_000)),
    ...['--target', server.url, '--out', out, '--json', ...slo],
  ]);
  while (server.requests.length < 120) await delay(20);
  process.child.kill('SIGSTOP');
  await delay(2_500);
  process.child.kill('SIGCONT');
  const result = await process.finished;
  const document = documentOf(result);
  expect(document).toMatchObject({ verdict: 'INCONCLUSIVE', sent: 400, failed: 0, unreached: 0 });
  expect(document.reasons.map(({ code }) => code)).toContain('arrivals_off_plan');
  expect(document.health.longestStallMs).toBeGreaterThan(2_000);
  expect(result.status).toBe(4);
});
