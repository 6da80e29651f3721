import { spawnSync } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test, vi } from 'vitest';
import { idleHelpers } from '../../src/cli/helper-threads.ts';
import { captureOf } from '../support/captures.ts';
import { runReprise, startReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { IDLE, mayReturn, NORMAL, policiesOf, threadsAreNamed } from '../support/thread-policies.ts';

/** What `chrt` is asked first: whether a program of the idle class may leave it. */
const TRIAL = '-i 0 chrt -o 0 true';

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
function fakeChrt(script: string): {
  readonly path: string;
  readonly notes: () => string[];
  /** Those of them that came to their end: a machine may be so busy that it does not in the time that it has. */
  readonly ends: () => string[];
} {
  const path = temporaryDirectory();
  const [notes, ends] = [join(path, 'notes'), join(path, 'ends')];
  const linesOf = (file: string) => readFileSync(file, 'utf8').split('\n').slice(0, -1);
  for (const file of [notes, ends]) writeFileSync(file, '');
  const noting = `echo "$@" >> ${notes}\n${script}\necho "$@" >> ${ends}`;
  writeFileSync(join(path, 'chrt'), `#!/bin/sh\n${noting}\n`, { mode: 0o755 });
  return { path, notes: () => linesOf(notes), ends: () => linesOf(ends) };
}

describe.skipIf(!threadsAreNamed)("V8's helpers (needs a Node that names its threads)", () => {
  test.skipIf(!mayReturn)(
    'of a replay run only where nothing else wants to, and nothing else does (needs chrt, and leave to leave its idle class)',
    async () => {
      const helpers = ['V8Worker', 'DelayedTaskSche'];
      // Passes on what it is told, but for the trial, which a busy machine may keep from its end.
      const real = spawnSync('sh', ['-c', 'command -v chrt'], { encoding: 'utf8' }).stdout.trim();
      const { path, notes, ends } = fakeChrt(`[ "$2" = 0 ] || exec ${real} "$@"`);
      const returned = (): boolean => notes().some((line) => line.startsWith('-o'));
      const areIdle = (now: Map<string, Set<number>>): boolean =>
        helpers.every((name) => now.get(name)?.has(IDLE) === true && now.get(name)?.size === 1);
      const wasCut = (): boolean => notes().length === 1 && ends().length === 0;
      const policies = await policiesOfReplay((now) => areIdle(now) || returned(), {
        PATH: `${path}:${process.env['PATH']}`,
      });
      // On a machine that is never idle they are back among the others at once, or never leave them.
      const stay = returned() || wasCut();
      if (!stay) for (const name of helpers) expect(policies.get(name)).toEqual(new Set([IDLE]));
      if (!wasCut()) expect(notes().filter((line) => line.startsWith('-i -p 0 '))).toHaveLength(5);
      expect(policies.get('WorkerThread')).toEqual(new Set([NORMAL]));
      expect(policies.get('MainThread')).toEqual(new Set([NORMAL]));
    },
  );

  test('stay what they are where there is no chrt', async () => {
    const policies = await policiesOfReplay(() => true, { PATH: temporaryDirectory() });
    expect(policies.get('V8Worker')).toEqual(new Set([NORMAL]));
  });

  test.each([
    [['replay', '--nothing'], 2, 5],
    [['selftest', '--nothing'], 2, 5],
    [['replay', '--dry-run', '--nothing'], 2, 0],
    // It needs no thread of its own either, which would take twice the time.
    [['replay', '--help'], 0, 0],
    [['profile', '--help'], 0, 0],
  ] as const)(
    'are told of by %s, which ends with %d, to chrt, each once, where it sends and they may return',
    async (args, exit, helpers) => {
      const { path, notes, ends } = fakeChrt('');
      const { status } = await runReprise(args, { env: { PATH: `${path}:${process.env['PATH']}` } });
      expect(status).toBe(exit);
      // It ends when they have: nothing is noted after it.
      const [trial, ...told] = notes();
      expect(trial).toBe(helpers === 0 ? undefined : TRIAL);
      // A trial that did not come to its end in time says that nothing is idle here: they stay what they are.
      const count = trial !== undefined && ends()[0] !== TRIAL ? 0 : helpers;
      expect(told.slice(0, count).every((line) => /^-i -p 0 \d+$/.test(line))).toBe(true);
      expect(new Set(told.slice(0, count)).size).toBe(count);
      // On a machine that is never idle all of them are called back behind that.
      const back = told.slice(count).toSorted();
      const idled = told.slice(0, count).map((line) => line.replace('-i', '-o'));
      expect([[], idled.toSorted()]).toContainEqual(back);
    },
  );

  test('stay what they are where they might not return: a class that is left by nobody can hold up a run', async () => {
    const { path, notes } = fakeChrt('exit 1');
    const env = { PATH: `${path}:${process.env['PATH']}` };
    const { status } = await runReprise(['replay', '--nothing'], { env });
    expect({ status, notes: notes() }).toEqual({ status: 2, notes: [TRIAL] });
  });

  test('stay what they are where nobody can see whether they starve: they would be idle for good', async () => {
    const { path, notes } = fakeChrt('');
    vi.stubEnv('PATH', `${path}:${process.env['PATH']}`);
    await idleHelpers((_id, name) => (name === 'stat' ? '1 (V8Worker) S 1' : ''));
    vi.unstubAllEnvs();
    expect(notes()).toEqual([]);
  });

  test('keep nobody who waits for a chrt that hangs, nor fail one that cannot be started', async () => {
    const hanging = fakeChrt('exec sleep 60');
    const looping = temporaryDirectory();
    symlinkSync('chrt', join(looping, 'chrt'));
    for (const path of [hanging.path, looping]) {
      const env = { PATH: `${path}:${process.env['PATH']}` };
      const { status, stderr } = await runReprise(['replay', '--nothing'], { env });
      const said = "reprise: unknown option '--nothing'\n  hint: See reprise --help.\n";
      expect({ status, stderr }).toEqual({ status: 2, stderr: said });
    }
    expect(hanging.notes()).toEqual([TRIAL]);
  });
});
