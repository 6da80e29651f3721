import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { startReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** Of Linux: what has no wish of its own, and what runs only where nobody else wants to. */
const NORMAL = 0;
const IDLE = 5;
/** Places of a thread's `stat` behind its name, of which the first is its state. */
const POLICY = 38;

const hasChrt = spawnSync('chrt', ['--version']).status === 0;
const threadsAreNamed = process.platform === 'linux' && policiesOf(process.pid).has('V8Worker');

/** The scheduling policies of a process's threads, by the name of the thread. */
function policiesOf(pid: number): Map<string, Set<number>> {
  const policies = new Map<string, Set<number>>();
  for (const id of readdirSync(`/proc/${pid}/task`)) {
    const stat = statOf(`/proc/${pid}/task/${id}/stat`);
    if (stat === null) continue;
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
    const policy = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[POLICY]);
    policies.set(name, (policies.get(name) ?? new Set()).add(policy));
  }
  return policies;
}

/** Null where the thread has ended meanwhile. */
function statOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

/** What the threads of a replay are once its first request has come; it ends as it should. */
async function policiesOfReplay(env: Record<string, string> = {}): Promise<Map<string, Set<number>>> {
  const seen = Promise.withResolvers<Map<string, Set<number>>>();
  const server = await serverOf((_, response) => {
    seen.resolve(policiesOf(run.child.pid as number));
    response.end('{}');
  });
  const out = join(temporaryDirectory(), 'run');
  const args = ['replay', captureOf(requestsOf(50)), '--target', server.url, '--out', out];
  const run = startReprise(args, { env });
  const { stderr } = await run.finished;
  expect(stderr).not.toContain('error');
  expect(server.requests).toHaveLength(50);
  return await seen.promise;
}

describe.skipIf(!threadsAreNamed)("V8's helpers in a replay", () => {
  test.skipIf(!hasChrt)('run only where nothing else wants to, and nothing else does', async () => {
    const policies = await policiesOfReplay();
    expect(policies.get('V8Worker')).toEqual(new Set([IDLE]));
    expect(policies.get('WorkerThread')).toEqual(new Set([NORMAL]));
    expect(policies.get('MainThread')).toEqual(new Set([NORMAL]));
  });

  test('stay what they are where there is no chrt', async () => {
    const policies = await policiesOfReplay({ PATH: temporaryDirectory() });
    expect(policies.get('V8Worker')).toEqual(new Set([NORMAL]));
  });
});
