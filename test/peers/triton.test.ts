import { join } from 'node:path';
import { expect } from 'vitest';
import { runCommand } from '../support/command-here.ts';
import { freePort } from '../support/free-port.ts';
import { needing, runPeer } from '../support/peer-run.ts';
import { pythonWith } from '../support/peer-tools.ts';
import { RunningProcess } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { documentOf, replay } from '../support/replaying.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const PROGRAM = join(repositoryRoot, 'test', 'peers', 'programs', 'triton_models.py');
// The server embeds the system's libpython, so the interpreter must be the system's too.
const triton = pythonWith(['nvidia-pytriton==0.7.0', 'tritonclient[grpc]==2.73.0'], '/usr/bin/python3');
const CALLS = 20;

async function startTriton(python: string): Promise<{ port: number; end: () => Promise<unknown> }> {
  const ports = [await freePort(), await freePort(), await freePort()];
  const server = new RunningProcess(python, [PROGRAM, 'serve', ...ports.map(String)]);
  await server.waitFor('stdout', /ready/);
  return { port: ports[1] ?? 0, end: () => server.kill('SIGTERM') };
}

async function called(python: string, port: number): Promise<unknown> {
  const { status, said, stdout } = await runPeer(python, [PROGRAM, 'call', `${port}`]);
  expect(status, said).toBe(0);
  return JSON.parse(stdout);
}

/** Records the calls of Triton's client. @returns the capture, and what the client got */
async function recorded(python: string, port: number, flags: readonly string[] = []) {
  const directory = join(temporaryDirectory(), 'capture');
  const recording = await startRecording(port, directory, ['--bodies', 'all', ...flags]);
  const got = await called(python, recording.port);
  const { status, end } = await recording.stop();
  expect(status).toBe(0);
  expect(end).toMatchObject({ exchanges: CALLS + 1, lost: {} });
  return { directory, got };
}

needing(
  triton,
  "Triton's client gets the same with the recorder, and Triton answers a replay of its calls as recorded, masked or not",
  async (python) => {
    const server = await startTriton(python);
    try {
      const expected = await called(python, server.port);
      const { directory, got } = await recorded(python, server.port);
      expect(got).toEqual(expected);
      const profile = JSON.parse((await runCommand(['profile', directory, '--json'])).stdout);
      const models = profile.mix.models.map(({ model }: { model: string }) => model);
      expect(models.sort()).toEqual(['double', 'words']);

      const url = `http://127.0.0.1:${server.port}`;
      const run = documentOf(await replay(directory, url, ['--json', '--check', 'values']));
      expect(run).toMatchObject({ planned: CALLS + 1, completed: CALLS + 1, failed: 0, errors: {} });
      expect(run.check, JSON.stringify(run.check)).toMatchObject({ checked: CALLS + 1, mismatched: 0 });

      const masked = await recorded(python, server.port, ['--redact-preset', 'v2']);
      expect(masked.got).toEqual(expected);
      const again = documentOf(await replay(masked.directory, url, ['--json']));
      expect(again).toMatchObject({ planned: CALLS + 1, completed: CALLS + 1, failed: 0, errors: {} });
    } finally {
      await server.end();
    }
  },
  180_000,
);
