import { once } from 'node:events';
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { controlRequest } from '../../src/proxy/control-client.ts';
import { ControlServer, type Controls } from '../../src/proxy/control-server.ts';
import { LogBook } from '../support/log-book.ts';
import { someStatus } from '../support/some-status.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const servers: ControlServer[] = [];
let directory = '';
let log: LogBook;
let asked: string[];

const controls: Controls = {
  status: () => someStatus({ paused: asked.at(-1) === 'pause' }),
  drain: () => void asked.push('drain'),
  pause: async () => void asked.push('pause'),
  resume: async () => void asked.push('resume'),
};

beforeEach(() => {
  directory = temporaryDirectory();
  log = new LogBook();
  asked = [];
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function open(where = directory): Promise<ControlServer> {
  const server = new ControlServer(controls, log, 10);
  servers.push(server);
  await server.open(where);
  return server;
}

describe('the control socket', () => {
  it('answers the status, for the owner alone', async () => {
    await open();
    expect(await controlRequest(directory, 'GET', '/status')).toEqual(someStatus());
    expect(statSync(join(directory, 'control.sock')).mode & 0o777).toBe(0o600);
  });

  it('does what it is asked and answers with the status after it', async () => {
    await open();
    expect(await controlRequest(directory, 'POST', '/pause')).toMatchObject({ paused: true });
    expect(await controlRequest(directory, 'POST', '/resume')).toMatchObject({ paused: false });
    await controlRequest(directory, 'POST', '/drain');
    expect(asked).toEqual(['pause', 'resume', 'drain']);
  });

  it('changes nothing for a GET, and nothing at an unknown path', async () => {
    await open();
    for (const [method, path] of [
      ['GET', '/drain'],
      ['GET', '/pause'],
      ['POST', '/status'],
      ['POST', '/kill'],
    ] as const) {
      await expect(controlRequest(directory, method, path as '/drain')).rejects.toThrow(
        /answered with 40[45]/,
      );
    }
    expect(asked).toEqual([]);
  });

  it('works where the path of the capture is longer than a socket address', async () => {
    const deep = join(directory, 'd'.repeat(120), 'e'.repeat(120));
    mkdirSync(deep, { recursive: true });
    await open(deep);
    expect(log.texts('error')).toEqual([]);
    expect(await controlRequest(deep, 'GET', '/status')).toEqual(someStatus());
    expect(statSync(join(deep, 'control.sock')).mode & 0o777).toBe(0o600);
  });

  it('replaces what a dead process left', async () => {
    writeFileSync(join(directory, 'control.sock'), '');
    await open();
    expect(await controlRequest(directory, 'GET', '/status')).toEqual(someStatus());
  });

  it('leaves a living one alone, and says that there is none', async () => {
    const other = createServer((socket) => socket.end()).listen(join(directory, 'control.sock'));
    await once(other, 'listening');
    await open();
    expect(log.texts('error')).toEqual([expect.stringContaining('NO CONTROL SOCKET')]);
    other.close();
  });

  it('answers when a predecessor that took its time has gone, and says the want of it once', async () => {
    const other = createServer((socket) => socket.end()).listen(join(directory, 'control.sock'));
    await once(other, 'listening');
    await open();
    // One attempt more finds it there.
    await once(other, 'connection');
    other.close();
    while (log.texts('info').length === 0) await sleep(5);
    expect(await controlRequest(directory, 'GET', '/status')).toEqual(someStatus());
    expect(log.texts('error')).toHaveLength(1);
  });

  it('that cannot be removed, as on a disk that is read-only by now, keeps no recording from its end', async () => {
    const server = await open();
    rmSync(join(directory, 'control.sock'));
    mkdirSync(join(directory, 'control.sock'));
    await server.close();
    await open();
    expect(log.texts('error')).toEqual([expect.stringContaining('NO CONTROL SOCKET')]);
  });

  it('is gone with the recording', async () => {
    const server = await open();
    await server.close();
    await expect(controlRequest(directory, 'GET', '/status')).rejects.toMatchObject({
      code: 'RECORDER_UNREACHABLE',
      message: expect.stringContaining('none is running there'),
    });
  });
});
