import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect } from 'vitest';
import { explainRun } from '../../src/app/report.ts';
import type { CauseKind, Explanation } from '../../src/documents/explanation.ts';
import { bottleneckTraffic } from '../support/bottleneck-server.ts';
import { captureOf } from '../support/captures.ts';
import { startRelay } from '../support/fault-relay.ts';
import { freePort } from '../support/free-port.ts';
import { afterwards } from '../support/leftovers.ts';
import { needing } from '../support/peer-run.ts';
import { pythonWith, systemProgram } from '../support/peer-tools.ts';
import { startProcess } from '../support/process.ts';
import { replay } from '../support/replaying.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const redis = systemProgram('redis-server');
const gunicorn = pythonWith(['gunicorn==27.0.1']);

/** Waits until a server accepts connections. */
async function untilOpen(port: number): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt += 1) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
    if (isOpen) return;
    await sleep(50);
  }
  expect.fail(`nothing listens on port ${port}`);
}

/** gunicorn with so many threads, which asks a Redis behind a relay of faults. */
async function scene(python: string, threads: number) {
  const redisPort = await freePort();
  const cache = startProcess('redis-server', ['--port', `${redisPort}`, '--save', '', '--bind', '127.0.0.1']);
  afterwards(() => void cache.kill('SIGKILL'));
  await cache.waitFor('stdout', /Ready to accept connections/);
  const relay = await startRelay(`127.0.0.1:${redisPort}`);
  const port = await freePort();
  const workers = ['-k', 'gthread', '--threads', `${threads}`, '-w', '1', '--keep-alive', '30'];
  const server = startProcess(
    python,
    ['-m', 'gunicorn', ...workers, '-b', `127.0.0.1:${port}`, 'redis_wsgi_app:application'],
    { cwd: join(repositoryRoot, 'test', 'peers', 'programs'), env: { REDIS_PORT: `${relay.port}` } },
  );
  afterwards(() => void server.kill('SIGTERM'));
  await untilOpen(port);
  return { target: `http://127.0.0.1:${port}`, control: relay.running.control };
}

const CASES: readonly { name: string; threads: number; fault: boolean; kind: CauseKind | null }[] = [
  { name: 'too few threads of gunicorn', threads: 1, fault: false, kind: 'waiting' },
  { name: 'a slow Redis', threads: 64, fault: true, kind: 'dependency' },
  { name: 'nothing', threads: 64, fault: false, kind: null },
];

describe('explain, with gunicorn and Redis', () => {
  for (const { name, threads, fault, kind } of CASES) {
    needing('missing' in redis ? redis : gunicorn, `finds ${name}`, async (python) => {
      const { target, control } = await scene(python, threads);
      const { exchanges } = bottleneckTraffic({ seed: 5, requests: 400, perSecond: 100 });
      const args = ['--slo', 'latency: p(95)<150', ...(fault ? ['--faults', planFile(control)] : [])];
      const capture = captureOf(exchanges);
      let explained: Explanation;
      let play = 0;
      // A run that our own lag broke is played again, twice at most.
      do {
        explained = explainRun((await replay(capture, target, args)).out);
        play += 1;
      } while (play < 3 && explained.causes.some((cause) => cause.kind === 'generator'));
      const { causes, unexplained } = explained;
      const ofTarget = causes.filter((cause) => cause.kind !== 'generator');
      const shown = `${unexplained}\n${causes.map(({ share, text }) => `${share}: ${text}`).join('\n')}`;
      expect(ofTarget[0]?.kind ?? null, shown).toBe(kind);
    });
  }
});

function planFile(control: string): string {
  const file = join(temporaryDirectory(), 'faults.yaml');
  const fault = { name: 'slow-redis', proxy: 'dep', fault: 'latency', attributes: { latency: 300 } };
  writeFileSync(file, JSON.stringify({ control, faults: [{ ...fault, start: '1500ms', duration: '1s' }] }));
  return file;
}
