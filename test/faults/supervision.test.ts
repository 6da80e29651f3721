import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { askOnce } from '../support/one-request.ts';
import { PLANES } from '../support/planes.ts';
import { runReprise } from '../support/process.ts';
import { RawServer } from '../support/raw-server.ts';
import { accountOf, startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** More than the heartbeat's limit of 5 s. */
const FREEZE_MS = 6_500;

async function inspect(directory: string): Promise<unknown> {
  const { stdout } = await runReprise(['inspect', directory, '--json']);
  return JSON.parse(stdout);
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
    await askOnce(recording.port);
    const { log, end } = await recording.stop();
    expect(log.map(({ message }) => message)).not.toContain('recorder hangs; killing it');
    expect(end).toMatchObject({ exchanges: 1, lost: {} });
    await server.close();
  });

  it('seal what they recorded when Ctrl-C comes again meanwhile', async () => {
    const server = await RawServer.start();
    const directory = `${temporaryDirectory()}/capture`;
    const recording = await startRecording(server.port, directory, flags, { ownGroup: true });
    await askOnce(recording.port);
    const group = -(recording.process.child.pid as number);
    process.kill(group, 'SIGINT');
    for (let times = 0; times < 10; times += 1) {
      await sleep(5);
      if (!interrupt(group)) break;
    }
    const { status, log } = await accountOf(recording.process);
    expect(status).toBe(0);
    expect(log.at(-1)).toMatchObject({ message: 'stopped', exchanges: 1 });
    expect(await inspect(directory)).toMatchObject({ exchanges: 1, segments: [{ sealed: true }] });
    await server.close();
  });

  it('say once that the capture cannot be had, however often it is tried, and record when it can', async () => {
    const server = await RawServer.start();
    const directory = `${temporaryDirectory()}/capture`;
    const first = await startRecording(server.port, directory, flags);
    const second = await startRecording(server.port, directory, flags);
    await askOnce(second.port);
    // Some attempts: after 0.2, 0.4 and 0.8 seconds.
    await sleep(2_000);
    const refused = second.process.stderr.split('\n').filter((line) => !line.includes('forward'));
    expect(refused.filter((line) => line !== '')).toHaveLength(1);
    expect(refused.join()).toContain('NOT RECORDING');
    await first.stop();
    await second.process.waitFor('stderr', /"state":"HEALTHY"/);
    await askOnce(second.port);
    const { end } = await second.stop();
    expect(end).toMatchObject({ exchanges: 1, lost: { writer_down: { turns: 1 } } });
    const losses = { byReason: { writer_down: { exchanges: 1 } } };
    expect(await inspect(directory)).toMatchObject({ exchanges: 1, losses });
    await server.close();
  });
});
