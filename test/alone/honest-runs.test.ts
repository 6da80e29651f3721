import { availableParallelism } from 'node:os';
import { expect, it } from 'vitest';
import { busyShare } from '../support/busy-share.ts';
import { captureOf } from '../support/captures.ts';
import { constantTarget } from '../support/constant-target.ts';
import { repeated } from '../support/long-form.ts';
import { poissonOf } from '../support/poisson.ts';
import { startProcess } from '../support/process.ts';
import { documentOf, replay } from '../support/replaying.ts';

/** Requests a second, how many of them, and the percentile that so many decide. */
const SHAPES = [
  { rate: 1, count: 60, percent: 75 },
  { rate: 3, count: 120, percent: 90 },
  { rate: 6, count: 180, percent: 90 },
  { rate: 12, count: 360, percent: 95 },
  { rate: 25, count: 375, percent: 95 },
  { rate: 50, count: 600, percent: 95 },
  { rate: 75, count: 900, percent: 95 },
  { rate: 100, count: 1_200, percent: 95 },
  { rate: 150, count: 1_500, percent: 95 },
  { rate: 200, count: 2_000, percent: 95 },
];
/** Of each shape, in the long form with arrivals of their own. */
const REPEATS = repeated(1, 5);
const RUNS = SHAPES.length * REPEATS;
/** 45 in 50. */
const LEAST_PASSES = RUNS * 0.9;
/** At once: the slow ones hardly need a processor. */
const LANES = Math.max(2, Math.min(8, availableParallelism()));

const ANSWER_MS = 20;
const LIMIT_MS = 400;
/** The loops end by themselves, whatever becomes of the suite. */
const LOOP_S = repeated(280, 1_400);

async function honestRun({ rate, count, percent }: (typeof SHAPES)[number], seed: number) {
  const { url, answer, waitedP95Ms, end } = await constantTarget(ANSWER_MS);
  const exchanges = poissonOf({ count, ratePerSecond: rate, seed, answerMs: ANSWER_MS, answer });
  const slo = `latency{*model}: p(${percent})<${LIMIT_MS}; goodput: rate>${(percent - 10) / 100} where latency<${LIMIT_MS}`;
  const result = await replay(captureOf(exchanges), url, ['--json', '--slo', slo]);
  const probedP95Ms = await waitedP95Ms();
  await end();
  const { verdict, reasons, latencyMs, lagUs } = documentOf(result);
  const codes = reasons.map(({ code }) => code);
  const lagP99Ms = (lagUs.p99 ?? 0) / 1e3;
  return { rate, seed, verdict, codes, probedP95Ms, p95Ms: latencyMs.scheduled.p95, lagP99Ms };
}

/** Where others take more than this, the loops are not all that the runs have beside them. */
const OTHERS_SHARE = 0.25;

it(
  'beside two busy loops a healthy target passes in nine of ten honest runs, and fails in none',
  async () => {
    const othersBefore = await busyShare();
    const loop = `const end = Date.now() + ${LOOP_S * 1e3}; while (Date.now() < end);`;
    const loops = [0, 1].map(() => startProcess(process.execPath, ['-e', loop]));
    try {
      const asked = SHAPES.flatMap((shape) => Array.from({ length: REPEATS }, (_, at) => ({ shape, at })));
      const runs: Awaited<ReturnType<typeof honestRun>>[] = [];
      // The slowest first: they last longest.
      const lane = async () => {
        for (let next = asked.shift(); next !== undefined; next = asked.shift()) {
          runs.push(await honestRun(next.shape, next.shape.rate * 10 + next.at));
        }
      };
      await Promise.all(Array.from({ length: LANES }, lane));
      await Promise.all(loops.map((each) => each.kill('SIGKILL')));
      const isAlone = Math.max(othersBefore, await busyShare()) < OTHERS_SHARE;
      const of = (verdict: string) => runs.filter((run) => run.verdict === verdict);
      const told = JSON.stringify(runs.filter(({ verdict }) => verdict !== 'PASS'));
      // By its own clock: it was healthy.
      expect(runs.filter(({ probedP95Ms }) => !(probedP95Ms <= LIMIT_MS / 2))).toEqual([]);
      expect(of('FAIL'), told).toEqual([]);
      // Beside more than the loops a run may say that it cannot tell; it is never wrong.
      expect(of('PASS').length, told).toBeGreaterThanOrEqual(isAlone ? LEAST_PASSES : 0);
      expect(of('PASS').length + of('INCONCLUSIVE').length, told).toBe(RUNS);
    } finally {
      await Promise.all(loops.map((each) => each.kill('SIGKILL')));
    }
  },
  LOOP_S * 1_000,
);
