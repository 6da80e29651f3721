import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { imbalance } from '../../support/imbalance.ts';
import { RawClient, rawUpstream, startTimedGateway, until } from './support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: m\r\n\r\n';
const LIMIT_MS = 300;
const EVENT_STREAM =
  'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';

/** Answers with a stream that is ended when it is told to. */
async function streaming() {
  const asked = Promise.withResolvers<Socket>();
  const port = await rawUpstream((socket) => {
    socket.once('data', () => {
      socket.write(`${EVENT_STREAM}6\r\npiece \r\n`);
      asked.resolve(socket);
    });
  });
  return { port, asked: asked.promise };
}

describe('a request that the gateway answers itself', () => {
  it.each([
    ['connect', { connectMs: LIMIT_MS }],
    ['first-byte', { firstByteMs: LIMIT_MS }],
  ] as const)(
    'has no target to wait for, and cuts no answer before it after the %s time limit',
    async (_which, timeouts) => {
      const { port, asked } = await streaming();
      const gateway = await startTimedGateway(port, { maxInFlight: 1, timeouts });
      const client = await RawClient.connect(gateway.port);
      client.send(GET + GET);
      const target = await asked;
      await client.read(/piece/);
      await until(() => gateway.gateway.counts.refused.in_flight === 1);
      for (let piece = 0; piece < 3; piece += 1) {
        gateway.pass(2 * LIMIT_MS);
        target.write('6\r\npiece \r\n');
        await client.read(/piece/);
      }
      target.write('0\r\n\r\n');
      expect(await client.read(/HTTP\/1\.1 \d+/)).toMatch(/\r\n0\r\n\r\nHTTP\/1\.1 503$/);
      client.socket.destroy();
      expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
    },
  );

  it('may send the rest of its body for as long as that takes', async () => {
    const port = await rawUpstream(() => undefined);
    const gateway = await startTimedGateway(port, { refuseMarked: true, timeouts: { connectMs: LIMIT_MS } });
    const client = await RawClient.connect(gateway.port);
    client.send('POST / HTTP/1.1\r\nHost: m\r\nX-Reprise-Run: 1\r\nContent-Length: 8\r\n\r\n');
    await client.read(/HTTP\/1\.1 403/);
    gateway.pass(3 * LIMIT_MS);
    client.send('the body');
    client.send(GET.replace('Host: m', 'Host: m\r\nX-Reprise-Run: 2'));
    await client.read(/HTTP\/1\.1 403/);
    client.socket.destroy();
    await gateway.settle();
  });
});
