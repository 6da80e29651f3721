import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { describe, expect, it } from 'vitest';
import { FaultControl } from '../../src/app/fault-control.ts';
import { LIMITS, WIRE } from '../../src/core/limits.ts';
import { LOCAL_CERTIFICATE_KEY_PEM, LOCAL_CERTIFICATE_PEM } from '../support/certificate.ts';
import { echoServer, PlainClient, plainServer, startRelay } from '../support/fault-relay.ts';
import { startReprise } from '../support/process.ts';
import { answer, RawServer } from '../support/raw-server.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { tlsClient, tlsUpstream } from '../support/tls-stage.ts';

const WORD = Buffer.from('hello');

/** What a busy machine adds is never less than nothing. */
function least(values: readonly number[]): number {
  return Math.min(...values);
}

async function echoTimes(client: PlainClient, times: number): Promise<number[]> {
  const taken: number[] = [];
  for (let n = 0; n < times; n += 1) taken.push(await client.echo(WORD));
  return taken;
}

describe('faults on the stream', () => {
  it('delays each direction by what was asked, also on a connection that stands', async () => {
    const { control, port } = await startRelay(`127.0.0.1:${await echoServer()}`);
    const client = await PlainClient.to(port);
    const direct = least(await echoTimes(client, 15));
    await control.add('dep', { type: 'latency', attributes: { latency: 60 } });
    const down = least(await echoTimes(client, 7));
    expect(Math.abs(down - direct - 60)).toBeLessThan(Math.max(2, 60 * 0.05));
    await control.add('dep', { type: 'latency', stream: 'upstream', attributes: { latency: 40 } });
    const both = least(await echoTimes(client, 7));
    expect(Math.abs(both - direct - 100)).toBeLessThan(5);
    await control.reset();
    expect(least(await echoTimes(client, 7))).toBeLessThan(20);
    const counts = await control.counts();
    expect(counts.map(({ toxic, connections }) => [toxic, connections])).toEqual([
      ['latency_downstream', 1],
      ['latency_upstream', 1],
    ]);
    expect(counts[0]?.injected).toBe(14);
  });

  it('keeps the bytes and their order under a random delay, and releases what waits when it ends', async () => {
    const { control, port } = await startRelay(`127.0.0.1:${await echoServer()}`);
    await control.add('dep', {
      type: 'latency',
      attributes: { latency: 20, jitter: 20, distribution: 'normal' },
    });
    await control.add('dep', { type: 'slicer', attributes: { average_size: 700, size_variation: 300 } });
    const client = await PlainClient.to(port);
    const sent = Buffer.from(Array.from({ length: 50_000 }, (_, at) => at % 251));
    await client.echo(sent);
    expect(client.received.equals(sent)).toBe(true);
    await control.add('dep', { type: 'latency', name: 'long', attributes: { latency: 60_000 } });
    client.socket.write(sent);
    await sleep(200);
    expect(client.received.length).toBe(sent.length);
    await control.remove('dep', 'long');
    while (client.received.length < 2 * sent.length) await once(client.socket, 'data');
    expect(client.received.subarray(sent.length).equals(sent)).toBe(true);
  });

  it('holds no more than its bound, and stops reading', async () => {
    let written = 0;
    const port = await plainServer((socket) => {
      const more = () => {
        while (socket.write(Buffer.alloc(65_536))) written += 65_536;
      };
      socket.on('drain', more);
      more();
    });
    const relay = await startRelay(`127.0.0.1:${port}`);
    await relay.control.add('dep', { type: 'bandwidth', attributes: { rate: 10 } });
    await PlainClient.to(relay.port);
    await sleep(1_500);
    const before = written;
    await sleep(500);
    expect(written).toBe(before);
    expect(before).toBeLessThan(24 * 1024 * 1024);
    const page = await (await fetch(`${relay.origin}/metrics`)).text();
    expect(Number(/reprise_faults_throttled_total\{proxy="dep"\} (\d+)/.exec(page)?.[1])).toBeGreaterThan(0);
  });

  it('holds no more than its bound of a peer that cannot be asked whether it is there', async () => {
    const path = join(temporaryDirectory(), 'dep.sock');
    const flood = createServer((socket) => {
      const more = () => {
        while (!socket.destroyed && socket.write(Buffer.alloc(65_536)));
      };
      socket.on('drain', more).on('error', () => undefined);
      more();
    }).listen(path);
    await once(flood, 'listening');
    const relay = await startRelay(`unix:${path}`);
    await relay.control.add('dep', { type: 'bandwidth', attributes: { rate: 1 } });
    const client = await PlainClient.to(relay.port);
    const metrics = async () => await (await fetch(`${relay.origin}/metrics`)).text();
    const read = async () => {
      const page = await metrics();
      const bytes = /toxiproxy_proxy_received_bytes_total\{direction="downstream",[^}]*\} (\d+)/.exec(page);
      return Number(bytes?.[1]);
    };
    while (!/throttled_total\{proxy="dep"\} 1/.test(await metrics())) await sleep(20);
    await sleep(10 * WIRE.probeMs);
    expect(await read()).toBeLessThan(LIMITS.faultHeldBytes + LIMITS.probedBytes);
    client.socket.destroy();
    flood.close();
  });

  it('counts what each slice takes, so that slices of a byte do not fill the memory', async () => {
    const relay = await startRelay(`127.0.0.1:${await echoServer()}`);
    const slicer = { average_size: 1, delay: 60_000_000 };
    await relay.control.add('dep', { type: 'slicer', stream: 'upstream', attributes: slicer });
    const client = await PlainClient.to(relay.port);
    client.socket.write(Buffer.alloc(2 * LIMITS.faultHeldBytes));
    const page = async () => await (await fetch(`${relay.origin}/metrics`)).text();
    while (!/throttled_total\{proxy="dep"\} 1/.test(await page())) await sleep(20);
    await sleep(5 * WIRE.probeMs);
    const read = /toxiproxy_proxy_received_bytes_total\{direction="upstream",[^}]*\} (\d+)/.exec(
      await page(),
    );
    expect(Number(read?.[1])).toBeLessThan(LIMITS.probedBytes);
  });

  it('paces by bandwidth', async () => {
    const { control, port } = await startRelay(`127.0.0.1:${await echoServer()}`);
    await control.add('dep', { type: 'bandwidth', attributes: { rate: 100 } });
    const client = await PlainClient.to(port);
    const taken = await client.echo(Buffer.alloc(50_000));
    expect(taken).toBeGreaterThan(450);
    expect(taken).toBeLessThan(700);
  });

  it('slices with a pause between slices', async () => {
    const { control, port } = await startRelay(`127.0.0.1:${await echoServer()}`);
    await control.add('dep', { type: 'slicer', attributes: { average_size: 100, delay: 30_000 } });
    const client = await PlainClient.to(port);
    await client.echo(Buffer.alloc(1_000));
    expect(client.chunks.length).toBeGreaterThanOrEqual(8);
  });

  it('passes half-closes on without a fault, delays a close, and ends one direction alone', async () => {
    const { control, port } = await startRelay(`127.0.0.1:${await echoServer()}`);
    const plain = await PlainClient.to(port);
    await plain.echo(WORD);
    plain.socket.end();
    expect(await plain.ended).toBe('end');

    await control.add('dep', { type: 'slow_close', attributes: { delay: 300 } });
    const slow = await PlainClient.to(port);
    const start = performance.now();
    slow.socket.end(WORD);
    expect(await slow.ended).toBe('end');
    expect(performance.now() - start).toBeGreaterThan(290);
    await control.reset();

    await control.add('dep', { type: 'half_close', attributes: { delay: 50 } });
    const half = await PlainClient.to(port);
    expect(await half.ended).toBe('end');
    expect(half.socket.writable).toBe(true);
  });

  it('resets, drops, cuts at a byte, and is down', async () => {
    const { control, port } = await startRelay(`127.0.0.1:${await echoServer()}`);
    await control.add('dep', { type: 'reset_peer', attributes: { timeout: 0 } });
    const reset = await PlainClient.to(port);
    reset.socket.write(WORD);
    expect(await reset.ended).toBe('ECONNRESET');
    await control.reset();

    await control.add('dep', { type: 'timeout', attributes: { timeout: 200 } });
    const lost = await PlainClient.to(port);
    const start = performance.now();
    lost.socket.write(WORD);
    expect(await lost.ended).toBe('end');
    expect(performance.now() - start).toBeGreaterThan(190);
    expect(lost.received.length).toBe(0);
    await control.reset();

    await control.add('dep', { type: 'limit_data', attributes: { bytes: 8 } });
    const cut = await PlainClient.to(port);
    cut.socket.write(Buffer.from('0123456789abc'));
    expect(await cut.ended).toBe('end');
    expect(cut.received.toString()).toBe('01234567');
    await control.reset();

    const standing = await PlainClient.to(port);
    await standing.echo(WORD);
    await control.enable('dep', false);
    expect(await standing.ended).toBe('end');
    expect(await new PlainClient(port).ended).toBe('ECONNREFUSED');
    await control.enable('dep', true);
    await (await PlainClient.to(port)).echo(WORD);
  });

  it('is on for its share of connections, by a seed', async () => {
    const upstream = `127.0.0.1:${await echoServer()}`;
    const struck = async (seed: string) => {
      const { control, port } = await startRelay(upstream, { seed });
      await control.add('dep', { type: 'limit_data', toxicity: 0.4, attributes: { bytes: 1 } });
      const found: boolean[] = [];
      for (let n = 0; n < 40; n += 1) {
        const client = await PlainClient.to(port);
        client.socket.end(WORD);
        await client.ended;
        found.push(client.received.length === 1);
      }
      return found;
    };
    const first = await struck('7');
    expect(await struck('7')).toEqual(first);
    const share = first.filter(Boolean).length / first.length;
    expect(share).toBeGreaterThan(0.15);
    expect(share).toBeLessThan(0.65);
  });
});

