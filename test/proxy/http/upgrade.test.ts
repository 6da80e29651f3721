import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { imbalance } from '../../support/imbalance.ts';
import { afterwards } from '../../support/leftovers.ts';
import { RawServer } from '../../support/raw-server.ts';
import { standstillOf } from '../../support/readings.ts';
import { RawClient, rawUpstream, startGateway, startTimedGateway, until } from './support.ts';

const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n';
const GET = 'GET / HTTP/1.1\r\nHost: m\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** A request for WebSocket, with more header lines. */
function upgrade(lines = '', version = '1.1'): string {
  return `GET /chat HTTP/${version}\r\nHost: m\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${lines}\r\n`;
}

/** A target that answers each request with these bytes and goes no further. */
async function saying(bytes: string): Promise<number> {
  return await rawUpstream((socket) => socket.on('data', () => socket.write(bytes, 'latin1')));
}

describe('an upgrade that announces a body', () => {
  const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n';
  const disguise = `POST /victim HTTP/1.1\r\nHost: m\r\nContent-Length: ${smuggled.length}\r\nConnection: keep-alive\r\n\r\n`;

  it('and sends none takes no request of others for it: none is smuggled', async () => {
    const heads: string[] = [];
    // A target that answers a head at once, reads the body that it announced, and then the next head.
    const port = await rawUpstream((socket) => {
      let text = '';
      let body = 0;
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1');
        for (;;) {
          const skipped = Math.min(body, text.length);
          text = text.slice(skipped);
          body -= skipped;
          const end = text.indexOf('\r\n\r\n');
          if (body > 0 || end < 0) return;
          const head = text.slice(0, end);
          text = text.slice(end + 4);
          body = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
          heads.push(head.split(' ', 2).join(' '));
          socket.write(OK);
        }
      });
    });
    const gateway = await startGateway(port, { websocket: true });
    const attacker = await RawClient.connect(gateway.port);
    attacker.send(upgrade(`Content-Length: ${disguise.length}\r\n`));
    await attacker.read(/ok$/);
    const victim = await RawClient.connect(gateway.port);
    victim.send(`POST /victim HTTP/1.1\r\nHost: m\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`);
    await victim.read(/ok$/);
    expect(heads).toEqual(['GET /chat', 'POST /victim']);
  });

  it.each([
    ['of a length', 'Content-Length: 4\r\n', 'body'],
    ['in chunks', 'Transfer-Encoding: chunked\r\n', '4\r\nbody\r\n0\r\n\r\n'],
  ])('%s is the ordinary request that it also is', async (_, framing, body) => {
    const upstream = await RawServer.start();
    afterwards(() => upstream.close());
    const gateway = await startGateway(upstream.port, { websocket: true });
    const client = await RawClient.connect(gateway.port);
    client.send(`${upgrade(framing)}${body}`);
    await client.read(/ok$/);
    client.send(GET);
    await client.read(/ok$/);
    expect(upstream.requests.map(({ body: read }) => read.toString())).toEqual(['body', '']);
    expect(upstream.requests[0]?.head.toString()).not.toMatch(/^upgrade:/im);
  });

  it('of no bytes is an upgrade; one in HTTP/1.0, which knows none, is not', async () => {
    const port = await rawUpstream((socket) => {
      socket.on('data', (chunk) => socket.write(/^upgrade:/im.test(String(chunk)) ? SWITCH : OK));
    });
    const gateway = await startGateway(port, { websocket: true });
    const [modern, old] = [await RawClient.connect(gateway.port), await RawClient.connect(gateway.port)];
    modern.send(upgrade('Content-Length: 0\r\n'));
    await modern.read(/^HTTP\/1\.1 101 /);
    old.send(upgrade('', '1.0'));
    await old.read(/^HTTP\/1\.1 200 /);
  });
});

