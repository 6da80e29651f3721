import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { runReprise, startReprise } from '../support/process.ts';
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

/** A replay that is not answered before `asExpected` holds of its threads, or ten seconds are over; what they were. */
async function policiesOfReplay(
  asExpected: (policies: Map<string, Set<number>>) => boolean,
  env: Record<string, string> = {},
): Promise<Map<string, Set<number>>> {
  let policies = new Map<string, Set<number>>();
  const server = await serverOf(async (_, response) => {
    const fromMs = performance.now();
    do {
      policies = policiesOf(run.child.pid as number);
      await sleep(10);
    } while (!asExpected(policies) && performance.now() - fromMs < 10_000);
    response.end('{}');
  });
  const out = join(temporaryDirectory(), 'run');
  const run = startReprise(['replay', captureOf(requestsOf(1)), '--target', server.url, '--out', out], {
    env,
  });
  await run.finished;
  expect(server.requests).toHaveLength(1);
  return policies;
}

/** A directory with a `chrt` of its own, which notes what it was told. */
function fakeChrt(script: string): { readonly path: string; readonly notes: () => string[] } {
  const path = temporaryDirectory();
  const notes = join(path, 'notes');
  writeFileSync(notes, '');
  writeFileSync(join(path, 'chrt'), `#!/bin/sh\necho "$@" >> ${notes}\n${script}\n`, { mode: 0o755 });
  return { path, notes: () => readFileSync(notes, 'utf8').split('\n').slice(0, -1) };
}

describe.skipIf(!threadsAreNamed)("V8's helpers (needs a Node that names its threads)", () => {
  test.skipIf(!hasChrt)(
    'of a replay run only where nothing else wants to, and nothing else does (needs chrt)',
    async () => {
      const helpers = ['V8Worker', 'DelayedTaskSche'];
      const policies = await policiesOfReplay((now) =>
        helpers.every((name) => now.get(name)?.has(IDLE) === true && now.get(name)?.size === 1),
      );
      for (const name of helpers) expect(policies.get(name)).toEqual(new Set([IDLE]));
      expect(policies.get('WorkerThread')).toEqual(new Set([NORMAL]));
      expect(policies.get('MainThread')).toEqual(new Set([NORMAL]));
    },
  );

  test('stay what they are where there is no chrt', async () => {
    const policies = await policiesOfReplay(() => true, { PATH: temporaryDirectory() });
    expect(policies.get('V8Worker')).toEqual(new Set([NORMAL]));
  });

  test.each([
    [['replay', '--help'], 5],
    [['selftest', '--help'], 5],
    [['replay', '--dry-run', '--help'], 0],
    [['profile', '--help'], 0],
  ] as const)('are told of by %s to chrt, each once, where it sends', async (args, helpers) => {
    const { path, notes } = fakeChrt('');
    const { status } = await runReprise(args, { env: { PATH: `${path}:${process.env['PATH']}` } });
    expect(status).toBe(0);
    // It ends when they have: nothing is noted after it.
    expect(notes().every((line) => /^-i -p 0 \d+$/.test(line))).toBe(true);
    expect(new Set(notes()).size).toBe(helpers);
    expect(notes()).toHaveLength(helpers);
  });

  test('keep nobody who waits for a chrt that hangs, nor fail one that cannot be started', async () => {
    const hanging = fakeChrt('exec sleep 60');
    const looping = temporaryDirectory();
    symlinkSync('chrt', join(looping, 'chrt'));
    for (const path of [hanging.path, looping]) {
      const env = { PATH: `${path}:${process.env['PATH']}` };
      const { status, stderr } = await runReprise(['replay', '--help'], { env });
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    }
  });
});
