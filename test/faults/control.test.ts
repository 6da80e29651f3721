import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { askFor, statusIn, untilStatus } from '../support/control.ts';
import { imbalance } from '../support/imbalance.ts';
import { askOnce } from '../support/one-request.ts';
import { runReprise } from '../support/process.ts';
import { RawServer } from '../support/raw-server.ts';
import { accountOf, startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

async function scene() {
  return { server: await RawServer.start(), directory: join(temporaryDirectory(), 'capture') };
}

async function inspect(directory: string): Promise<unknown> {
  return JSON.parse((await runReprise(['inspect', directory, '--json'])).stdout);
}

describe.concurrent('an operator', () => {
  it('sees how a recording fares, in words and as a document', async () => {
    const { server, directory } = await scene();
    const recording = await startRecording(server.port, directory);
    await askOnce(recording.port);
    // The forwarders' count is of this instant; what the recorder tells of comes with its next heartbeat.
    await untilStatus(directory, ({ exchanges, recent }) => exchanges === 1 && recent.length === 1);
    const text = await runReprise(['status', '--dir', directory]);
    expect(text.stdout).toMatch(/^state +HEALTHY$/m);
    expect(text.stdout).toMatch(/^recorded .* 1 exchanges$/m);
    expect(text.stdout).toMatch(/^answers +2xx 1 \(/m);
    const { stdout } = await runReprise(['status', '--dir', directory, '--json']);
    const status = JSON.parse(stdout);
    expect(status).toMatchObject({
      schema: 'reprise-status/1',
      ready: true,
      exchanges: 1,
      pids: { recorder: recording.children().recorder },
      recent: [{ route: 'POST /v1/x', requestBytes: 4, outcome: 'completed' }],
      traffic: { requests: [{ method: 'POST', codeClass: '2xx', count: 1 }] },
    });
    expect(imbalance(status)).toEqual({ bytes: 0, turns: 0 });
    await recording.stop();
    await server.close();
  });

  it('pauses: traffic flows and is counted lost, the segment is sealed; and resumes', async () => {
    const { server, directory } = await scene();
    const recording = await startRecording(server.port, directory);
    await askOnce(recording.port);
    const paused = await runReprise(['pause', '--dir', directory]);
    expect(paused).toMatchObject({ status: 0, stdout: 'recording is OFF (paused); traffic flows\n' });
    expect(await statusIn(directory)).toMatchObject({ paused: true, pids: { recorder: null }, ready: true });
    await askOnce(recording.port);
    await untilStatus(directory, ({ lost }) => lost.writer_down?.turns === 1);
    // Paused it stays, however long.
    await sleep(1_500);
    expect(await askFor(directory, '/pause')).toMatchObject({ state: 'OFF', why: 'paused' });
    const resumed = await runReprise(['resume', '--dir', directory]);
    expect(resumed).toMatchObject({ status: 0, stdout: 'recording is HEALTHY; traffic flows\n' });
    await askOnce(recording.port);
    const { end, log } = await recording.stop();
    expect(end).toMatchObject({ exchanges: 2, lost: { writer_down: { turns: 1 } }, pending: { bytes: 0 } });
    expect(log.filter(({ state }) => state === 'OFF')).toHaveLength(1);
    expect(await inspect(directory)).toMatchObject({
      exchanges: 2,
      losses: { byReason: { writer_down: { exchanges: 1 } } },
      segments: [{ sealed: true }, { sealed: true }],
    });
    await server.close();
  });

  it('pauses for good: what passed then stands in the capture when it ends', async () => {
    const { server, directory } = await scene();
    const first = await startRecording(server.port, directory);
    await askOnce(first.port);
    await untilStatus(directory, ({ exchanges }) => exchanges === 1);
    await askFor(directory, '/pause');
    await askOnce(first.port);
    const { end, log } = await first.stop();
    expect(end).toMatchObject({ exchanges: 1, lost: { writer_down: { turns: 1 } } });
    expect(await inspect(directory)).toMatchObject({
      exchanges: 1,
      losses: { byReason: { writer_down: { exchanges: 1 } } },
    });
    expect(log.filter(({ state }) => state === 'HEALTHY')).toHaveLength(1);
    await server.close();
  });

  it('drains: what SIGTERM does, and the command ends when the recording has', async () => {
    const { server, directory } = await scene();
    const recording = await startRecording(server.port, directory, ['--drain-delay', '300ms']);
    await askOnce(recording.port);
    const drained = await runReprise(['drain', '--dir', directory]);
    expect(drained).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^drained: the recording has ended \(process \d+, started \S+Z\)\n$/),
    });
    const { status, end } = await accountOf(recording.process);
    expect([status, end['exchanges']]).toEqual([0, 1]);
    expect(await inspect(directory)).toMatchObject({ exchanges: 1, segments: [{ sealed: true }] });
    await server.close();
  });

  it('is told when a drain takes longer than was waited for', async () => {
    const { server, directory } = await scene();
    const recording = await startRecording(server.port, directory, ['--drain-delay', '10s']);
    const drained = await runReprise(['drain', '--dir', directory, '--wait', '500ms']);
    expect(drained.status).toBe(4);
    // The first signal after it ends the delay.
    recording.process.child.kill('SIGTERM');
    expect((await recording.process.finished).status).toBe(0);
    await server.close();
  });

  it('is told when no recording answers', async () => {
    const { server, directory } = await scene();
    const recording = await startRecording(server.port, directory);
    await recording.stop();
    for (const command of ['status', 'drain', 'pause', 'resume']) {
      const { status, stderr } = await runReprise([command, '--dir', directory]);
      expect(status).toBe(5);
      expect(stderr).toContain('none is running there');
    }
    expect((await runReprise(['status', '--dir', join(directory, 'nothing')])).status).toBe(5);
    await server.close();
  });

  it('finds the socket again after the directory was removed under a running recording', async () => {
    const { server, directory } = await scene();
    const recording = await startRecording(server.port, directory);
    // It would make files meanwhile, and may see of itself that they are gone.
    const { recorder } = recording.children();
    process.kill(recorder, 'SIGSTOP');
    rmSync(directory, { recursive: true, maxRetries: 20, retryDelay: 10 });
    process.kill(recorder, 'SIGKILL');
    await untilStatus(directory, ({ state, restarts }) => state === 'HEALTHY' && restarts.recorder === 1);
    await askOnce(recording.port);
    expect((await recording.stop()).end).toMatchObject({ exchanges: 1 });
    await server.close();
  });
});
