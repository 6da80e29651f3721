import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { metricsOf } from '../../src/proxy/control/metrics.ts';
import { systemProgram } from '../support/peer-tools.ts';
import { runProcess } from '../support/process.ts';
import { RawServer } from '../support/raw-server.ts';
import { startRecording } from '../support/recording.ts';
import { someStatus } from '../support/some-status.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const promtool = systemProgram('promtool');
const curl = systemProgram('curl');

/** What promtool has to say; nothing is what it says of good metrics. */
function lint(text: string): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
    input: text,
    encoding: 'utf8',
  });
  return { status, said: `${stdout}${stderr}` };
}

describe('promtool', () => {
  it('finds nothing wrong with the metrics', async ({ skip }) => {
    if ('missing' in promtool) return skip(promtool.missing);
    for (const status of [
      someStatus(),
      someStatus({ disk: { directory: '', bytes: 1, maxBytes: 2, freeBytes: 3 } }),
    ]) {
      expect(lint(await metricsOf(status))).toEqual({ status: 0, said: '' });
    }
  });

  it('would find something', async ({ skip }) => {
    if ('missing' in promtool) return skip(promtool.missing);
    expect(lint('# TYPE reprise_x gauge\nreprise_x_total 1\n').status).not.toBe(0);
  });
});

describe('curl', () => {
  it('speaks to the probe port and to the control socket', async ({ skip }) => {
    if ('missing' in curl) return skip(curl.missing);
    const server = await RawServer.start();
    const directory = `${temporaryDirectory()}/capture`;
    const recording = await startRecording(server.port, directory, ['--probe-listen', '127.0.0.1:0']);
    const [, probes] = await recording.process.waitFor('stderr', /"probes":"([^"]+)"/);
    const ready = await runProcess('curl', ['-sS', '--fail', `http://${probes}/readyz`]);
    expect(ready).toMatchObject({ status: 0, stdout: 'ready\n' });
    const socket = ['--unix-socket', join(directory, 'control.sock')];
    const status = await runProcess('curl', ['-sS', '--fail', ...socket, 'http://reprise/status']);
    expect(JSON.parse(status.stdout)).toMatchObject({ schema: 'reprise-status/1', state: 'HEALTHY' });
    const drain = await runProcess('curl', [
      '-sS',
      '--fail',
      '-X',
      'POST',
      ...socket,
      'http://reprise/drain',
    ]);
    expect(drain.status).toBe(0);
    expect((await recording.process.finished).status).toBe(0);
    await server.close();
  });
});
