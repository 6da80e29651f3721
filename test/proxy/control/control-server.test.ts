import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { controlRequest } from '../../../src/proxy/control/admin-client.ts';
import { ControlServer, type Controls } from '../../../src/proxy/control/admin-server.ts';
import { LogBook } from '../../support/log-book.ts';
import { someStatus } from '../../support/some-status.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const servers: ControlServer[] = [];
let directory = '';
let log: LogBook;
let asked: string[];
let draining: boolean;
let onPause: () => void;

const controls: Controls = {
  status: () => someStatus({ paused: asked.at(-1) === 'pause', draining }),
  drain: () => void asked.push('drain'),
  pause: async () => {
    asked.push('pause');
    onPause();
  },
  resume: async () => void asked.push('resume'),
};

beforeEach(() => {
  directory = temporaryDirectory();
  log = new LogBook();
  asked = [];
  draining = false;
  onPause = () => undefined;
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function open(where = directory, lookMs = 10): Promise<ControlServer> {
  const server = new ControlServer(controls, log, lookMs);
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
    const dead = createServer().listen(join(directory, 'left.sock'));
    await once(dead, 'listening');
    // Node removes the file of a server that it closes by the name that it was bound to.
    renameSync(join(directory, 'left.sock'), join(directory, 'control.sock'));
    dead.close();
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

  it('of a successor stays when the recording ends whose own was removed', async () => {
    const first = await open(directory, 600_000);
    rmSync(join(directory, 'control.sock'));
    await open();
    await first.close();
    expect(await controlRequest(directory, 'GET', '/status')).toEqual(someStatus());
  });

  it('that somebody removed is made again, and leaves nothing behind in the end', async () => {
    const server = await open();
    rmSync(join(directory, 'control.sock'));
    while (!existsSync(join(directory, 'control.sock'))) await sleep(5);
    expect(await controlRequest(directory, 'GET', '/status')).toEqual(someStatus());
    await server.close();
    expect(readdirSync(directory)).toEqual([]);
    expect(log.texts('error')).toEqual([]);
  });

  it.each(['/pause', '/resume'] as const)('refuses %s while the recording ends, in words', async (path) => {
    draining = true;
    await open();
    await expect(controlRequest(directory, 'POST', path)).rejects.toMatchObject({
      code: 'RECORDER_UNREACHABLE',
      message: `the recording of ${directory} refuses: it drains and is about to end, and neither pauses nor resumes any more`,
    });
    expect(asked).toEqual([]);
  });

  it('refuses a pause that came to its turn when the end had begun', async () => {
    await open();
    onPause = () => {
      draining = true;
      asked.pop();
    };
    await expect(controlRequest(directory, 'POST', '/pause')).rejects.toThrow(/about to end/);
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
