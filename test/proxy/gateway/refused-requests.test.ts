import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { imbalance } from '../../support/imbalance.ts';
import { RawClient, rawUpstream, startGateway } from './support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: m\r\n\r\n';
const LIMIT_MS = 300;
const PIECES = 12;
const EVENT_STREAM =
  'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';

/** Answers with a stream that lasts several times the limit. */
function streaming(): Promise<number> {
  return rawUpstream((socket) => {
    socket.once('data', async () => {
      socket.write(EVENT_STREAM);
      for (let piece = 0; piece < PIECES; piece += 1) {
        await sleep(100);
        socket.write('6\r\npiece \r\n');
      }
      socket.write('0\r\n\r\n');
    });
  });
}

describe('a request that the gateway answers itself', () => {
  it.each([
    ['connect', { connectMs: LIMIT_MS }],
    ['first-byte', { firstByteMs: LIMIT_MS }],
  ] as const)(
    'has no target to wait for, and cuts no answer before it after the %s time limit',
    async (_which, timeouts) => {
      const gateway = await startGateway(await streaming(), { maxInFlight: 1, timeouts });
      const client = await RawClient.connect(gateway.port);
      client.send(GET + GET);
      const received = await client.read(/HTTP\/1\.1 503/);
      expect(received.match(/piece/g)).toHaveLength(PIECES);
      client.socket.destroy();
      expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
    },
  );

  it('may send the rest of its body for as long as that takes', async () => {
    const port = await rawUpstream(() => undefined);
    const gateway = await startGateway(port, { refuseMarked: true, timeouts: { connectMs: LIMIT_MS } });
    const client = await RawClient.connect(gateway.port);
    client.send('POST / HTTP/1.1\r\nHost: m\r\nX-Reprise-Run: 1\r\nContent-Length: 8\r\n\r\n');
    await client.read(/HTTP\/1\.1 403/);
    await sleep(3 * LIMIT_MS);
    client.send('the body');
    client.send(GET.replace('Host: m', 'Host: m\r\nX-Reprise-Run: 2'));
    await client.read(/HTTP\/1\.1 403/);
    client.socket.destroy();
    await gateway.settle();
  });
});
