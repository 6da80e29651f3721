import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { FaultControl } from '../../src/app/fault-control.ts';
import { LIMITS, WIRE } from '../../src/core/limits.ts';
import { echoServer, httpBehindRelay, PlainClient, plainServer, startRelay } from '../support/fault-relay.ts';
import { startReprise } from '../support/process.ts';
import { answer, RawServer } from '../support/raw-server.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

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

  it('drops what is sent until its time, and then ends the connection', async () => {
    const { control, port } = await startRelay(`127.0.0.1:${await echoServer()}`);
    await control.add('dep', { type: 'timeout', attributes: { timeout: 200 } });
    const lost = await PlainClient.to(port);
    const start = performance.now();
    lost.socket.write(WORD);
    expect(await lost.ended).toBe('end');
    expect(performance.now() - start).toBeGreaterThan(190);
    expect(lost.received.length).toBe(0);
  });

  it('paces by bandwidth', async () => {
    const { control, port } = await startRelay(`127.0.0.1:${await echoServer()}`);
    await control.add('dep', { type: 'bandwidth', attributes: { rate: 100 } });
    const client = await PlainClient.to(port);
    const taken = await client.echo(Buffer.alloc(50_000));
    expect(taken).toBeGreaterThan(450);
    expect(taken).toBeLessThan(700);
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
});

describe('faults on requests', () => {
  it('answers a share by its seed, and only for its period', async () => {
    const { control, ask, server } = await httpBehindRelay();
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
    const { control, ask, server } = await httpBehindRelay();
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

  it('ends with a signal and leaves no connection', async () => {
    const port = await echoServer();
    const process = startReprise(
      ['faults', '--listen', '127.0.0.1:0', '--target', `127.0.0.1:${port}`, '--control', '127.0.0.1:0'],
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