describe('TLS', () => {
  it('is ended and begun by the relay, with faults between', async () => {
    const { port } = await tlsUpstream((stream) => stream.pipe(stream));
    const [tlsCert, tlsKey] = ['cert', 'key'].map((name) => `${temporaryDirectory()}/${name}.pem`) as [
      string,
      string,
    ];
    writeFileSync(tlsCert, LOCAL_CERTIFICATE_PEM);
    writeFileSync(tlsKey, LOCAL_CERTIFICATE_KEY_PEM);
    const stated = { listen: ['dep=https://127.0.0.1:0'], tlsCert, tlsKey, upstreamCa: tlsCert };
    const { control, running } = await startRelay(`https://localhost:${port}`, stated);
    await control.add('dep', { type: 'limit_data', attributes: { bytes: 3 } });
    const stream = await tlsClient(Number(running.proxies[0]?.listen.split(':').at(-1)));
    const chunks: Buffer[] = [];
    stream.on('data', (bytes: Buffer) => chunks.push(bytes));
    stream.write(WORD);
    await once(stream, 'end');
    expect(Buffer.concat(chunks).toString()).toBe('hel');
    // One whose name is wrong is not trusted: its client is reset, and that is counted.
    const wrong = await startRelay(`https://127.0.0.2:${port}`, { upstreamCa: tlsCert });
    const client = await PlainClient.to(wrong.port);
    expect(await client.ended).toBe('ECONNRESET');
    const page = await (await fetch(`${wrong.origin}/metrics`)).text();
    expect(page).toContain('reprise_faults_connections_total{proxy="dep",outcome="unreachable"} 1');
  });
});

