import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { RecorderStatus } from '../../../src/core/accounting.ts';
import { LIMITS } from '../../../src/core/limits.ts';
import { type ProbeAddress, ProbeServer } from '../../../src/proxy/control/admin-server.ts';
import { LogBook } from '../../support/log-book.ts';
import { someStatus } from '../../support/some-status.ts';

const servers: ProbeServer[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function probes(statusOf: () => RecorderStatus = someStatus) {
  const log = new LogBook();
  const server = new ProbeServer({ isReady: () => statusOf().ready, statusOf, logger: log });
  servers.push(server);
  const { port } = (await server.listen({ host: '127.0.0.1', port: 0 })) as ProbeAddress;
  return {
    log,
    port,
    server,
    get: (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${port}${path}`, init),
  };
}

/** Sends bytes as they are; all that is answered until the connection ends. */
async function raw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let answer = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    answer += chunk;
  });
  socket.on('error', () => undefined);
  socket.write(bytes);
  await once(socket, 'close');
  return answer;
}

describe('the probe port', () => {
  it('answers probes and metrics by GET and HEAD', async () => {
    const { get } = await probes();
    for (const path of ['/livez', '/readyz', '/metrics', '/livez?verbose']) {
      const answer = await get(path);
      expect(answer.status).toBe(200);
      const head = await get(path, { method: 'HEAD' });
      expect([head.status, await head.text()]).toEqual([200, '']);
      expect(head.headers.get('content-length')).toBe(String(Buffer.byteLength(await answer.text())));
    }
    expect((await get('/metrics')).headers.get('content-type')).toContain('version=0.0.4');
  });

  it('is live and not ready while it drains or nothing accepts, and ready whatever the disk does', async () => {
    let status = someStatus();
    const { get } = await probes(() => status);
    status = someStatus({ state: 'OFF', why: 'disk_full' });
    expect((await get('/readyz')).status).toBe(200);
    status = someStatus({ ready: false, draining: true });
    const answer = await get('/readyz');
    expect([answer.status, await answer.text()]).toEqual([503, 'draining\n']);
    expect((await get('/livez')).status).toBe(200);
  });

  it('changes nothing and shows nothing else', async () => {
    const { get } = await probes();
    for (const path of ['/', '/status', '/drain', '/metrics/x', '/..%2fstatus']) {
      expect((await get(path)).status).toBe(404);
    }
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const answer = await get('/metrics', { method });
      expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    }
  });

  it('takes no body and no long head, and ends those who send them', async () => {
    const { port } = await probes();
    const chunked = 'POST /livez HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n';
    expect(await raw(port, chunked)).toMatch(/^HTTP\/1\.1 413 .*Connection: close/is);
    const long = `GET /livez HTTP/1.1\r\nHost: h\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`;
    expect(await raw(port, long)).toMatch(/^HTTP\/1\.1 431 /);
  });

  it('answers while slow connections hold every place: the oldest gives way to a new one', async () => {
    const { port, get, server } = await probes();
    const slow = Array.from({ length: 200 }, () => connect(port, '127.0.0.1'));
    let ended = 0;
    for (const socket of slow) {
      socket
        .on('error', () => undefined)
        .on('close', () => {
          ended += 1;
        });
      socket.write('GET /livez HTTP/1.1\r\n');
    }
    while (ended < 200 - LIMITS.probeConnections) await sleep(5);
    expect(server.dropped).toBe(200 - LIMITS.probeConnections);
    for (const path of ['/livez', '/readyz', '/metrics']) {
      expect((await get(path, { headers: { connection: 'close' } })).status).toBe(200);
    }
    for (const socket of slow) socket.destroy();
  });

  it('drops what waits for a head before what it answers', async () => {
    const { port, server } = await probes();
    const asking = connect(port, '127.0.0.1').setEncoding('utf8');
    let answers = '';
    asking.on('data', (text: string) => {
      answers += text;
    });
    const waiting = connect(port, '127.0.0.1').on('error', () => undefined);
    await once(waiting, 'connect');
    const waitingEnds = once(waiting, 'close');
    asking.write('GET /livez HTTP/1.1\r\nHost: h\r\n\r\n');
    while (!answers.includes('live')) await sleep(5);
    // One that has just been answered is younger than one that never asked.
    const more = Array.from({ length: LIMITS.probeConnections - 1 }, () => connect(port, '127.0.0.1'));
    await waitingEnds;
    expect(server.dropped).toBe(1);
    asking.write('GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n');
    while (!answers.includes('ready')) await sleep(5);
    for (const socket of [asking, ...more]) socket.destroy();
  });

  it('does not say why it could not answer', async () => {
    const { get } = await probes(() => {
      throw new Error('/secret/path');
    });
    const answer = await get('/metrics');
    expect([answer.status, await answer.text()]).toEqual([500, 'this could not be answered\n']);
  });

  it('is one warning and no error where its port is taken, and is answered once that is free', async () => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const { port } = holder.address() as { port: number };
    const log = new LogBook();
    const server = new ProbeServer({ isReady: () => true, statusOf: someStatus, logger: log, retryMs: 50 });
    servers.push(server);
    expect(await server.listen({ host: '127.0.0.1', port })).toBeNull();
    await sleep(200);
    expect(log.texts('warn')).toHaveLength(1);
    expect(log.texts('error')).toEqual([]);
    holder.close();
    while (log.texts('info').length === 0) await sleep(10);
    expect((await fetch(`http://127.0.0.1:${port}/livez`)).status).toBe(200);
  });
});
