import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { untilStatus } from '../support/control.ts';
import { PLANES } from '../support/planes.ts';
import { runReprise } from '../support/process.ts';
import { answer, RawServer } from '../support/raw-server.ts';
import { accountOf, startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const REQUEST = 'POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody';
/** More than the heartbeat's limit of 5 s. */
const FREEZE_MS = 6_500;
/** Played at most, until the moment that is meant was met. */
const SCENES = 3;

async function ask(port: number): Promise<void> {
  const client: Socket = connect({ port, host: '127.0.0.1' });
  client.write(REQUEST);
  await once(client, 'data');
  client.end();
  client.resume();
  await once(client, 'close');
}

async function inspect(directory: string): Promise<unknown> {
  const { stdout } = await runReprise(['inspect', directory, '--json']);
  return JSON.parse(stdout);
}

function textOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // The process ended between two looks.
    return null;
  }
}

/** Command lines of the processes that a process has started and that still run; null where it has ended itself. */
function childrenOf(pid: number): string[] | null {
  const pids = textOf(`/proc/${pid}/task/${pid}/children`)?.split(' ').filter(Boolean);
  return pids?.map((child) => textOf(`/proc/${child}/cmdline`) ?? '') ?? null;
}

/** Within which one must have been started. */
const SEALER_MS = 60_000;

/** Waits for the sealer. @returns false where it came and went between two looks, and its parent after it */
async function sealerSeen(supervisor: number): Promise<boolean> {
  for (const sinceMs = performance.now(); performance.now() - sinceMs < SEALER_MS; ) {
    const children = childrenOf(supervisor);
    if (children === null) return false;
    if (children.some((command) => command.includes('entries/sealer'))) return true;
    await sleep(1);
  }
  throw new Error('no sealer was started');
}

/** @returns false where there is nobody left to hear it */
function interrupt(group: number): boolean {
  try {
    return process.kill(group, 'SIGINT');
  } catch {
    return false;
  }
}

describe.concurrent.each(PLANES)('the processes of a recording, %s', (_plane, flags) => {
  it('go on recording after all of them were frozen together, as a paused container is', async () => {
    const server = await RawServer.start();
    const recording = await startRecording(server.port, `${temporaryDirectory()}/capture`, flags, {
      ownGroup: true,
    });
    const group = -(recording.process.child.pid as number);
    process.kill(group, 'SIGSTOP');
    await sleep(FREEZE_MS);
    process.kill(group, 'SIGCONT');
    await sleep(1_500);
    await ask(recording.port);
    const { log, end } = await recording.stop();
    expect(log.map(({ message }) => message)).not.toContain('recorder hangs; killing it');
    expect(end).toMatchObject({ exchanges: 1, lost: {} });
    await server.close();
  });

  it('end in bounded time when the forwarder hangs', async () => {
    const server = await RawServer.start();
    const directory = `${temporaryDirectory()}/capture`;
    const recording = await startRecording(server.port, directory, [...flags, '--drain-deadline', '0s']);
    await ask(recording.port);
    await untilStatus(directory, ({ exchanges }) => exchanges === 1);
    process.kill(recording.children().forwarder, 'SIGSTOP');
    const askedMs = performance.now();
    const { status, log } = await recording.stop();
    expect(performance.now() - askedMs).toBeLessThan(40_000);
    expect(status).toBe(0);
    expect(log.map(({ message }) => message)).toContain('forwarder does not end; killing it');
    expect(await inspect(directory)).toMatchObject({ exchanges: 1, segments: [{ sealed: true }] });
    await server.close();
  });

  it.skipIf(!existsSync('/proc/self/task'))(
    'seal what they recorded when Ctrl-C comes again meanwhile',
    async () => {
      const server = await RawServer.start();
      let interrupted = false;
      for (let scene = 0; scene < SCENES && !interrupted; scene += 1) {
        const directory = `${temporaryDirectory()}/capture`;
        const recording = await startRecording(server.port, directory, flags, { ownGroup: true });
        await ask(recording.port);
        const supervisor = recording.process.child.pid as number;
        process.kill(-supervisor, 'SIGINT');
        interrupted = (await sealerSeen(supervisor)) && interrupt(-supervisor);
        const { status, log } = await accountOf(recording.process);
        expect(status).toBe(0);
        expect(log.at(-1)).toMatchObject({ message: 'stopped', exchanges: 1 });
        expect(await inspect(directory)).toMatchObject({ exchanges: 1, segments: [{ sealed: true }] });
      }
      expect(interrupted).toBe(true);
      await server.close();
    },
  );

  it('say once that the capture cannot be had, however often it is tried, and record when it can', async () => {
    const server = await RawServer.start();
    const directory = `${temporaryDirectory()}/capture`;
    const first = await startRecording(server.port, directory, flags);
    const second = await startRecording(server.port, directory, flags);
    await ask(second.port);
    // Some attempts: after 0.2, 0.4 and 0.8 seconds.
    await sleep(2_000);
    const refused = second.process.stderr.split('\n').filter((line) => !line.includes('forward'));
    expect(refused.filter((line) => line !== '')).toHaveLength(1);
    expect(refused.join()).toContain('NOT RECORDING');
    await first.stop();
    await second.process.waitFor('stderr', /"state":"HEALTHY"/);
    await ask(second.port);
    const { end } = await second.stop();
    expect(end).toMatchObject({ exchanges: 1, lost: { writer_down: { turns: 1 } } });
    // Each attempt was told of what passed before it, and took it along.
    const losses = { byReason: { writer_down: { exchanges: 1 } } };
    expect(await inspect(directory)).toMatchObject({ exchanges: 1, losses });
    await server.close();
  });

  it('give one account over the lives of all forwarders', async () => {
    const server = await RawServer.start((_request, socket) => void socket.write(answer()));
    const directory = `${temporaryDirectory()}/capture`;
    const recording = await startRecording(server.port, directory, flags);
    await ask(recording.port);
    // What the supervisor has read is what it holds a dead forwarder to.
    await untilStatus(directory, ({ exchanges }) => exchanges === 1);
    const { forwarder } = recording.children();
    process.kill(forwarder, 'SIGKILL');
    await recording.process.waitFor('stderr', /"message":"forwarder ended/);
    while (recording.children().forwarder === forwarder) await sleep(20);
    while (
      !(await ask(recording.port).then(
        () => true,
        () => false,
      ))
    )
      await sleep(50);
    const { end } = await recording.stop();
    expect(end).toMatchObject({ exchanges: 2, connections: 2, pending: { bytes: 0, turns: 0 } });
    expect(await inspect(directory)).toMatchObject({ exchanges: 2 });
    await server.close();
  });
});
