import { once } from 'node:events';
import { request as httpRequest, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { bodyOf, smallServer, text } from '../../../src/proxy/net/small-server.ts';
import { afterwards } from '../../support/leftovers.ts';

const CONNECTIONS = 4;

async function started(options: Partial<Parameters<typeof smallServer>[0]> = {}): Promise<number> {
  const server: Server = smallServer({
    connections: CONNECTIONS,
    callers: 'anyone',
    answer: () => text(200, 'answered'),
    ...options,
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  afterwards(() => {
    server.close();
    server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

function statusOf(
  port: number,
  headers: Record<string, string> = {},
  body = '',
): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      { port, host: '127.0.0.1', method: body === '' ? 'GET' : 'POST', headers: { ...headers } },
      (response) => {
        response.resume();
        resolve(response.statusCode);
      },
    );
    sent.on('error', reject).end(body);
  });
}

describe('a small server', () => {
  test('was kept from all others by clients that say nothing', async () => {
    const port = await started();
    for (let silent = 0; silent < CONNECTIONS * 2; silent += 1) {
      const socket = connect(port, '127.0.0.1').on('error', () => undefined);
      afterwards(() => {
        socket.destroy();
      });
      await once(socket, 'connect');
    }
    expect(await statusOf(port)).toBe(200);
  });

  test('for programs refuses what a browser sends', async () => {
    const port = await started({ callers: 'programs' });
    expect(await statusOf(port)).toBe(200);
    expect(await statusOf(port, { origin: 'http://elsewhere' })).toBe(403);
    expect(await statusOf(port, { 'user-agent': 'Mozilla/5.0' })).toBe(403);
  });

  test('for browsers answers to no name of another site', async () => {
    const port = await started({ callers: 'browsers' });
    for (const host of ['127.0.0.1', `localhost:${port}`, `[::1]:${port}`])
      expect(await statusOf(port, { host })).toBe(200);
    for (const host of ['elsewhere', `elsewhere:${port}`, '127.0.0.1.elsewhere'])
      expect(await statusOf(port, { host })).toBe(421);
  });

  test('takes a body only where one is expected, and only up to its limit', async () => {
    expect(await statusOf(await started(), {}, 'body')).toBe(413);
    const port = await started({
      takesBodies: true,
      answer: async (request) => text((await bodyOf(request, 4)) === null ? 413 : 200, ''),
    });
    expect(await statusOf(port, {}, 'body')).toBe(200);
    expect(await statusOf(port, {}, 'a body')).toBe(413);
  });

  test('shows nothing of an error of its own', async () => {
    const port = await started({
      answer: () => {
        throw new Error('/secret/path');
      },
    });
    const response = await fetch(`http://127.0.0.1:${port}`);
    expect([response.status, await response.text()]).toEqual([500, 'this could not be answered\n']);
  });
});
