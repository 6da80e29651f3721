import { once } from 'node:events';
import type { Socket } from 'node:net';
import { expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { FrameReader } from '../../../src/http2/frames.ts';
import { HpackDecoder } from '../../../src/http2/hpack.ts';
import { Http2Streams } from '../../../src/proxy/tap/http2-streams.ts';
import type { ConnectionTap } from '../../../src/proxy/tap/recorder-client.ts';
import { grpcMessage } from '../../support/grpc.ts';
import { callOnce, echoServer, http2Session } from '../../support/http2-calls.ts';
import { imbalance } from '../../support/imbalance.ts';
import { startRecordedWire } from '../../support/recorded-wire.ts';
import { client, local, upstreamServer } from '../../support/wire-stage.ts';

const request = (name: string) => `GET /${name} HTTP/1.1\r\nHost: m\r\n\r\n`;
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

function answerEach(socket: Socket): void {
  socket.on('data', () => socket.write(ANSWER));
  socket.on('end', () => socket.end());
}

async function ask(socket: Socket, name: string): Promise<string> {
  socket.write(request(name));
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  return bytes.toString('latin1');
}

it.each(['its bytes', 'its end'] as const)(
  'a connection whose recording fails over %s loses its recording, and nothing else is touched',
  async (what) => {
    const port = await upstreamServer(answerEach);
    const failures: unknown[] = [];
    const wire = await startRecordedWire({
      target: { kind: 'tcp', host: '127.0.0.1', port, tls: false },
      onTapFailure: (error) => failures.push(error),
    });
    const { queue } = wire.link;
    const taps: ConnectionTap[] = [];
    const open = wire.link.open.bind(wire.link);
    wire.link.open = (origin) => {
      const tap = open(origin);
      taps.push(tap);
      return tap;
    };
    const [sick, well] = [await client(wire.port), await client(wire.port)];
    expect([await ask(sick, 'one'), await ask(well, 'one')]).toEqual([ANSWER, ANSWER]);
    plantFault(queue, (taps[0] as ConnectionTap).connection, what);
    expect([await ask(sick, 'two'), await ask(well, 'two')]).toEqual([ANSWER, ANSWER]);
    expect([await ask(sick, 'three'), await ask(well, 'three')]).toEqual([ANSWER, ANSWER]);
    const late = await client(wire.port);
    expect(await ask(late, 'late')).toBe(ANSWER);
    for (const socket of [sick, well, late]) socket.end();
    await expect.poll(() => wire.forwarder.connections.open, { timeout: 10_000 }).toBe(0);
    await wire.link.finish(5_000);
    const reading = wire.border.read();
    expect(imbalance(reading)).toEqual({ bytes: 0, turns: 0 });
    expect(reading).toMatchObject({ pending: { bytes: 0, turns: 0 }, unsettledConnections: 0 });
    expect(failures.map((error) => (error as Error).message)).toEqual(['planted']);
    // Its first exchange was recorded before, or was lost with the rest where its end could not be told.
    const bytes = request('two').length + request('three').length + 2 * ANSWER.length;
    if (what === 'its bytes') {
      expect(reading.lost).toEqual({ tap_failed: { bytes, turns: 2, exchanges: 2 } });
      expect(wire.sink.exchanges).toHaveLength(5);
    } else expect(wire.sink.exchanges.length).toBeGreaterThanOrEqual(4);
  },
);

/** What the queue is given of one connection fails from here on. */
function plantFault(
  queue: Awaited<ReturnType<typeof startRecordedWire>>['link']['queue'],
  connection: number,
  what: 'its bytes' | 'its end',
): void {
  const method = what === 'its bytes' ? 'append' : 'appendControl';
  const whole = queue[method].bind(queue) as (...args: Parameters<typeof queue.append>) => never;
  Object.assign(queue, {
    [method]: (...args: Parameters<typeof queue.append>) => {
      const [{ connection: of }] = args;
      if (of === connection) throw new Error('planted');
      return whole(...args);
    },
  });
}

it('the clock of the recording may fail as well', async () => {
  const port = await upstreamServer(answerEach);
  let fails = false;
  const clock = {
    ...systemClock,
    epochUs: () => systemClock.epochUs(),
    nowNs: () => {
      if (fails) throw new Error('planted');
      return systemClock.nowNs();
    },
  };
  const wire = await startRecordedWire({
    target: { kind: 'tcp', host: '127.0.0.1', port, tls: false },
    clock,
  });
  const socket = await client(wire.port);
  expect(await ask(socket, 'one')).toBe(ANSWER);
  fails = true;
  expect(await ask(socket, 'two')).toBe(ANSWER);
  fails = false;
  socket.end();
  await expect.poll(() => wire.border.read().unsettledConnections, { timeout: 10_000 }).toBe(0);
  expect(imbalance(wire.border.read())).toEqual({ bytes: 0, turns: 0 });
  expect(wire.border.read().lost.tap_failed?.turns).toBe(1);
});

const PARTS_OF_HTTP2 = [
  ...(['read', 'fields', 'touch', 'reset', 'end', 'close'] as const).map(
    (name) => [Http2Streams, name] as const,
  ),
  [FrameReader, 'read'] as const,
  [HpackDecoder, 'decode'] as const,
];

it.each(PARTS_OF_HTTP2.map(([of, name]) => ({ of, name, what: `${of.name}.${name}` })))(
  'an HTTP/2 connection loses its recording over an exception in $what, and no call fails',
  async ({ of, name }) => {
    const failures: unknown[] = [];
    const onTapFailure = (error: unknown) => failures.push(error);
    const wire = await startRecordedWire({ target: local(await echoServer()), onTapFailure });
    const sick = await http2Session(wire.port);
    const body = grpcMessage(Buffer.from('hello'));
    const call = async (session: typeof sick) =>
      expect((await callOnce(session, body))?.equals(body)).toBe(true);
    for (let nth = 0; nth < 3; nth += 1) await call(sick);
    let armed = true;
    const prototype = of.prototype as unknown as Record<string, (...args: unknown[]) => unknown>;
    const whole = prototype[name] as (...args: unknown[]) => unknown;
    prototype[name] = function planted(this: unknown, ...args: unknown[]) {
      if (!armed) return whole.apply(this, args);
      armed = false;
      throw new Error('planted');
    };
    try {
      const open = sick.request({ ':method': 'POST', ':path': '/left' });
      open.on('error', () => undefined);
      for (let nth = 0; nth < 3; nth += 1) await call(sick);
      open.close(8);
      await call(sick);
      sick.close();
      await expect.poll(() => wire.forwarder.connections.open, { timeout: 10_000 }).toBe(0);
      expect(armed).toBe(false);
    } finally {
      prototype[name] = whole;
    }
    const well = await http2Session(wire.port);
    for (let nth = 0; nth < 3; nth += 1) await call(well);
    well.close();
    await expect.poll(() => wire.forwarder.connections.open, { timeout: 10_000 }).toBe(0);
    await wire.link.finish(5_000);
    const reading = wire.border.read();
    expect(imbalance(reading)).toEqual({ bytes: 0, turns: 0 });
    expect(reading).toMatchObject({ pending: { bytes: 0, turns: 0 }, unsettledConnections: 0 });
    expect(new Set(failures.map((error) => (error as Error).message))).toEqual(new Set(['planted']));
    expect(wire.sink.exchanges.length).toBeGreaterThanOrEqual(6);
    expect(wire.border.streams.open).toBe(0);
  },
);
