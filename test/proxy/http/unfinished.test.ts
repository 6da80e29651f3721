import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { imbalance } from '../../support/imbalance.ts';
import { RawClient, rawUpstream, startGateway, until } from './support.ts';

const CHUNKED = 'POST /up HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n';
const BAD_REQUEST = 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** A target that answers when it is told to. */
async function listening() {
  const sockets: Socket[] = [];
  const port = await rawUpstream((socket) => {
    sockets.push(socket.resume());
  });
  return { port, sockets };
}

describe('a request that never becomes whole', () => {
  it('because it is too slow is answered 408, and the target is told', async () => {
    const { port, sockets } = await listening();
    const gateway = await startGateway(port, { timeouts: { headersMs: 500, requestMs: 500 } });
    const client = await RawClient.connect(gateway.port);
    client.send('POST /up HTTP/1.1\r\nHost: m\r\nContent-Length: 9\r\n\r\nhalf');
    expect(await client.closed).toBe('end');
    expect(client.received).toBe(
      'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n',
    );
    await until(() => sockets[0]?.destroyed ?? false);
    expect(gateway.gateway.counts).toMatchObject({ inFlight: 0, refused: { too_slow: 1 } });
    expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
    expect(gateway.sink.exchanges[0]).toMatchObject({ status: null });
  });

  it('because a chunk cannot be read is answered 400, though its client says more', async () => {
    const { port, sockets } = await listening();
    const gateway = await startGateway(port);
    const client = await RawClient.connect(gateway.port);
    client.send(CHUNKED);
    await until(() => sockets.length === 1);
    client.send('zz\r\nGET /smuggled HTTP/1.1\r\nHost: m\r\n\r\n');
    await client.read(/\r\n\r\n/);
    client.send('GET /more HTTP/1.1\r\nHost: m\r\n\r\n');
    expect(await client.closed).toBe('end');
    expect(client.received).toBe('');
    await until(() => sockets.every((socket) => socket.destroyed));
    expect(sockets).toHaveLength(1);
    expect(gateway.gateway.counts).toMatchObject({ inFlight: 0, refused: { unreadable: 1 } });
    expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
  });

  it('is answered behind the answers before it', async () => {
    const { port, sockets } = await listening();
    const gateway = await startGateway(port);
    const client = await RawClient.connect(gateway.port);
    client.send('GET /first HTTP/1.1\r\nHost: m\r\n\r\n');
    await until(() => sockets.length === 1);
    client.send(CHUNKED);
    await until(() => sockets.length === 2);
    client.send('zz\r\n');
    await until(() => sockets[1]?.destroyed ?? false);
    sockets[0]?.write(OK);
    expect(await client.closed).toBe('end');
    expect(client.received).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nok/);
    expect(client.received.slice(client.received.indexOf('ok') + 2)).toBe(BAD_REQUEST);
  });

  it('is answered by nothing more where its answer has begun', async () => {
    const { port, sockets } = await listening();
    const gateway = await startGateway(port);
    const client = await RawClient.connect(gateway.port);
    client.send(CHUNKED);
    await until(() => sockets.length === 1);
    sockets[0]?.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf');
    await client.read(/half$/);
    client.send('zz\r\n');
    await client.closed;
    expect(client.received).toBe('');
    await until(() => gateway.gateway.counts.inFlight === 0);
  });
});
