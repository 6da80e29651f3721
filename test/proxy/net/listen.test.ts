import { existsSync, lstatSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Endpoint } from '../../../src/proxy/net/endpoint.ts';
import { listenOn } from '../../../src/proxy/net/listen.ts';
import { runProcess } from '../../support/process.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import { client, local, portOf } from '../../support/wire-stage.ts';

const servers: Server[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

function server(): Server {
  const made = createServer((socket) => socket.end());
  servers.push(made);
  return made;
}

function unix(name = 'http.sock', directory = temporaryDirectory()): Endpoint & { kind: 'unix' } {
  return { kind: 'unix', path: `${directory}/${name}` };
}

describe('listening on a unix socket', () => {
  it('makes it for the owner and the group alone, and takes it away at the end', async () => {
    const endpoint = unix();
    const listening = await listenOn(server(), endpoint);
    expect(statSync(endpoint.path).mode & 0o777).toBe(0o660);
    await client({ path: endpoint.path });
    listening.remove();
    expect(existsSync(endpoint.path)).toBe(false);
  });

  it('replaces the socket of a process that is gone', async () => {
    const endpoint = unix();
    const script = `require('net').createServer().listen(${JSON.stringify(endpoint.path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await runProcess(process.execPath, ['-e', script]);
    expect(lstatSync(endpoint.path).isSocket()).toBe(true);
    await listenOn(server(), endpoint);
    await client({ path: endpoint.path });
  });

  it('refuses one that is answered, and leaves it alone', async () => {
    const endpoint = unix();
    await listenOn(server(), endpoint);
    await expect(listenOn(server(), endpoint)).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: `cannot listen on unix:${endpoint.path}: another process listens there`,
    });
    await client({ path: endpoint.path });
  });

  it('refuses a path that is another file, and one without a directory', async () => {
    const file = unix('notes.txt');
    writeFileSync(file.path, 'mine');
    await expect(listenOn(server(), file)).rejects.toThrow('a file that is not a socket exists there');
    const nowhere = unix('http.sock', `${temporaryDirectory()}/missing`);
    await expect(listenOn(server(), nowhere)).rejects.toThrow('its directory does not exist');
  });

  it('does not take away what a successor has put in its place', async () => {
    const endpoint = unix();
    const first = server();
    const listening = await listenOn(first, endpoint);
    first.close();
    await listenOn(server(), endpoint);
    listening.remove();
    await client({ path: endpoint.path });
  });
});

describe('listening on a port', () => {
  it('says which one it got, and is not shared', async () => {
    const { endpoint } = await listenOn(server(), local());
    expect(portOf(endpoint)).toBeGreaterThan(0);
    await expect(listenOn(server(), endpoint)).rejects.toThrow('the port is in use');
  });

  it('works on IPv6', async () => {
    const { endpoint } = await listenOn(server(), { kind: 'tcp', host: '::1', port: 0, tls: false });
    await client({ host: '::1', port: portOf(endpoint) });
  });
});

it('leaves nothing on a server that cannot listen and is tried again', async () => {
  const { endpoint } = await listenOn(server(), local());
  const retried = server();
  for (let tries = 0; tries < 3; tries += 1)
    await expect(listenOn(retried, endpoint)).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
  expect([retried.listenerCount('listening'), retried.listenerCount('error')]).toEqual([0, 0]);
});
