import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { imbalance } from '../../support/imbalance.ts';
import { afterwards } from '../../support/leftovers.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { RawServer } from '../../support/raw-server.ts';
import { ask, RawClient, rawUpstream, startGateway, startTimedGateway } from './support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: m\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** An upstream that begins an answer in chunks, and goes on when it is told to. */
async function streaming() {
  const asked = Promise.withResolvers<Socket>();
  const port = await rawUpstream((socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      asked.resolve(socket);
    });
  });
  return { port, asked: asked.promise };
}

describe('time limits', () => {
  it('answer 504 to a request whose answer does not begin, and free the upstream', async () => {
    const gateway = await startGateway(await rawUpstream((socket) => socket.resume()), {
      timeouts: { firstByteMs: 200 },
    });
    expect(await ask(gateway.port, GET, 300)).toMatch(/^HTTP\/1\.1 504 Gateway Timeout\r\n/);
    expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
    expect(gateway.sink.exchanges[0]).toMatchObject({ outcome: 'timed_out', status: null });
  });

  it('take no answer for late that had come by the time a gateway which stood still could read it', async () => {
    const clock = new ManualClock();
    const port = await rawUpstream((socket) => {
      socket.on('data', () => {
        socket.write(OK);
        clock.advance(301e6);
        // By then it is time to look whose time ran out.
        const untilMs = performance.now() + 200;
        while (performance.now() < untilMs);
      });
    });
    const gateway = await startGateway(port, { timeouts: { firstByteMs: 300 } }, undefined, clock);
    expect(await ask(gateway.port, GET)).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  });

  it('end an answer that stands still in the middle, without making it look whole', async () => {
    const port = await rawUpstream((socket) => {
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'));
    });
    const gateway = await startTimedGateway(port, { timeouts: { idleMs: 200 } });
    const client = await RawClient.connect(gateway.port);
    client.send(GET);
    await client.read(/\r\n\r\nhalf$/);
    gateway.pass(201);
    await client.closed;
    expect(client.received).toBe('');
    await gateway.settle();
    expect(gateway.sink.exchanges[0]).toMatchObject({ outcome: 'timed_out', status: 200 });
  });

  it('end an answer that drips for longer than an exchange may take', async () => {
    const { port, asked } = await streaming();
    const gateway = await startTimedGateway(port, { timeouts: { totalMs: 300, idleMs: 100 } });
    const client = await RawClient.connect(gateway.port);
    client.send(GET);
    const target = await asked;
    for (let ageMs = 0; ageMs <= 300; ageMs += 50) {
      target.write('1\r\nx\r\n');
      await client.read(/x\r\n$/);
      gateway.pass(50);
    }
    await client.closed;
    expect(client.received).not.toMatch(/0\r\n\r\n$/);
    await gateway.settle();
    expect(gateway.sink.exchanges[0]?.outcome).toBe('timed_out');
  });

  it('let a stream that is quiet for less go on', async () => {
    const { port, asked } = await streaming();
    const gateway = await startTimedGateway(port, { timeouts: { idleMs: 1_000, firstByteMs: 1_000 } });
    const client = await RawClient.connect(gateway.port);
    client.send(GET);
    // The head does not wait for the first event.
    await client.read(/\r\n\r\n/);
    expect(client.received).toBe('');
    const target = await asked;
    for (let event = 0; event < 4; event += 1) {
      gateway.pass(900);
      target.write('1\r\nx\r\n');
      await client.read(/x\r\n$/);
    }
    target.write('0\r\n\r\n');
    await client.read(/0\r\n\r\n$/);
  });

  it.each([GET, 'POST / HTTP/1.1\r\nHost: m\r\nContent-Length: 2\r\n\r\nhi'])(
    'of idleness leave a request that was sent in full to the one for the first byte: %j',
    async (request) => {
      const asked = Promise.withResolvers<Socket>();
      let got = '';
      const port = await rawUpstream((socket) => {
        socket.on('data', (bytes) => {
          got += bytes.toString('latin1');
          if (got.endsWith(request.slice(-4))) asked.resolve(socket);
        });
      });
      const gateway = await startTimedGateway(port, { timeouts: { idleMs: 100 } });
      const client = await RawClient.connect(gateway.port);
      client.send(request);
      const target = await asked.promise;
      for (let pass = 0; pass < 6; pass += 1) gateway.pass(100);
      target.write(OK);
      expect(await client.read(/ok$/)).toMatch(/^HTTP\/1\.1 200 /);
    },
  );

  it('end connections that are too slow with a head, and leave the others alone', async () => {
    const upstream = await RawServer.start();
    afterwards(() => upstream.close());
    const gateway = await startGateway(upstream.port, { timeouts: { headersMs: 500, requestMs: 1_000 } });
    const slow = await Promise.all(Array.from({ length: 50 }, () => RawClient.connect(gateway.port)));
    for (const client of slow) client.send('GET / HTTP/1.1\r\nHost');
    expect(await ask(gateway.port, GET)).toMatch(/ok$/);
    await Promise.all(slow.map((client) => client.closed));
    expect(slow[0]?.received).toMatch(/^HTTP\/1\.1 408 /);
    expect(gateway.gateway.counts.refused).toEqual({ too_slow: 50 });
  });
});
