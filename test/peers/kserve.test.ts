import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { needing } from '../support/peer-run.ts';
import { pythonWith } from '../support/peer-tools.ts';
import { RunningProcess, runReprise } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { documentOf, replay } from '../support/replaying.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const PROGRAMS = join(repositoryRoot, 'test', 'peers', 'programs');
const kserve = pythonWith(['kserve==0.21.0']);
/** The last whose types of OpenAI's routes need no vLLM. */
const kserveOfOpenai = pythonWith(['kserve==0.14.1']);

const servers: RunningProcess[] = [];
afterAll(async () => {
  await Promise.all(servers.map((server) => server.kill('SIGKILL')));
});

/** Starts KServe's server with the models of `kserve_protocols.py`. @returns its port, once it is ready */
async function startServer(python: string): Promise<number> {
  const port = await freePort();
  const server = new RunningProcess(python, ['kserve_protocols.py', '--http_port', String(port)], {
    cwd: PROGRAMS,
  });
  servers.push(server);
  for (let attempt = 0; attempt < 600; attempt += 1) {
    const ready = await fetch(`http://127.0.0.1:${port}/v2/health/ready`).catch(() => null);
    if (ready?.ok) return port;
    if (server.child.exitCode !== null) expect.fail(server.stderr);
    await sleep(100);
  }
  return expect.fail(`it is not ready\n${server.stderr}`);
}

const TENSOR = { name: 'x', datatype: 'FP32', shape: [1, 2], data: [1, 2] };
const CHAT = { model: 'chat', messages: [{ role: 'user', content: 'count' }] };
/** Requests with what their answers have to contain. */
const V1_AND_V2 = [
  ['/v1/models/sum:predict', { instances: [[1, 2]] }, '3'],
  ['/v2/models/sum/infer', { id: '1', inputs: [TENSOR] }, '"data":[3.0]'],
] as const;
const OPENAI = [
  ['/openai/v1/chat/completions', CHAT, 'one two'],
  ['/openai/v1/chat/completions', { ...CHAT, stream: true }, 'data: [DONE]'],
] as const;

describe('KServe’s server', () => {
  for (const [tool, requests, routes, version] of [
    [kserve, V1_AND_V2, ['POST /v1/models/{model}:predict', 'POST /v2/models/{model}/infer'], '0.21'],
    [kserveOfOpenai, OPENAI, ['POST /openai/v1/chat/completions'], '0.14'],
  ] as const) {
    needing(
      tool,
      `${version} is recorded and answers a replay as it did: ${routes.join(', ')}`,
      async (python) => {
        const port = await startServer(python);
        const directory = join(temporaryDirectory(), 'capture');
        const recording = await startRecording(port, directory, ['--bodies', 'all']);
        for (const [path, body, answer] of requests) {
          const response = await fetch(`http://127.0.0.1:${recording.port}${path}`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify(body),
          });
          expect([response.status, await response.text()]).toEqual([200, expect.stringContaining(answer)]);
        }
        expect(await recording.stop()).toMatchObject({
          status: 0,
          end: { lost: {}, exchanges: requests.length },
        });
        const profile = JSON.parse((await runReprise(['profile', directory, '--json'])).stdout);
        expect(profile.mix.routes.map(({ route }: { route: string }) => route).sort()).toEqual(routes);

        const replayed = await replay(directory, `http://127.0.0.1:${port}`, ['--check', '--json']);
        // 4 where this machine was too busy to be on time.
        expect([0, 4], replayed.stderr).toContain(replayed.status);
        const run = documentOf(replayed);
        expect(run).toMatchObject({ sent: requests.length, completed: requests.length, failed: 0 });
        expect(run.statuses).toEqual({ '200': requests.length });
      },
    );
  }
});
