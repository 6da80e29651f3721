import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { constantTarget } from '../support/constant-target.ts';
import { canGroup } from '../support/host-abilities.ts';
import { repeated } from '../support/long-form.ts';
import { poissonOf, randomOf } from '../support/poisson.ts';
import { type RunningProcess, startProcess, startReprise } from '../support/process.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { documentOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const RATE = 50;
const COUNT = 400;
const ANSWER_MS = 20;
const LIMIT_MS = 60;
const SEEDS = repeated([1], [1, 2, 3]);
/** Another client of a healthy target certainly finds it within the limit. Beside many others, it may not. */
const HEALTHY_MS = 40;

/** What holds up the generator, from its first send until it ends. */
interface Disturbance {
  readonly name: string;
  /** About as long as it stands still at most. */
  readonly longestMs: number;
  /** Begins it. Returns how to end it. */
  readonly begin: (generator: RunningProcess, seed: number) => () => Promise<void>;
}

/** Stops the process by signals, for about `stopMs` of each `everyMs`. */
function stopped(stopMs: number, everyMs: number): Disturbance {
  return {
    name: `stopped for ${stopMs} of each ${everyMs} ms`,
    longestMs: 1.2 * stopMs,
    begin: ({ child }, seed) => {
      const random = randomOf(seed);
      const varied = (ms: number) => ms * (0.8 + 0.4 * random());
      let isOver = false;
      const loop = async (): Promise<void> => {
        while (!isOver && child.exitCode === null) {
          await sleep(varied(everyMs - stopMs));
          child.kill('SIGSTOP');
          await sleep(varied(stopMs));
          child.kill('SIGCONT');
        }
      };
      const looping = loop();
      return async () => {
        isOver = true;
        await looping;
      };
    },
  };
}

const PERIOD_MS = 100;
let groups = 0;

/** Gives the process a share of one processor: it runs at the start of each tenth of a second. */
function quota(share: number): Disturbance {
  return {
    name: `a CPU quota of ${share * 100} %`,
    longestMs: PERIOD_MS,
    begin: ({ child }) => {
      groups += 1;
      const group = `/sys/fs/cgroup/cpu/reprise-paused-${process.pid}-${groups}`;
      mkdirSync(group);
      writeFileSync(join(group, 'cpu.cfs_period_us'), String(PERIOD_MS * 1_000));
      writeFileSync(join(group, 'cpu.cfs_quota_us'), String(Math.round(share * PERIOD_MS * 1_000)));
      writeFileSync(join(group, 'cgroup.procs'), String(child.pid));
      return async () => {
        const processes = join(group, 'cgroup.procs');
        await msUntil(10_000, 'the group is empty', () => readFileSync(processes, 'utf8') === '');
        rmdirSync(group);
      };
    },
  };
}

/** Loops that take every processor, each for a minute at most. */
function loops(count: number): Disturbance {
  return {
    name: `${count} busy loops`,
    longestMs: 100,
    begin: () => {
      const loop = 'const end = Date.now() + 60_000; while (Date.now() < end);';
      const busy = Array.from({ length: count }, () => startProcess(process.execPath, ['-e', loop]));
      return async () => void (await Promise.all(busy.map((each) => each.kill('SIGKILL'))));
    },
  };
}

const STOPS = repeated(
  [stopped(80, 200)],
  [
    stopped(20, 60),
    stopped(40, 200),
    stopped(80, 200),
    stopped(120, 250),
    stopped(160, 400),
    stopped(200, 1_000),
    stopped(80, 100),
    stopped(400, 2_000),
  ],
);
const QUOTAS = repeated([0.16], [0.12, 0.14, 0.16, 0.18, 0.2, 0.25, 0.3]).map(quota);
const LOOPS = repeated([4], [2, 3, 4, 5, 6]).map(loops);
const DISTURBANCES = [...STOPS, ...(canGroup ? QUOTAS : []), ...LOOPS];
const CASES = DISTURBANCES.flatMap((disturbance) => SEEDS.map((seed) => ({ disturbance, seed })));

/** A run whose generator is disturbed from its first answer on. */
async function disturbedRun({ disturbance, seed }: (typeof CASES)[number], answerMs: number) {
  const { url, answer, answered, waitedP95Ms, end } = await constantTarget(answerMs);
  const exchanges = poissonOf({ count: COUNT, ratePerSecond: RATE, seed, answerMs, answer });
  const out = join(temporaryDirectory(), 'run');
  const args = ['replay', captureOf(exchanges), '--target', url, '--out', out, '--json'];
  const generator = startReprise([...args, '--slo', `latency: p(95)<${LIMIT_MS}`]);
  while (generator.child.exitCode === null && (await answered()) === 0) await sleep(20);
  await waitedP95Ms();
  const over = disturbance.begin(generator, seed);
  const finished = await generator.finished;
  const probedP95Ms = await waitedP95Ms();
  await over();
  await end();
  const { verdict, reasons, slo, latencyMs, lagUs, pauses } = documentOf(finished);
  const run = {
    ...{ name: disturbance.name, seed, verdict, probedP95Ms },
    codes: reasons.map(({ code }) => code),
    observedMs: slo[0]?.observed,
    lowerBoundMs: slo[0]?.lowerBound,
    serviceP95Ms: latencyMs.service.p95,
    lagP99Ms: (lagUs.p99 ?? 0) / 1e3,
    pauses,
  };
  if (process.env['SHOW_RUNS'] === '1') console.log(JSON.stringify(run));
  return run;
}

describe('a generator that stands still between a send and its answer', () => {
  it(
    'does not make a healthy target fail',
    async () => {
      const runs = [];
      for (const each of CASES) runs.push(await disturbedRun(each, ANSWER_MS));
      const healthy = runs.filter(({ probedP95Ms }) => probedP95Ms <= HEALTHY_MS);
      expect(healthy.length).toBeGreaterThan(0);
      expect(healthy.filter(({ verdict }) => verdict === 'FAIL')).toEqual([]);
    },
    CASES.length * 60_000,
  );

  it(
    'does not hide that a target is too slow by more than it stood still',
    async () => {
      const runs = [];
      for (const each of CASES) {
        runs.push(await disturbedRun(each, LIMIT_MS + 2 * each.disturbance.longestMs));
      }
      expect(runs.filter(({ verdict }) => verdict === 'PASS')).toEqual([]);
      const failed = runs.filter(({ verdict }) => verdict === 'FAIL');
      expect(failed.length, JSON.stringify(runs)).toBeGreaterThanOrEqual(0.8 * runs.length);
    },
    CASES.length * 60_000,
  );
});
