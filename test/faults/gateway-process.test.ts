import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runCommand } from '../support/command-here.ts';
import { type RecordingProcess, startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const upstream = createServer((asked, response) => {
  asked.resume().on('end', () => response.end(`got ${asked.url}`));
}).listen(0, '127.0.0.1');
await once(upstream, 'listening');
afterAll(() => upstream.close());
const address = upstream.address();
const targetPort = address !== null && typeof address === 'object' ? address.port : 0;

const FLAGS = ['--mode', 'gateway', '--probe-listen', 'off', '--drain-delay', '0s'];
const FAULT = `--import=${new URL('./planted-fault.ts', import.meta.url)}`;

async function get(port: number, path: string): Promise<string> {
  const asked = request({ port, host: '127.0.0.1', path, agent: false }).end();
  const [response] = await once(asked, 'response');
  const chunks: Buffer[] = [];
  response.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(response, 'end');
  return Buffer.concat(chunks).toString();
}

function account({ end }: Awaited<ReturnType<RecordingProcess['stop']>>) {
  const { seen, recorded, lost, omitted, pending } = end;
  return { seen, recorded, lost, omitted, pending };
}

describe('reprise record --mode gateway', () => {
  it('records through its own processes, warns of nothing, and fails nothing when it is stopped', async () => {
    const directory = temporaryDirectory();
    const recording = await startRecording(targetPort, directory, FLAGS);
    for (let turn = 0; turn < 20; turn += 1)
      expect(await get(recording.port, `/${turn}`)).toBe(`got /${turn}`);
    await expect(get(recording.port, '/#')).resolves.toBe('');
    let refused = {};
    while (Object.keys(refused).length === 0) {
      const { stdout } = await runCommand(['status', '--dir', directory, '--json']);
      refused = (JSON.parse(stdout) as { connections: { refused: object } }).connections.refused;
    }
    expect(refused).toEqual({ target: 1 });
    const stopped = await recording.stop();
    expect(stopped.status).toBe(0);
    expect(recording.process.stderr).not.toMatch(/Warning/);
    expect(account(stopped)).toMatchObject({ lost: {}, omitted: {}, pending: { bytes: 0, turns: 0 } });
    const inspected = await runCommand(['inspect', directory, '--json']);
    expect(JSON.parse(inspected.stdout)).toMatchObject({ exchanges: 20, outcomes: { completed: 20 } });
  });

  it('keeps a replay away from the target of a route, which no request was recorded under, and shows it', async () => {
    const directory = temporaryDirectory();
    const config = join(temporaryDirectory(), 'reprise.yaml');
    // An address that nobody has: a replay that is not refused for it would be for not reaching it.
    const routes = [{ path: '/b*', target: 'https://192.0.2.7:8443' }];
    writeFileSync(config, JSON.stringify({ record: { routes } }));
    const recording = await startRecording(targetPort, directory, [...FLAGS, '--config', config]);
    await get(recording.port, '/a');
    const status = await runCommand(['status', '--dir', directory]);
    expect(status.stdout).toMatch(/^routes +\/b\* to https:\/\/192\.0\.2\.7:8443$/m);
    expect(status.stdout).toMatch(/^protocols +/m);
    const { log } = await recording.stop();
    const targets = `127.0.0.1:${targetPort}, https://192.0.2.7:8443`;
    expect(log.find(({ message }) => message === 'forwarding')).toMatchObject({ target: targets });
    const inspected = await runCommand(['inspect', directory]);
    expect(inspected.stdout).toContain(`recorded in front of ${targets}`);
    const replayed = await runCommand(['replay', directory, '--target', 'http://192.0.2.7:9']);
    expect([replayed.status, replayed.stderr]).toEqual([
      2,
      expect.stringContaining('192.0.2.7 is the host this capture was recorded under'),
    ]);
  });

  it('ends when it meets an error of its own, for whoever starts it again, and its account stays exact', async () => {
    const directory = temporaryDirectory();
    const recording = await startRecording(targetPort, directory, FLAGS, { env: { NODE_OPTIONS: FAULT } });
    await get(recording.port, '/before');
    process.kill(recording.children().proxy, 'SIGUSR2');
    expect((await recording.process.finished).status).toBe(1);
    expect(recording.process.stderr).toMatch(/"reason":"planted".*internal error in the proxy/);
    const { stdout } = await runCommand(['inspect', directory, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      exchanges: 1,
      losses: { exchanges: 0, exact: true },
      segments: [{ sealed: true }],
    });
  });
});
