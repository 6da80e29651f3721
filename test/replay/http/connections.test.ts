import { once } from 'node:events';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import { getCACertificates, rootCertificates, setDefaultCACertificates, type TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { LoopTime } from '../../../src/replay/engine/loop-time.ts';
import { CERTIFICATE_KEY_PEM, CERTIFICATE_NAME, CERTIFICATE_PEM } from '../../support/certificate.ts';
import { afterwards } from '../../support/leftovers.ts';
import { answer } from '../../support/raw-server.ts';
import { type Outcome, outgoing, play, serve, transportTo } from '../../support/transport-stage.ts';

/** What is waited for comes; how soon is not what a test is about. */
const LONG = { timeout: 10_000 };

describe('connections', () => {
  test('are as many as there are requests at once, then used again, the youngest first', async () => {
    const waiting: (() => void)[] = [];
    const server = await serve((_request, socket) => {
      waiting.push(() => socket.write(answer()));
      if (waiting.length === 5) for (const go of waiting.splice(0)) go();
    });
    const transport = transportTo(server.origin);
    const five = (): Promise<Outcome[]> =>
      Promise.all(Array.from({ length: 5 }, () => play(transport, outgoing())));
    await five();
    const again = await five();
    expect(again.every(({ reused }) => reused)).toBe(true);
    expect(server.connections).toBe(5);
    expect(transport.use()).toMatchObject({
      opened: 5,
      openMax: 5,
      failed: 0,
      requestsPerConnection: { mean: 2, max: 2 },
    });
  });

  test('opened to warm up carry the first requests, and nothing is sent on them before', async () => {
    const server = await serve();
    const transport = transportTo(server.origin);
    await transport.warm(3);
    await expect.poll(() => server.connections, LONG).toBe(3);
    expect(server.received(0).length).toBe(0);
    const first = await Promise.all(Array.from({ length: 3 }, () => play(transport, outgoing())));
    expect(first.every(({ error, reused }) => error === null && !reused)).toBe(true);
    expect(server.connections).toBe(3);
  });

  test('opened ahead are as many as are needed, with those in use', async () => {
    const waiting: (() => void)[] = [];
    const server = await serve((_request, socket) => waiting.push(() => socket.write(answer())));
    const transport = transportTo(server.origin);
    const first = play(transport, outgoing());
    await expect.poll(() => waiting.length, LONG).toBe(1);
    expect([1, 2, 3, 4].map(() => transport.openAhead(3))).toEqual([true, true, false, false]);
    await expect.poll(() => server.openConnections, LONG).toBe(3);
    await expect.poll(() => transport.use().openedAhead, LONG).toBe(2);
    const more = [play(transport, outgoing()), play(transport, outgoing())];
    await expect.poll(() => waiting.length, LONG).toBe(3);
    for (const go of waiting) go();
    expect((await Promise.all([first, ...more])).map(({ error }) => error)).toEqual([null, null, null]);
    expect(transport.use()).toMatchObject({ opened: 3, openedAhead: 2, openMax: 3, used: 3 });
    expect(transport.openAhead(3)).toBe(false);
  });

  test('opened ahead that the target closes or refuses are replaced a moment later, and are no error', async () => {
    const server = await serve();
    const transport = transportTo(server.origin);
    expect(transport.openAhead(2)).toBe(true);
    await expect.poll(() => server.openConnections, LONG).toBe(1);
    await expect.poll(() => transport.use().openedAhead, LONG).toBe(1);
    server.closeConnections();
    await expect.poll(() => server.openConnections, LONG).toBe(0);
    // Not in a loop against a target that closes each of them.
    await expect.poll(() => transport.openAhead(1), LONG).toBe(true);
    await expect.poll(() => transport.use().openedAhead, LONG).toBe(2);
    expect(await play(transport, outgoing())).toMatchObject({ error: null });
    await server.close();
    await expect.poll(() => transport.openAhead(1), LONG).toBe(true);
    await expect.poll(() => transport.use().failed, LONG).toBe(1);
    expect(transport.openAhead(1)).toBe(false);
    expect(transport.use()).toMatchObject({ opened: 2, openedAhead: 2, used: 1 });
  });

  test('opened ahead may end as a request is sent, as those that were used may', async () => {
    const server = await serve((_request, socket) => socket.resetAndDestroy());
    const transport = transportTo(server.origin);
    expect((await play(transport, outgoing())).error).toBe('reset');
    // As soon as the one before is closed.
    await expect.poll(() => transport.openAhead(1), LONG).toBe(true);
    await expect.poll(() => transport.use().openedAhead, LONG).toBe(1);
    expect((await play(transport, outgoing())).error).toBe('reset_on_reuse');
  });

  test('are not opened ahead for a target that closes each after one answer', async () => {
    const server = await serve((_request, socket) => socket.end(answer('', '200 OK', ['connection: close'])));
    const transport = transportTo(server.origin);
    for (let nth = 0; nth < 3; nth++) {
      await play(transport, outgoing());
      await expect.poll(() => server.openConnections, LONG).toBe(0);
    }
    expect(transport.openAhead(5)).toBe(false);
    expect(server.connections).toBe(3);
  });

  test('that the target closed while idle are not used again', async () => {
    const server = await serve((_request, socket) => socket.end(answer()));
    const transport = transportTo(server.origin);
    for (let i = 0; i < 3; i++) {
      expect((await play(transport, outgoing())).error).toBeNull();
      // The close is heard and answered; a request in the very same moment is a race nobody can win.
      await expect.poll(() => server.openConnections, LONG).toBe(0);
    }
    expect(server.connections).toBe(3);
  });

  test.each([
    ['says that it closes them', answer('', '200 OK', ['connection: close'])],
    ['speaks HTTP/1.0', Buffer.from('HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n')],
    ['keeps them for less than it takes to be sure', answer('', '200 OK', ['keep-alive: timeout=0'])],
    ['sends more than it was asked for', Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP')],
  ])('are not used again where the target %s', async (_title, bytes) => {
    const server = await serve((_request, socket) => socket.write(bytes));
    const transport = transportTo(server.origin);
    for (let nth = 0; nth < 2; nth++) {
      expect(await play(transport, outgoing())).toMatchObject({ error: null, reused: false });
    }
    await expect.poll(() => server.openConnections, LONG).toBe(0);
    expect(server.connections).toBe(2);
  });

  test('on which something comes while they are idle are given up', async () => {
    const server = await serve((_request, socket) => {
      socket.write(answer());
      setTimeout(() => socket.write('HTTP/1.1 408 Too late\r\n\r\n'), 20);
    });
    const transport = transportTo(server.origin);
    await play(transport, outgoing());
    await expect.poll(() => server.openConnections, LONG).toBe(0);
    expect(await play(transport, outgoing())).toMatchObject({ error: null, reused: false });
  });

  test('that are idle for a second and a half are given up', async () => {
    const server = await serve();
    const transport = transportTo(server.origin);
    await play(transport, outgoing());
    await transport.warm(1);
    await expect.poll(() => server.openConnections, LONG).toBe(0);
  });

  test('older than their limit are given up, so that new replicas get traffic', async () => {
    const server = await serve();
    const transport = transportTo(server.origin, { maxConnectionAgeMs: 0 });
    await play(transport, outgoing());
    expect((await play(transport, outgoing())).reused).toBe(false);
    expect(server.connections).toBe(2);
  });

  test('of a lane carry that lane alone, and stay open between its requests', async () => {
    const server = await serve();
    const transport = transportTo(server.origin);
    for (const lane of [1, 2, 1, null, 2, 1]) {
      expect((await play(transport, outgoing({ lane }))).error).toBeNull();
    }
    expect(server.requests.map(({ connection }) => connection)).toEqual([0, 1, 0, 2, 1, 0]);
    // What is free is not a lane's, and is given up when it has been idle; a lane's is kept.
    await expect.poll(() => server.openConnections, LONG).toBe(2);
    expect((await play(transport, outgoing({ lane: 1 }))).reused).toBe(true);
  });

  test('of a lane are opened anew when the target has closed them, or they are too old', async () => {
    const server = await serve((_request, socket) => socket.end(answer()));
    const transport = transportTo(server.origin);
    await play(transport, outgoing({ lane: 1 }));
    await expect.poll(() => server.openConnections, LONG).toBe(0);
    expect(await play(transport, outgoing({ lane: 1 }))).toMatchObject({ error: null, reused: false });
    const patient = await serve();
    const aging = transportTo(patient.origin, { maxConnectionAgeMs: 0 });
    for (let nth = 0; nth < 2; nth++) {
      expect(await play(aging, outgoing({ lane: 1 }))).toMatchObject({ error: null, reused: false });
    }
    expect(patient.connections).toBe(2);
  });

  test('let go of a large body once it is written, and not when it is answered', async () => {
    const server = await serve((_request, socket) => setTimeout(() => socket.write(answer()), 100));
    const transport = transportTo(server.origin);
    for (const chunked of [false, true]) {
      const body = Buffer.alloc(1_000_000, 'large');
      const { events, error } = await play(transport, outgoing({ body, chunked }));
      expect(error).toBeNull();
      expect(events).toEqual(['start', 'body written', 'first byte', 'status', 'end']);
      expect(server.requests.at(-1)).toMatchObject({ chunked, body });
    }
  });

  test('go to every address of the name in turn, except where nobody listens', async () => {
    const server = await serve();
    const second = createServer((socket) =>
      socket.on('data', () => socket.write(answer())).on('error', () => socket.destroy()),
    );
    second.listen(server.port, '127.0.0.2');
    await once(second, 'listening');
    afterwards(async () => {
      second.close();
    });
    const origin = `http://models.invalid:${server.port}`;
    const transport = transportTo(origin, {}, ['127.0.0.1', '127.0.0.2', '127.0.0.3']);
    await transport.warm(2);
    await Promise.all(Array.from({ length: 8 }, () => play(transport, outgoing())));
    const use = transport.use();
    expect(use.failed).toBe(1);
    expect(use.byAddress.map(({ address, requests }) => [address, requests]).sort()).toEqual([
      ['127.0.0.1', 4],
      ['127.0.0.2', 4],
    ]);
  });

  test('that still hold the rest of a request answered early are not used again', async () => {
    let accepted = 0;
    const impatient = createServer((socket) => {
      accepted++;
      socket.on('error', () => socket.destroy());
      socket.once('data', () => {
        socket.pause();
        socket.write(answer());
      });
    });
    impatient.listen(0, '127.0.0.1');
    await once(impatient, 'listening');
    afterwards(async () => {
      impatient.close();
    });
    const transport = transportTo(`http://127.0.0.1:${(impatient.address() as AddressInfo).port}`);
    const large = outgoing({ body: Buffer.alloc(32 * 1024 * 1024) });
    expect((await play(transport, large)).error).toBeNull();
    expect(await play(transport, outgoing())).toMatchObject({ error: null, reused: false });
    expect(accepted).toBe(2);
  });
});

describe('TLS', () => {
  async function serveTls(): Promise<{ port: number; names: unknown[]; connections: () => number }> {
    const names: unknown[] = [];
    let connections = 0;
    const server = createTlsServer(
      { key: CERTIFICATE_KEY_PEM, cert: CERTIFICATE_PEM },
      (request, response) => {
        names.push((request.socket as TLSSocket).servername);
        request.resume().on('end', () => response.end('ok'));
      },
    );
    server.on('connection', () => connections++);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    afterwards(async () => {
      server.closeAllConnections();
      server.close();
    });
    return { port: (server.address() as AddressInfo).port, names, connections: () => connections };
  }

  const hosts = ['a.example', 'b.example', 'a.example'];

  test('asks for the name of the target whatever the Host header says, and keeps its connection', async () => {
    const { port, names, connections } = await serveTls();
    const origin = `https://${CERTIFICATE_NAME}:${port}`;
    const transport = transportTo(origin, { caPem: CERTIFICATE_PEM }, ['127.0.0.1']);
    await transport.warm(1);
    for (const host of hosts) {
      expect(
        (await play(transport, outgoing({ headers: ['Host', host], body: Buffer.alloc(50_000) }))).error,
      ).toBeNull();
    }
    expect(names).toEqual([CERTIFICATE_NAME, CERTIFICATE_NAME, CERTIFICATE_NAME]);
    expect(connections()).toBe(1);
  });

  test('sends no name where the target is an address, and accepts any certificate only when told to', async () => {
    const { port, names, connections } = await serveTls();
    const origin = `https://127.0.0.1:${port}`;
    expect((await play(transportTo(origin), outgoing())).error).toBe('connect_failed');
    const refused = connections();
    const transport = transportTo(origin, { acceptAnyCertificate: true });
    for (const host of hosts) {
      expect((await play(transport, outgoing({ headers: ['Host', host] }))).error).toBeNull();
    }
    expect(names).toEqual([false, false, false]);
    expect(connections() - refused).toBe(1);
  });

  test('trusts a certificate of the system where others are given as well', async () => {
    const { port } = await serveTls();
    const system = getCACertificates('default');
    afterwards(async () => setDefaultCACertificates(system));
    setDefaultCACertificates([...system, CERTIFICATE_PEM]);
    const caPem = rootCertificates[0] ?? '';
    const transport = transportTo(`https://${CERTIFICATE_NAME}:${port}`, { caPem }, ['127.0.0.1']);
    await transport.warm(1);
    expect((await play(transport, outgoing())).error).toBeNull();
  });

  test('that is not answered is given up when its time is over, and its socket is closed', async () => {
    let closed = false;
    const mute = createServer((socket) => {
      socket
        .on('error', () => {})
        .on('close', () => {
          closed = true;
        });
      socket.resume();
    });
    mute.listen(0, '127.0.0.1');
    await once(mute, 'listening');
    afterwards(async () => {
      mute.close();
    });
    const connectTimeoutMs = 1_001;
    const origin = `https://127.0.0.1:${(mute.address() as AddressInfo).port}`;
    const time = new LoopTime(systemClock);
    const looking = setInterval(() => time.nowNs(), 25);
    const begunNs = time.nowNs();
    const attempt = play(transportTo(origin, { connectTimeoutMs }), outgoing());
    await once(mute, 'connection');
    const connectedNs = time.nowNs();
    const { error } = await attempt;
    const endedNs = time.nowNs();
    clearInterval(looking);
    expect(error).toBe('connect_timeout');
    expect((endedNs - begunNs) / 1e6).toBeGreaterThan(connectTimeoutMs - 2);
    // The connector's own limit is up to half a second late. Two that look at the time of one loop see the begin of
    // each standstill a look apart, and no more than ten of those can be in a second.
    expect((endedNs - connectedNs) / 1e6).toBeLessThan(connectTimeoutMs + 300);
    await expect.poll(() => closed, LONG).toBe(true);
  });

  test('does not take a certificate for another name', async () => {
    const { port, names, connections } = await serveTls();
    const transport = transportTo(`https://other.invalid:${port}`, { caPem: CERTIFICATE_PEM }, ['127.0.0.1']);
    await transport.warm(1);
    expect((await play(transport, outgoing())).error).toBe('connect_failed');
    expect(connections()).toBe(2);
    expect(names).toEqual([]);
  });
});
