import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { GATEWAY_DEFAULTS } from '../../../src/proxy/http/options.ts';
import { imbalance } from '../../support/imbalance.ts';
import { afterwards } from '../../support/leftovers.ts';
import { RawServer } from '../../support/raw-server.ts';
import { ask, RawClient, rawUpstream, startGateway, startTimedGateway, until } from './support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: m\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

async function server(): Promise<RawServer> {
  const upstream = await RawServer.start();
  afterwards(() => upstream.close());
  return upstream;
}

/** An upstream that never answers. */
async function silent(): Promise<number> {
  return await rawUpstream((socket) => socket.resume());
}

describe('limits of number', () => {
  it('refuse no request below 10,000 in flight by default', () => {
    expect(GATEWAY_DEFAULTS.maxInFlight).toBe(10_000);
  });

  it('answer 503 to more requests than may be under way, record them, and keep the connection', async () => {
    let asked = 0;
    let release: () => void = () => undefined;
    const port = await rawUpstream((socket) => {
      socket.on('data', () => {
        asked += 1;
        release = () => socket.write(OK);
      });
    });
    const gateway = await startGateway(port, { maxInFlight: 1 });
    const first = await RawClient.connect(gateway.port);
    first.send(GET);
    await until(() => gateway.gateway.counts.inFlight === 1);
    const second = await RawClient.connect(gateway.port);
    second.send('POST /x HTTP/1.1\r\nHost: m\r\nContent-Length: 5\r\n\r\nhello');
    await second.read(/^HTTP\/1\.1 503 Service Unavailable\r\n[\s\S]*\r\n\r\n/);
    await until(() => asked === 1);
    release();
    await first.read(/ok$/);
    await until(() => gateway.gateway.counts.inFlight === 0);
    second.send(GET);
    await until(() => asked === 2);
    release();
    await second.read(/ok$/);
    expect(asked).toBe(2);
    expect(gateway.gateway.counts).toMatchObject({ inFlight: 0, refused: { in_flight: 1 } });
    expect(imbalance(await gateway.settle())).toEqual({ bytes: 0, turns: 0 });
    const refused = gateway.sink.exchanges.find(({ status }) => status === 503);
    expect(refused).toMatchObject({ outcome: 'completed', route: 'POST /x' });
    expect(refused?.request?.body.bytes).toBe(5);
  });

  it('take a head of the target up to 64 KiB, whatever Node was started with, and none of 1,000 lines', async () => {
    const lines = (count: number, bytes: number) => `X: ${'y'.repeat(bytes)}\r\n`.repeat(count);
    const heads = [lines(40, 1_000), lines(80, 1_000), lines(998, 1), lines(999, 1)];
    const port = await rawUpstream((socket) => {
      socket.on('data', () => socket.end(OK.replace('\r\n\r\n', `\r\n${heads.shift()}\r\n`)));
    });
    const gateway = await startGateway(port);
    for (const status of [200, 502, 200, 502])
      expect(await ask(gateway.port, GET)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  });

  it('refuse a head of a client by its size alone: 431 beyond 64 KiB, and every one of 1,500 lines passed on', async () => {
    const heads: string[] = [];
    const port = await rawUpstream((socket) => {
      socket.on('data', (bytes: Buffer) => {
        heads.push(bytes.toString('latin1'));
        socket.end(OK);
      });
    });
    const gateway = await startGateway(port);
    const head = (lines: string) => GET.replace('\r\n\r\n', `\r\n${lines}\r\n`);
    expect(await ask(gateway.port, head('X: y\r\n'.repeat(1_500)))).toMatch(/^HTTP\/1.1 200 /);
    expect(heads.join('').match(/^X: y\r$/gm)).toHaveLength(1_500);
    expect(await ask(gateway.port, head(`X: ${'y'.repeat(65_536)}\r\n`))).toMatch(/^HTTP\/1.1 431 /);
    expect(gateway.gateway.counts.refused).toEqual({ head_too_large: 1 });
  });

  it('turn connections away beyond their number', async () => {
    const upstream = await server();
    const gateway = await startGateway(upstream.port, { maxConnections: 2 });
    const kept = [await RawClient.connect(gateway.port), await RawClient.connect(gateway.port)];
    const third = await RawClient.connect(gateway.port);
    await third.closed;
    expect(gateway.gateway.connections).toMatchObject({ open: 2, turnedAway: 1 });
    kept[0]?.send(GET);
    await kept[0]?.read(/ok$/);
  });

  it('hold an answer back that the client does not read', async () => {
    let written = 0;
    const port = await rawUpstream((socket) => {
      socket.on('data', () => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${256 * 1024 * 1024}\r\n\r\n`);
        const piece = Buffer.alloc(64 * 1024);
        const pour = () => {
          while (written < 256 * 1024 * 1024 && socket.write(piece)) written += piece.length;
        };
        socket.on('drain', pour);
        pour();
      });
    });
    const gateway = await startGateway(port);
    const client = await RawClient.connect(gateway.port);
    client.socket.pause();
    client.send(GET);
    let before = -1;
    while (before !== written) {
      before = written;
      await sleep(400);
    }
    expect(written).toBeLessThan(40 * 1024 * 1024);
  });
});

describe('replayed traffic', () => {
  const marked = 'GET /m HTTP/1.1\r\nHost: m\r\nx-reprise-run: r1\r\n\r\n';

  it('is forwarded and omitted by default', async () => {
    const upstream = await server();
    const gateway = await startGateway(upstream.port);
    expect(await ask(gateway.port, marked)).toMatch(/ok$/);
    const { omitted } = await gateway.settle();
    expect(omitted.replay_marked?.turns).toBe(1);
  });

  it('is answered 403 and reaches nobody where that is asked for', async () => {
    const upstream = await server();
    const gateway = await startGateway(upstream.port, { refuseMarked: true });
    expect(await ask(gateway.port, marked)).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
    expect(upstream.requests).toHaveLength(0);
    const reading = await gateway.settle();
    expect(reading.omitted.replay_marked?.turns).toBe(1);
    expect(gateway.sink.exchanges).toHaveLength(0);
  });

  it.each([
    ['of an announced length', 'content-length: 9\r\n\r\n', 'ninebytes'],
    ['in chunks', 'transfer-encoding: chunked\r\n\r\n', '9\r\nninebytes\r\n0\r\n\r\n'],
  ])('is one turn where its body, %s, comes after the answer', async (_, rest, body) => {
    const upstream = await server();
    const gateway = await startGateway(upstream.port, { refuseMarked: true });
    const client = await RawClient.connect(gateway.port);
    client.send(`POST /m HTTP/1.1\r\nHost: m\r\nx-reprise-run: r1\r\n${rest}`);
    expect(await client.read(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
    client.send(body);
    client.send(GET);
    expect(await client.read(/ok$/)).toMatch(/200 OK/);
    const reading = await gateway.settle();
    expect(reading.seen.turns).toBe(2);
    expect(reading.omitted.replay_marked?.turns).toBe(1);
    expect(gateway.sink.exchanges).toHaveLength(1);
  });
});

describe('upstream connections', () => {
  it('are given up before an upstream that closes idle ones does: no request races its end', async () => {
    const port = await rawUpstream((socket) => {
      let asked = 0;
      socket.on('data', () => {
        asked += 1;
        const nth = asked;
        socket.write(OK);
        // What has come by then is read first, or it could not be said to be idle.
        const closeIdle = () => asked === nth && socket.resetAndDestroy();
        setTimeout(() => setImmediate(closeIdle), 60);
      });
    });
    const gateway = await startGateway(port, { freeSocketMs: 30 });
    const client = await RawClient.connect(gateway.port);
    for (let turn = 0; turn < 40; turn += 1) {
      client.send(GET);
      expect(await client.read(/^HTTP\/1\.1 [^2]|ok$/)).toMatch(/^HTTP\/1\.1 200 /);
      await sleep(20 + turn);
    }
  });

  it('serve one request each where they are not to be reused', async () => {
    const upstream = await server();
    const gateway = await startGateway(upstream.port, { upstreamReuse: false });
    const client = await RawClient.connect(gateway.port);
    for (let turn = 0; turn < 3; turn += 1) {
      client.send(GET);
      await client.read(/ok$/);
    }
    expect(upstream.connections).toBe(3);
    expect(upstream.requests[0]?.head.toString()).toContain('Connection: close\r\n');
  });

  it('are not asked twice: a request whose connection broke is not sent again', async () => {
    let asked = 0;
    const port = await rawUpstream((socket) => {
      socket.on('data', () => {
        asked += 1;
        socket.resetAndDestroy();
      });
    });
    const gateway = await startGateway(port);
    expect(await ask(gateway.port, GET)).toMatch(/^HTTP\/1\.1 502 /);
    expect(asked).toBe(1);
  });
});

describe('a drain', () => {
  it('finishes what is under way, ends each connection with its last answer, and fails nothing', async () => {
    const port = await rawUpstream((socket) => {
      socket.on('data', () => setTimeout(() => socket.write(OK), 100));
    });
    const gateway = await startGateway(port);
    const [busy, idle] = [await RawClient.connect(gateway.port), await RawClient.connect(gateway.port)];
    idle.send(GET);
    await idle.read(/ok$/);
    busy.send(GET);
    await sleep(20);
    const draining = gateway.gateway.drain(5_000);
    // A client that had its request on the way is served.
    idle.send(GET);
    expect(await idle.read(/ok$/)).toContain('Connection: close\r\n');
    expect(await busy.read(/ok$/)).toContain('Connection: close\r\n');
    expect(await Promise.all([busy.closed, idle.closed])).toEqual(['end', 'end']);
    expect(await draining).toBe(0);
    await expect(RawClient.connect(gateway.port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('ends quiet connections after a while, and cuts and counts what the deadline finds', async () => {
    const gateway = await startTimedGateway(await silent());
    const [waiting, quiet] = [await RawClient.connect(gateway.port), await RawClient.connect(gateway.port)];
    const closed: string[] = [];
    waiting.socket.on('close', () => closed.push('waiting'));
    quiet.socket.on('close', () => closed.push('quiet'));
    waiting.send(GET);
    await until(() => gateway.gateway.counts.inFlight === 1 && gateway.gateway.connections.open === 2);
    const draining = gateway.gateway.drain(900);
    gateway.pass(500);
    await waiting.closed;
    expect(closed).toEqual(['quiet', 'waiting']);
    expect(await draining).toBe(1);
    expect(await waiting.closed).toBe('reset');
    const reading = await gateway.settle();
    expect(imbalance(reading)).toEqual({ bytes: 0, turns: 0 });
    expect(reading.lost.shutdown_timeout?.turns).toBe(1);
  });
});