describe('an upgrade that is declined', () => {
  it('leaves no connection behind that another request is sent on', async () => {
    const byConnection: number[] = [];
    const port = await rawUpstream((socket, nth) => {
      socket.on('data', () => {
        byConnection.push(nth);
        socket.write(OK);
      });
    });
    const gateway = await startGateway(port, { websocket: true, freeSocketMs: 10_000 });
    for (const text of [GET, upgrade(), GET]) {
      const client = await RawClient.connect(gateway.port);
      client.send(text);
      await client.read(/ok$/);
    }
    // Nor is it sent on one that others use: the first is free all the time.
    expect(byConnection).toEqual([0, 1, 0]);
  });

  it('is under way as long as its answer is', async () => {
    const gateway = await startGateway(await saying('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'), {
      websocket: true,
      maxInFlight: 1,
    });
    const first = await RawClient.connect(gateway.port);
    first.send(upgrade());
    await first.read(/half$/);
    for (const text of [upgrade(), GET]) {
      const other = await RawClient.connect(gateway.port);
      other.send(text);
      await other.read(/^HTTP\/1\.1 503 /);
    }
    first.socket.resetAndDestroy();
    await until(() => gateway.gateway.counts.inFlight === 0);
    expect(gateway.gateway.counts).toMatchObject({ tunnels: 0, refused: { in_flight: 2 } });
  });

  it.each([
    ['of a length', 'Content-Length: 9\r\n'],
    ['up to the close', ''],
  ])('is ended where its answer, %s, stands still, without looking whole', async (_, framing) => {
    const gateway = await startTimedGateway(await saying(`HTTP/1.1 200 OK\r\n${framing}\r\nhalf`), {
      websocket: true,
      timeouts: { idleMs: 300 },
    });
    const client = await RawClient.connect(gateway.port);
    client.send(upgrade());
    await client.read(/\r\n\r\nhalf$/);
    gateway.pass(301);
    expect(await client.closed).toBe('reset');
    expect(client.received).toBe('');
    expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
    expect(gateway.sink.exchanges[0]).toMatchObject({ outcome: 'timed_out', status: 200 });
  });

  it('is ended where its answer drips for longer than an exchange may take', async () => {
    const asked = Promise.withResolvers<Socket>();
    const port = await rawUpstream((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
        asked.resolve(socket);
      });
    });
    const timeouts = { totalMs: 500, idleMs: 200 };
    const gateway = await startTimedGateway(port, { websocket: true, timeouts });
    const client = await RawClient.connect(gateway.port);
    client.send(upgrade());
    const target = await asked.promise;
    for (let ageMs = 0; ageMs <= 500; ageMs += 100) {
      target.write('1\r\nx\r\n');
      await client.read(/x(?:\r\n)?$/);
      gateway.pass(100);
    }
    expect(await client.closed).toBe('reset');
    await gateway.settle();
    expect(gateway.sink.exchanges[0]?.outcome).toBe('timed_out');
  });

  it('is ended where its client does not read the answer', async () => {
    let closed = false;
    const port = await rawUpstream((socket) => {
      socket.on('close', () => {
        closed = true;
      });
      socket.on('data', () => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${64 * 1024 * 1024}\r\n\r\n`);
        socket.write(Buffer.alloc(64 * 1024 * 1024));
      });
    });
    const gateway = await startGateway(port, { websocket: true, timeouts: { idleMs: 500 } });
    const client = await RawClient.connect(gateway.port);
    client.socket.pause();
    client.send(upgrade());
    await until(() => closed);
    await until(() => gateway.gateway.connections.open === 0);
    expect(gateway.gateway.counts.inFlight).toBe(0);
  });
});

describe('an upgrade', () => {
  it('that is marked as replayed is answered 403 where that is asked for, and reaches nobody', async () => {
    let accepted = 0;
    const port = await rawUpstream(() => {
      accepted += 1;
    });
    const gateway = await startGateway(port, { websocket: true, refuseMarked: true });
    const client = await RawClient.connect(gateway.port);
    client.send(upgrade('x-reprise-run: r1\r\n'));
    await client.read(/^HTTP\/1\.1 403 Forbidden\r\n/);
    expect(accepted).toBe(0);
    const reading = await gateway.settle();
    expect(reading.omitted.replay_marked?.turns).toBe(1);
    expect(gateway.gateway.counts.refused).toEqual({ replay_marked: 1 });
  });

  it('is a request under way until it is answered, and a tunnel after that', async () => {
    const asked: Socket[] = [];
    const port = await rawUpstream((socket) => socket.once('data', () => asked.push(socket)));
    const gateway = await startGateway(port, { websocket: true, maxInFlight: 1 });
    const first = await RawClient.connect(gateway.port);
    first.send(upgrade());
    await until(() => asked.length === 1);
    expect(gateway.gateway.counts).toMatchObject({ inFlight: 1, tunnels: 0 });
    const second = await RawClient.connect(gateway.port);
    second.send(upgrade());
    await second.read(/^HTTP\/1\.1 503 /);
    asked[0]?.write(SWITCH);
    await first.read(/\r\n\r\n$/);
    expect(gateway.gateway.counts).toMatchObject({ inFlight: 0, tunnels: 1 });
    const third = await RawClient.connect(gateway.port);
    third.send(upgrade());
    await until(() => asked.length === 2);
  });

  it('that stays without an answer gets a 504, and a client that leaves it is told of', async () => {
    let open = 0;
    const port = await rawUpstream((socket) => {
      open += 1;
      socket.resume().on('close', () => {
        open -= 1;
      });
    });
    const gateway = await startGateway(port, { websocket: true, timeouts: { firstByteMs: 1_000 } });
    const patient = await RawClient.connect(gateway.port);
    patient.send(upgrade());
    await patient.read(/^HTTP\/1\.1 504 /);
    await until(() => open === 0);
    const endless = await startGateway(port, { websocket: true });
    for (const leave of ['end', 'resetAndDestroy'] as const) {
      const client = await RawClient.connect(endless.port);
      client.send(upgrade());
      await until(() => open === 1);
      client.socket[leave]();
      await until(() => open === 0);
    }
    expect(endless.gateway.counts.inFlight).toBe(0);
  });

  it('tells of a client that leaves behind more than is read of it by then', async () => {
    let open = 0;
    const port = await rawUpstream((socket) => {
      open += 1;
      socket.resume().on('close', () => {
        open -= 1;
      });
    });
    const gateway = await startGateway(port, { websocket: true });
    const client = await RawClient.connect(gateway.port);
    client.send(upgrade());
    await until(() => open === 1);
    // More than is read before anybody wants it.
    client.socket.write(Buffer.alloc(1024 * 1024));
    await standstillOf(() => client.socket.writableLength);
    client.socket.resetAndDestroy();
    await until(() => open === 0);
  });
});
