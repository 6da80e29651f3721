import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { LoopTime } from '../../src/replay/loop-time.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { answer } from '../support/raw-server.ts';
import { afterwards, outgoing, play, serve, transportTo } from '../support/transport-stage.ts';

/** Nothing of this process runs for so long, and nothing of its server, which lives in it. */
function standStill(ms: number): void {
  const untilMs = performance.now() + ms;
  while (performance.now() < untilMs);
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

  test('uses no connection that grew old meanwhile: nobody has seen yet whether its server is gone', async () => {
    const server = await serve();
    const transport = transportTo(server.origin);
    await play(transport, outgoing());
    standStill(1_600);
    expect(await play(transport, outgoing())).toMatchObject({ error: null, reused: false });
  });
});
