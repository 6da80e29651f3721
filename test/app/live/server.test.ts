import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { request, type Server } from 'node:http';
import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { LiveServer, type Shown } from '../../../src/app/live/server.ts';
import { parseServed } from '../../../src/proxy/net/endpoint.ts';

const PAGE: Shown = { status: 200, type: 'text/html', policy: "default-src 'self'", body: 'page' };

async function served(address = ':0', page = () => PAGE) {
  const server = new LiveServer({ '/': page });
  onTestFinished(() => server.close());
  return await server.listen(parseServed(address, '--serve'));
}

/** The status that a request for `/` by this host gets. */
function statusBy(url: string, host: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const asking = request(url, { headers: { host } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    asking.on('error', reject).end();
  });
}

test('a page is for reading, at its own paths', async () => {
  const { url } = await served();
  const answer = await fetch(url);
  expect(await answer.text()).toBe('page');
  expect(answer.headers.get('content-security-policy')).toBe("default-src 'self'");
  expect((await fetch(url, { method: 'POST' })).status).toBe(405);
  expect((await fetch(`${url}drain`)).status).toBe(404);
  expect((await fetch(`${url}toString`)).status).toBe(404);
});

test('silent connections keep no reader out: the oldest is dropped for a new one', async () => {
  const { url } = await served();
  const silent = Array.from({ length: 70 }, () => connect(Number(new URL(url).port), '127.0.0.1'));
  onTestFinished(() => {
    for (const socket of silent) socket.destroy();
  });
  for (const socket of silent) socket.on('error', () => undefined);
  await Promise.all(silent.map((socket) => once(socket, 'connect')));
  expect(await statusBy(url, 'localhost')).toBe(200);
  await expect.poll(() => silent.filter(({ closed }) => closed).length).toBeGreaterThan(0);
});

test('a name of another site that means this address reads nothing (DNS rebinding)', async () => {
  const { url } = await served();
  expect(await statusBy(url, 'evil.example')).toBe(421);
  expect(await statusBy(url, 'localhost:80')).toBe(200);
  expect(await statusBy(url, '[::1]:80')).toBe(200);
});

test('a port alone is for this machine; every other address is warned of', async () => {
  const own = await served();
  expect(new URL(own.url).hostname).toBe('127.0.0.1');
  expect(own.warning).toBeNull();
  expect((await served('0.0.0.0:0')).warning).toContain('WARNING');
});

test('an address that is taken is an error before anything else happens', async () => {
  const { url } = await served();
  await expect(served(new URL(url).host)).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
  await expect(served('unix:/tmp/page.sock')).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
});

test('a page that cannot be drawn is an answer of 500, and the process lives', async () => {
  let isBroken = true;
  const { url } = await served(':0', () => {
    if (isBroken) throw new Error('no such series');
    return PAGE;
  });
  const answer = await fetch(url);
  expect([answer.status, await answer.text()]).toEqual([500, expect.stringContaining('no such series')]);
  isBroken = false;
  expect((await fetch(url)).status).toBe(200);
});

test('errors of the server after it listens, as of too many open files, end nothing', async () => {
  const { url } = await served();
  const servers: Server[] = [];
  const keep = (message: unknown) => servers.push((message as { server: Server }).server);
  subscribe('http.server.request.start', keep);
  await fetch(url);
  unsubscribe('http.server.request.start', keep);
  expect(servers).toHaveLength(1);
  // Without a listener `emit` throws what ends a process.
  for (const code of ['EMFILE', 'ENFILE']) servers[0]?.emit('error', new Error(`accept ${code}`));
  expect((await fetch(url)).status).toBe(200);
});
