import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveCaptureDirectory } from '../../src/storage/capture/directory.ts';
import { DirectoryLock } from '../../src/storage/capture/lock.ts';
import { freePort } from '../support/free-port.ts';
import { mayHaveNiceness } from '../support/host-abilities.ts';
import { askOnce, Client } from '../support/one-request.ts';
import { runReprise, startReprise } from '../support/process.ts';
import { RawServer } from '../support/raw-server.ts';
import { type LogLine, startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

let origin: RawServer;

beforeEach(async () => {
  origin = await RawServer.start();
});
afterEach(() => origin.close());

/**
 * Whether a client can connect and stays connected. The start tries for a moment whether its address is free; a client
 * of that moment is closed, however late a busy machine tells it.
 */
async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  return await new Promise<boolean>((resolve) => {
    socket.once('error', () => resolve(false)).once('close', () => resolve(false));
    socket.once('connect', () => setTimeout(resolve, 1_000, true));
  }).finally(() => socket.destroy());
}

describe('the start of reprise record', () => {
  it('opens no debugger and cuts nothing at SIGUSR1 and SIGUSR2, and drains at SIGHUP, log or no log', async () => {
    const recording = await startRecording(origin.port, `${temporaryDirectory()}/capture`);
    const client = new Client(recording.port);
    await client.ask();
    for (const pid of [recording.process.child.pid, ...Object.values(recording.children())]) {
      process.kill(pid as number, 'SIGUSR1');
      process.kill(pid as number, 'SIGUSR2');
    }
    // Of a terminal's signals the recorder leaves all to the proxy.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGQUIT'] as const)
      process.kill(recording.children().recorder, signal);
    await sleep(200);
    await client.ask();
    expect(recording.process.stderr).not.toMatch(/Debugger listening|ended/);
    recording.process.child.stderr?.destroy();
    for (let time = 0; time < 2; time += 1) {
      recording.process.child.kill('SIGHUP');
      await sleep(200);
    }
    expect(await client.ask()).toMatch(/\r\n\r\nok$/);
    await client.end();
    expect(await recording.process.finished).toMatchObject({ status: 0, signal: null });
  });

  it('starts without its upstream and resets clients until it is there', async () => {
    await origin.close();
    const recording = await startRecording(origin.port, `${temporaryDirectory()}/capture`);
    const client = connect(recording.port, '127.0.0.1');
    const error = await new Promise<NodeJS.ErrnoException>((resolve) => client.once('error', resolve));
    expect(error.code).toBe('ECONNRESET');
    expect((await recording.stop()).status).toBe(0);
  });

  it('answers no client and leaves no account while it cannot open its capture, however often it is started', async () => {
    const directory = resolveCaptureDirectory(`${temporaryDirectory()}/capture`, 'write');
    const held = DirectoryLock.acquire(directory);
    const port = await freePort();
    const args = ['record', '--target', `127.0.0.1:${origin.port}`, '--listen', `127.0.0.1:${port}`];
    const more = ['--dir', directory, '--probe-listen', 'off'];
    for (let start = 0; start < 2; start += 1) {
      const recording = startReprise([...args, ...more]);
      let over = false;
      const finished = recording.finished.finally(() => {
        over = true;
      });
      let accepted = 0;
      while (!over) if (await accepts(port)) accepted += 1;
      expect({ accepted, status: (await finished).status }).toEqual({ accepted: 0, status: 2 });
    }
    expect(readdirSync(directory).filter((file) => file.includes('account'))).toEqual([]);
    held.release();
  });

  it('adds to a capture only if target, policy and key are the same, or if it is told to', async () => {
    const directory = `${temporaryDirectory()}/capture`;
    const first = await startRecording(origin.port, directory);
    await askOnce(first.port);
    await first.stop();
    const files = readdirSync(directory).toSorted();
    const again = async (target: string, flags: readonly string[]) => {
      const where = ['--dir', directory, '--listen', '127.0.0.1:0', '--probe-listen', 'off'];
      const recording = startReprise([
        'record',
        '--target',
        target,
        ...where,
        '--drain-delay',
        '0s',
        ...flags,
      ]);
      const open = recording.waitFor('stderr', /"?forwarding/).catch(() => null);
      if ((await open) !== null) recording.child.kill('SIGTERM');
      const { status, stderr } = await recording.finished;
      return { status, stderr };
    };
    const same = `127.0.0.1:${origin.port}`;
    const key = join(temporaryDirectory(), 'key');
    writeFileSync(key, 'k'.repeat(32));
    const others = [
      await again('127.0.0.1:9', []),
      await again(same, ['--bodies', 'none']),
      await again(same, ['--hash-key-file', key]),
    ];
    expect(others.map(({ status }) => status)).toEqual([2, 2, 2]);
    expect(others[0]?.stderr).toContain(`its target is ${same} and not 127.0.0.1:9`);
    expect(others[1]?.stderr).toContain('its bodies is "requests" and not "none"');
    expect(others[2]?.stderr).toContain('another hash key');
    expect(readdirSync(directory).toSorted()).toEqual(files);
    expect((await again(same, [])).status).toBe(0);
    expect((await again('127.0.0.1:9', ['--append'])).status).toBe(0);
  });

  it('adds to an imported capture only if it is told to', async () => {
    const directory = `${temporaryDirectory()}/capture`;
    const trace = join(temporaryDirectory(), 'arrivals.csv');
    writeFileSync(trace, 'timestamp\n0\n1000\n');
    const made = ['import', 'arrivals', trace, '--time', 'timestamp', '--unit', 'ms', '--out', directory];
    expect((await runReprise(made)).status).toBe(0);
    const files = readdirSync(directory);
    const record = ['record', '--target', '127.0.0.1:9', '--listen', '127.0.0.1:0', '--dir', directory];
    const args = [...record, '--probe-listen', 'off', '--drain-delay', '0s'];
    const refused = startReprise(args);
    refused
      .waitFor('stderr', /"?forwarding/)
      .then(() => refused.child.kill('SIGTERM'))
      .catch(() => undefined);
    expect((await refused.finished).status).toBe(2);
    expect(readdirSync(directory).filter((file) => file !== 'recorder.lock')).toEqual(files);
    const added = startReprise([...args, '--append']);
    await added.waitFor('stderr', /"?forwarding/);
    added.child.kill('SIGTERM');
    expect((await added.finished).status).toBe(0);
  });

  it('names what a new capture holds, once, and says when it adds to one that is there', async () => {
    const directory = `${temporaryDirectory()}/capture`;
    const told = async () => {
      const { log } = await (await startRecording(origin.port, directory)).stop();
      const count = (pattern: RegExp) => log.filter(({ message }) => pattern.test(message)).length;
      return [count(/^(?:stored|masked|to mask more): /), count(/^added to the capture/)];
    };
    expect([await told(), await told()]).toEqual([
      [3, 0],
      [0, 1],
    ]);
  });
});

/** Niceness of each thread of a process: the 19th field of its line, which a name of many words may begin. */
function nicenessOfThreads(pid: number): number[] {
  const stats = readdirSync(`/proc/${pid}/task`).map((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1'),
  );
  return stats.map((stat) => Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16]));
}

/** Starts a command without the right to take a niceness back that was given away. */
const WITHOUT_RIGHT = ['setpriv', '--inh-caps=-sys_nice', '--bounding-set=-sys_nice'];
const mayBeBefore = mayHaveNiceness(-10) && getPriority() === 0;
/** setpriv is part of Debian's util-linux. */
const mayLoseRight =
  mayBeBefore &&
  spawnSync('setpriv', [
    ...WITHOUT_RIGHT.slice(1),
    process.execPath,
    '-e',
    'try { require("node:os").setPriority(-1); process.exitCode = 1; } catch {}',
  ]).status === 0;

describe.runIf(process.platform === 'linux')('the priority of reprise record', () => {
  const refusals = (log: readonly LogLine[]) =>
    log.filter(({ message }) => message.includes('--niceness proxy'));

  it.runIf(mayBeBefore)(
    'is above that of others for the thread that forwards, and not for the recorder',
    async () => {
      const recording = await startRecording(origin.port, `${temporaryDirectory()}/capture`);
      const { proxy, recorder } = recording.children();
      // Its start makes it busy itself for a moment.
      await expect.poll(() => getPriority(proxy), { timeout: 10_000 }).toBe(-10);
      expect(nicenessOfThreads(recorder).filter((niceness) => niceness < 0)).toEqual([]);
      await recording.stop();
    },
  );

  it.runIf(mayLoseRight)(
    'that the user gave stays when a recorder is started again, without a right to it',
    async () => {
      const through = ['nice', '-n', '-5', ...WITHOUT_RIGHT];
      const recording = await startRecording(origin.port, `${temporaryDirectory()}/capture`, [], { through });
      const { proxy, recorder } = recording.children();
      process.kill(recorder, 'SIGKILL');
      await expect.poll(() => recording.children().recorder, { timeout: 10_000 }).not.toBe(recorder);
      expect(getPriority(proxy)).toBe(-5);
      expect(nicenessOfThreads(recording.children().recorder).filter((niceness) => niceness < 0)).toEqual([]);
      const { log } = await recording.stop();
      expect(refusals(log)).toEqual([]);
    },
  );

  it.runIf(mayLoseRight)(
    'is a warning if the system refuses what was asked for, and nothing else changes',
    async () => {
      const flags = ['--niceness', 'proxy=-5'];
      const options = { through: WITHOUT_RIGHT };
      const recording = await startRecording(origin.port, `${temporaryDirectory()}/capture`, flags, options);
      expect(getPriority(recording.children().proxy)).toBe(0);
      const { status, log } = await recording.stop();
      expect(status).toBe(0);
      expect(refusals(log)).toHaveLength(1);
    },
  );

  it('is what --niceness says, and the recorder is never before the traffic', async () => {
    const flags = ['--niceness', 'proxy=7,recorder=0'];
    const recording = await startRecording(origin.port, `${temporaryDirectory()}/capture`, flags);
    const { proxy, recorder } = recording.children();
    expect(getPriority(proxy)).toBe(7);
    await expect.poll(() => getPriority(recorder), { timeout: 10_000 }).toBe(7);
    await recording.stop();
  });
});
