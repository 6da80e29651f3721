import { once } from 'node:events';
import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { LAUNCH_BYTES } from '../../src/replay/launch-pad.ts';
import type { Http1Transport } from '../../src/replay/transport.ts';
import { AheadClock } from '../support/ahead-clock.ts';
import { LaidOutRequest, WRITTEN_NS } from '../support/laid-out.ts';
import { answer, type RawServer, type Respond } from '../support/raw-server.ts';
import { outgoing, play, serve, transportTo } from '../support/transport-stage.ts';

interface Stage {
  readonly server: RawServer;
  readonly transport: Http1Transport;
  /** The server's end of the connection that is idle. */
  readonly theirs: Socket;
}

/** A connection that is idle, after one request. */
async function stage(
  respond: Respond = (_request, socket) => socket.write(answer()),
  clock?: Clock,
): Promise<Stage> {
  let theirs: Socket | null = null;
  const server = await serve((request, socket) => {
    if (theirs !== null) respond(request, socket);
    else {
      theirs = socket;
      socket.write(answer());
    }
  });
  const transport = transportTo(server.origin, {}, undefined, clock);
  await play(transport, outgoing({}, 100));
  if (theirs === null) throw new Error('nothing came');
  return { server, transport, theirs };
}

const targets = ({ requests }: RawServer): string[] => requests.map(({ target }) => target);

describe('a connection that a request is laid out for', () => {
  test('is asked when the answer comes, and told of the request it is to', async () => {
    const { server, transport } = await stage();
    const laidOut = new LaidOutRequest(transport, outgoing({ body: Buffer.from('hello') }, 1));
    laidOut.write();
    expect(await laidOut.outcome).toEqual({
      events: ['start', 'first byte', 'status', 'end'],
      status: 200,
      bytes: 2,
      error: null,
      reused: true,
    });
    expect(laidOut.asked).toEqual([true]);
    expect(laidOut.startedNs).toBe(WRITTEN_NS);
    expect(await play(transport, outgoing({}, 2))).toMatchObject({ error: null, reused: true });
    expect(transport.use().byAddress).toMatchObject([{ requests: 3 }]);
    expect(targets(server)).toEqual(['/100', '/1', '/2']);
    expect(server.requests[1]?.body.toString()).toBe('hello');
    expect(server.connections).toBe(1);
  });

  test('has the bytes that it would have written', async () => {
    const { server, transport } = await stage();
    const request = { headers: ['X-A', 'caf\u00e9'], body: Buffer.alloc(3_000, 'ab'), chunked: true };
    const before = server.received(0).length;
    const laidOut = new LaidOutRequest(transport, outgoing(request, 1));
    laidOut.write();
    await laidOut.outcome;
    const launched = server.received(0).subarray(before);
    await play(transport, outgoing(request, 1));
    expect(
      server
        .received(0)
        .subarray(before + launched.length)
        .equals(launched),
    ).toBe(true);
  });

  test('writes what was not written, before it waits for the answer', async () => {
    const { server, transport } = await stage();
    const body = Buffer.from('nothing of this may be missing or come twice');
    const laidOut = new LaidOutRequest(transport, outgoing({ body }, 1));
    laidOut.write(7);
    laidOut.settle();
    expect(await laidOut.outcome).toMatchObject({ error: null, status: 200 });
    expect(laidOut.asked).toEqual([]);
    expect(targets(server)).toEqual(['/100', '/1']);
    expect(server.requests[1]?.body.equals(body)).toBe(true);
  });

  test('carries nothing else, and is free again once that goes another way', async () => {
    const { server, transport } = await stage();
    const laidOut = new LaidOutRequest(transport, outgoing({}, 1));
    expect(transport.layOut(outgoing({}, 2), Buffer.alloc(LAUNCH_BYTES), () => undefined)).toBeNull();
    expect(await play(transport, outgoing({}, 3))).toMatchObject({ error: null, reused: false });
    laidOut.settle();
    expect(laidOut.asked).toEqual([]);
    // Two are idle now, the last one freed on top.
    await Promise.all([play(transport, outgoing({}, 4)), play(transport, outgoing({}, 5))]);
    expect(server.connections).toBe(2);
    expect(server.requests.filter(({ target }) => target === '/4')).toMatchObject([{ connection: 0 }]);
    expect(targets(server).toSorted()).toEqual(['/100', '/3', '/4', '/5']);
  });

  test.each([
    ['whose body is a large one', { body: Buffer.alloc(64 * 1024) }],
    ['whose head is too long', { headers: ['x', 'y'.repeat(LAUNCH_BYTES)], body: null }],
  ])('is left idle by one %s', async (_title, parts) => {
    const { server, transport } = await stage();
    expect(transport.layOut(outgoing(parts, 1), Buffer.alloc(LAUNCH_BYTES), () => undefined)).toBeNull();
    expect(await play(transport, outgoing({}, 2))).toMatchObject({ error: null, reused: true });
    expect(server.connections).toBe(1);
  });

  test('is gone where it took nothing', async () => {
    const { server, transport, theirs } = await stage();
    const closed = once(theirs, 'close');
    const laidOut = new LaidOutRequest(transport, outgoing({}, 1));
    laidOut.discard();
    expect([laidOut.isOpen, laidOut.asked]).toEqual([false, []]);
    await closed;
    expect(await play(transport, outgoing({}, 2))).toMatchObject({ error: null, reused: false });
    expect(targets(server)).toEqual(['/100', '/2']);
  });
});