describe('faults on requests', () => {
  async function http() {
    const server = await RawServer.start();
    const relay = await startRelay(`127.0.0.1:${server.port}`);
    const agent = new Agent({ connections: 1, pipelining: 1 });
    const ask = async (body?: string) => {
      const start = performance.now();
      const response = await request(`http://127.0.0.1:${relay.port}/x`, {
        dispatcher: agent,
        method: body === undefined ? 'GET' : 'POST',
        ...(body !== undefined && { body }),
      });
      const text = await response.body.text();
      return { status: response.statusCode, text, ms: performance.now() - start };
    };
    return { ...relay, server, ask };
  }

  it('answers the first requests on a connection that stands, then none, and the upstream saw only the others', async () => {
    const { control, ask, server } = await http();
    expect((await ask()).status).toBe(200);
    await control.add('dep', {
      type: 'http_error',
      attributes: { status: 429, first: 2, body: 'slow down' },
    });
    const seen = [await ask('a body'), await ask(), await ask('x'.repeat(200_000))];
    expect(seen.map(({ status }) => status)).toEqual([429, 429, 200]);
    expect(seen[0]?.text).toBe('slow down');
    expect(server.requests.length).toBe(2);
    expect(server.connections).toBe(1);
    expect((await control.counts())[0]).toMatchObject({
      toxic: 'http_error_downstream',
      injected: 2,
      connections: 1,
    });
    await server.close();
  });

  it('answers a share by its seed, and only for its period', async () => {
    const { control, ask, server } = await http();
    await control.add('dep', { type: 'http_error', attributes: { probability: 0.5 } });
    const statuses: number[] = [];
    for (let n = 0; n < 60; n += 1) statuses.push((await ask()).status);
    const failed = statuses.filter((status) => status === 503).length;
    expect(failed).toBeGreaterThan(15);
    expect(failed).toBeLessThan(45);
    await control.reset();
    await control.add('dep', { type: 'http_error', attributes: { period: 300 } });
    expect((await ask()).status).toBe(503);
    await sleep(350);
    expect((await ask()).status).toBe(200);
    await server.close();
  });

  it('delays requests with their bodies, keeps their bytes, and lets them go when it ends', async () => {
    const { control, ask, server } = await http();
    await ask();
    await control.add('dep', { type: 'http_delay', attributes: { delay: 80 } });
    const body = 'b'.repeat(300_000);
    const delayed = await ask(body);
    expect(delayed.status).toBe(200);
    expect(Math.abs(delayed.ms - 80)).toBeLessThan(40);
    expect(server.requests.at(-1)?.body.toString()).toBe(body);
    await control.add('dep', { type: 'http_delay', name: 'long', attributes: { delay: 60_000 } });
    const waiting = ask();
    await sleep(200);
    await control.reset();
    expect((await waiting).status).toBe(200);
    await server.close();
  });

  it('lets nothing of a request that it answered reach the upstream, however the rest of it reads', async () => {
    const { control, port, server } = await http();
    await control.add('dep', { type: 'http_error', attributes: {} });
    const client = await PlainClient.to(port);
    const head = 'POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n';
    client.socket.write(`${head}ZZ\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n`);
    expect(await client.ended).toBe('end');
    expect(client.received.toString()).toMatch(/^HTTP\/1\.1 503 .*connection: close/is);
    expect(server.requests).toEqual([]);
    await server.close();
  });

  it('leaves alone what is no HTTP', async () => {
    const { control, port } = await startRelay(`127.0.0.1:${await echoServer()}`);
    await control.add('dep', { type: 'http_error', attributes: {} });
    const client = await PlainClient.to(port);
    await client.echo(Buffer.from('*1\r\n$4\r\nPING\r\n'));
    await client.echo(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]));
    expect((await control.counts())[0]?.injected).toBe(0);
  });

  it('does not let answers change places: a pipelined request passes', async () => {
    let release = () => {};
    const server = await RawServer.start(({ nth }, socket) => {
      if (nth === 0) release = () => socket.write(answer('first'));
      else socket.write(answer('second'));
    });
    const { control, port } = await startRelay(`127.0.0.1:${server.port}`);
    const client = await PlainClient.to(port);
    client.socket.write('GET /1 HTTP/1.1\r\nhost: x\r\n\r\n');
    await sleep(100);
    await control.add('dep', { type: 'http_error', attributes: {} });
    client.socket.write('GET /2 HTTP/1.1\r\nhost: x\r\n\r\n');
    await sleep(100);
    release();
    while (!client.received.includes('first')) await once(client.socket, 'data');
    expect(client.received.toString()).not.toContain('503');
    await server.close();
  });
});

