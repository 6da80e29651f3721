import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { FailedWrite } from '../../../src/proxy/net/peer-socket.ts';
import { afterwards } from '../../support/leftovers.ts';
import { answersToUploads, REJECTERS, type Rejecter, rejecter } from '../rejecters.ts';
import { RawClient, rawUpstream, startGateway } from './support.ts';

describe('a target that answers an upload before it has read it, and closes', () => {
  it.each(Object.keys(REJECTERS))('is heard: %s', async (which) => {
    const { port, worker } = await rejecter(which as Rejecter);
    afterwards(() => worker.terminate());
    const gateway = await startGateway(port);
    const outcomes = await answersToUploads(gateway.port);
    expect(outcomes).toEqual(outcomes.map(() => '413'));
    expect(gateway.gateway.connections.failed).toEqual({});
    await gateway.settle();
    const recorded = gateway.sink.exchanges.map(({ status, outcome }) => `${status} ${outcome}`);
    expect(recorded).toEqual(outcomes.map(() => '413 completed'));
  });

  it('is not taken for one that has said all, where only its end could say so and a reset was behind it', async () => {
    const port = await rawUpstream((socket: Socket) => {
      socket.once('data', () => {
        socket.pause();
        socket.write('HTTP/1.1 413 Content Too Large\r\n\r\nhalf', () => socket.resetAndDestroy());
      });
    });
    for (let round = 0; round < 20; round += 1) {
      const gateway = await startGateway(port);
      const socket = connect({ port: gateway.port, host: '127.0.0.1' });
      socket.on('error', () => undefined);
      let answer = '';
      socket.on('data', (chunk: Buffer) => {
        answer += chunk.toString('latin1');
      });
      socket.write('POST / HTTP/1.1\r\nHost: m\r\nConnection: close\r\nContent-Length: 5000000\r\n\r\n');
      socket.write(Buffer.alloc(5_000_000));
      await once(socket, 'close').catch(() => undefined);
      expect(answer).not.toMatch(/\r\n0\r\n\r\n$/);
    }
  });

  it('is heard at the end of a WebSocket too: its last word came before its reset', async () => {
    const port = await rawUpstream((socket: Socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
        socket.once('data', () => {
          socket.pause();
          socket.write('last word', () => socket.destroy());
        });
      });
    });
    const gateway = await startGateway(port, { websocket: true });
    for (let round = 0; round < 20; round += 1) {
      const client = await RawClient.connect(gateway.port);
      // It is in the middle of a write itself, and would lose by that what it has not read yet.
      new FailedWrite(client.socket, client.socket);
      client.send('GET /chat HTTP/1.1\r\nHost: m\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
      await client.read(/101 Switching.*\r\n(?:.+\r\n)*\r\n/);
      const sending = setInterval(() => client.socket.write(Buffer.alloc(200_000)), 1);
      await client.closed;
      clearInterval(sending);
      expect(client.received).toBe('last word');
    }
    await gateway.settle();
  });
});