/** What a server does to an idle connection. */
const endings: readonly [string, (theirs: Socket) => void][] = [
  ['is closed by its server', (theirs) => theirs.end()],
  ['is reset', (theirs) => theirs.resetAndDestroy()],
  ['brings bytes that nobody asked for', (theirs) => theirs.write(answer('unasked', '408 Too Late'))],
];

describe('a connection that ends with a request laid out for it', () => {
  test.each(endings)(
    'asks while its descriptor is its own, and gives the request back: it %s',
    async (_title, end) => {
      const { server, transport, theirs } = await stage();
      const laidOut = new LaidOutRequest(transport, outgoing({}, 1));
      const closed = once(theirs, 'close');
      end(theirs);
      await closed;
      await expect.poll(() => laidOut.isOpen).toBe(false);
      expect(laidOut.asked).toEqual([true]);
      // It is neither idle nor used again.
      expect(transport.layOut(outgoing({}, 2), Buffer.alloc(LAUNCH_BYTES), () => undefined)).toBeNull();
      expect(await play(transport, outgoing({}, 1))).toMatchObject({ error: null, reused: false });
      expect(targets(server)).toEqual(['/100', '/1']);
      expect(transport.use().byAddress).toMatchObject([{ requests: 2 }]);
    },
  );

  test.each([
    ['is closed', (theirs: Socket) => theirs.end()],
    ['is reset', (theirs: Socket) => theirs.resetAndDestroy()],
  ] as const)('has the request fail once where that has left: it %s', async (_title, end) => {
    const { server, transport, theirs } = await stage((_request, socket) => end(socket));
    const laidOut = new LaidOutRequest(transport, outgoing({}, 1));
    const closed = once(theirs, 'close');
    laidOut.write();
    const outcome = await laidOut.outcome;
    await closed;
    expect(outcome).toMatchObject({ events: ['start', 'error'], error: 'reset_on_reuse', reused: true });
    expect(laidOut.asked).toEqual([true]);
    expect(targets(server)).toEqual(['/100', '/1']);
  });

  test('asks before we close it ourselves, and what has left by then is stopped', async () => {
    for (const hasLeft of [false, true]) {
      const { transport, theirs } = await stage(() => undefined);
      const laidOut = new LaidOutRequest(transport, outgoing({}, 1));
      if (hasLeft) laidOut.write();
      const closed = once(theirs, 'close');
      transport.close();
      await closed;
      expect(laidOut.asked).toEqual([true]);
      await expect.poll(() => laidOut.isOpen).toBe(false);
      if (hasLeft)
        expect(await laidOut.outcome).toMatchObject({ events: ['start', 'error'], error: 'stopped' });
    }
  });

  test('ends what was launched on it when that is given up', async () => {
    const { server, transport, theirs } = await stage(() => undefined);
    const laidOut = new LaidOutRequest(transport, outgoing({}, 1));
    laidOut.write();
    laidOut.settle();
    const closed = once(theirs, 'close');
    laidOut.handle?.abort('cancelled');
    expect(await laidOut.outcome).toMatchObject({ error: 'cancelled' });
    await closed;
    expect(targets(server)).toEqual(['/100', '/1']);
  });
});

describe('a connection that has been idle for too long', () => {
  test.each([
    ['gives back what is laid out for it', false],
    ['is not given up with a request that has left before anybody looked', true],
  ])('%s', async (_title, hasLeft) => {
    const clock = new AheadClock();
    const asked = Promise.withResolvers<void>();
    const { server, transport } = await stage((_request, socket) => {
      void asked.promise.then(() => socket.write(answer()));
    }, clock);
    const laidOut = new LaidOutRequest(transport, outgoing({}, 1), asked.resolve);
    if (hasLeft) laidOut.write();
    clock.aheadNs = 2e9;
    await asked.promise;
    expect(laidOut.asked).toEqual([true]);
    if (hasLeft) expect(await laidOut.outcome).toMatchObject({ error: null, status: 200 });
    await expect.poll(() => laidOut.isOpen).toBe(hasLeft);
    expect(targets(server)).toEqual(hasLeft ? ['/100', '/1'] : ['/100']);
  });

  test('is none that would be too old by the time the request may leave, and may still carry what leaves now', async () => {
    const server = await serve((_request, socket) => socket.write(answer()));
    const standing: Clock = { ...systemClock, nowNs: () => 1e9 };
    const transport = transportTo(server.origin, { maxConnectionAgeMs: 200 }, undefined, standing);
    await play(transport, outgoing({}, 1));
    expect(transport.layOut(outgoing({}, 2), Buffer.alloc(LAUNCH_BYTES), () => undefined)).toBe(null);
    expect(await play(transport, outgoing({}, 2))).toMatchObject({ error: null, reused: true });
  });
});