describe('the end of a controller', () => {
  it('takes away what was set under a lease that is no longer renewed, and nothing else', async () => {
    const { control, running, port } = await startRelay(`127.0.0.1:${await echoServer()}`);
    const leased = new FaultControl(running.control, 'run-1');
    await expect(leased.add('dep', { type: 'timeout', attributes: {} })).rejects.toThrow('lease not found');
    await leased.renew(0.5);
    await leased.add('dep', { type: 'timeout', attributes: {} });
    await leased.enable('dep', false);
    await control.add('dep', { type: 'latency', attributes: { latency: 1 } });
    await sleep(300);
    await leased.renew(0.5);
    await sleep(300);
    expect((await control.proxies())[0]).toMatchObject({ enabled: false });
    await sleep(600);
    const [proxy] = await control.proxies();
    expect(proxy?.enabled).toBe(true);
    expect(proxy?.toxics.map(({ type }) => type)).toEqual(['latency']);
    await (await PlainClient.to(port)).echo(WORD);
  });

  it('takes every fault away although one proxy cannot listen again, and tries that one until it can', async () => {
    const port = await echoServer();
    const { control, running } = await startRelay('', {
      listen: ['first=127.0.0.1:0', 'second=127.0.0.1:0'],
      upstream: [`127.0.0.1:${port}`, `127.0.0.1:${port}`],
    });
    const leased = new FaultControl(running.control, 'run-1');
    await leased.renew(30);
    await leased.enable('first', false);
    await leased.add('first', { type: 'timeout', attributes: {} });
    await leased.enable('second', false);
    await leased.add('second', { type: 'timeout', attributes: {} });
    const [first] = await control.proxies();
    const taken = createServer().listen(Number(first?.listen.split(':').at(-1)), '127.0.0.1');
    await once(taken, 'listening');
    await expect(leased.endLease()).rejects.toThrow('the port is in use');
    const shown = async () =>
      (await control.proxies()).map(({ enabled, toxics }) => [enabled, toxics.length]);
    expect(await shown()).toEqual([
      [false, 0],
      [true, 0],
    ]);
    taken.close();
    while ((await shown())[0]?.[0] === false) await sleep(50);
  });

  it('does not take over what another one switched off', async () => {
    const { control, running, origin } = await startRelay(`127.0.0.1:${await echoServer()}`);
    const [first, second] = ['run-1', 'run-2'].map((lease) => new FaultControl(running.control, lease));
    await first?.renew(30);
    await second?.renew(30);
    await first?.enable('dep', false);
    const headers = { 'user-agent': 'test', 'x-reprise-lease': 'run-2' };
    await fetch(`${origin}/proxies/dep`, { method: 'POST', body: '{}', headers });
    await second?.endLease();
    expect((await control.proxies())[0]?.enabled).toBe(false);
    await first?.endLease();
    expect((await control.proxies())[0]?.enabled).toBe(true);
  });

  it('ends with a signal and leaves no connection', async () => {
    const port = await echoServer();
    const process = startReprise(
      ['faults', '--listen', '127.0.0.1:0', '--upstream', `127.0.0.1:${port}`, '--control', '127.0.0.1:0'],
      {},
    );
    const [, listen] = await process.waitFor('stderr', /"listen":"127\.0\.0\.1:(\d+)"/);
    const client = await PlainClient.to(Number(listen));
    await client.echo(WORD);
    const { status } = await process.kill('SIGTERM');
    expect(status).toBe(0);
    expect(await client.ended).toBe('end');
  });
});
