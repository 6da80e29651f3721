import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { FaultControl } from '../../../src/app/fault-control.ts';
import { LOCAL_CERTIFICATE_KEY_PEM, LOCAL_CERTIFICATE_PEM } from '../../support/certificate.ts';
import { echoServer, httpBehindRelay, PlainClient, startRelay } from '../../support/fault-relay.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import { tlsClient, tlsUpstream } from '../../support/tls-stage.ts';

const WORD = Buffer.from('hello');

describe('faults on the stream', () => {
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

  it('slices with a pause between slices', async () => {
    const { control, port } = await startRelay(`127.0.0.1:${await echoServer()}`);
    await control.add('dep', { type: 'slicer', attributes: { average_size: 100, delay: 30_000 } });
    const client = await PlainClient.to(port);
    await client.echo(Buffer.alloc(1_000));
    expect(client.chunks.length).toBeGreaterThanOrEqual(8);
  });

  it('resets, cuts at a byte, and is down', async () => {
    const { control, port } = await startRelay(`127.0.0.1:${await echoServer()}`);
    await control.add('dep', { type: 'reset_peer', attributes: { timeout: 0 } });
    const reset = await PlainClient.to(port);
    reset.socket.write(WORD);
    expect(await reset.ended).toBe('ECONNRESET');
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
    const stated = {
      listen: ['dep=https://127.0.0.1:0'],
      listenTls: `cert=${tlsCert},key=${tlsKey}`,
      targetTls: `ca=${tlsCert}`,
    };
    const { control, running } = await startRelay(`https://localhost:${port}`, stated);
    await control.add('dep', { type: 'limit_data', attributes: { bytes: 3 } });
    const stream = await tlsClient(Number(running.proxies[0]?.listen.split(':').at(-1)));
    const chunks: Buffer[] = [];
    stream.on('data', (bytes: Buffer) => chunks.push(bytes));
    stream.write(WORD);
    await once(stream, 'end');
    expect(Buffer.concat(chunks).toString()).toBe('hel');
    // One whose name is wrong is not trusted: its client is reset, and that is counted.
    const wrong = await startRelay(`https://127.0.0.2:${port}`, { targetTls: `ca=${tlsCert}` });
    const client = await PlainClient.to(wrong.port);
    expect(await client.ended).toBe('ECONNRESET');
    const page = await (await fetch(`${wrong.origin}/metrics`)).text();
    expect(page).toContain('reprise_faults_connections_total{proxy="dep",outcome="unreachable"} 1');
  });
});

describe('faults on requests', () => {
  it('answers the first requests on a connection that stands, then none, and the upstream saw only the others', async () => {
    const { control, ask, server } = await httpBehindRelay();
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

  it('lets nothing of a request that it answered reach the upstream, however the rest of it reads', async () => {
    const { control, port, server } = await httpBehindRelay();
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
});

describe('the end of a controller', () => {
  it('takes every fault away although one proxy cannot listen again, and tries that one until it can', async () => {
    const port = await echoServer();
    const { control, running } = await startRelay('', {
      listen: ['first=127.0.0.1:0', 'second=127.0.0.1:0'],
      target: [`127.0.0.1:${port}`, `127.0.0.1:${port}`],
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
});
