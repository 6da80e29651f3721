import { writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { comparePairs } from '../../src/analysis/compare/judge.ts';
import { PlanBootstrap } from '../../src/analysis/stats/bootstrap.ts';
import { sampleFloor } from '../../src/analysis/stats/percentiles.ts';
import { Histogram } from '../../src/core/histogram.ts';
import { answeredPairs } from '../support/compared-pairs.ts';
import {
  arrivalsOf,
  type DrawnRun,
  drawnQueues,
  drawnRun,
  type QueuesParts,
  type RunParts,
} from '../support/drawn-runs.ts';
import { repeated } from '../support/long-form.ts';
import { queueLatencies, SERVICE_TIMES, uniform } from '../support/queue-simulator.ts';

const SEEDS = repeated(100, 1_000);
/** Chance has a hundred seeds to be wrong in, and fixed ones: a rate is held to its bound or to this many. */
const FEW = repeated(2, 0);
const REQUESTS = 20_000;
const NS = 1e8;

const CASES = (['poisson exponential', 'poisson skewed', 'azure exponential'] as const).flatMap((name) =>
  ([0.5, 0.8, 0.95] as const).map((load): RunParts => {
    const [arrivals, service] = name.split(' ') as [RunParts['arrivals'], RunParts['service']];
    return { arrivals, service, executors: 4, load, requests: REQUESTS };
  }),
);

function tell(figures: object): void {
  writeFileSync(process.stderr.fd, `${JSON.stringify(figures)}\n`);
}

function measured({ arrivals, latencies }: DrawnRun, ofRun: PlanBootstrap | null = null) {
  const [whole, times] = [new Histogram(), new PlanBootstrap(ofRun)];
  for (let at = 0; at < latencies.length; at++) {
    const ns = Math.round(latencies[at]! * NS);
    whole.record(ns);
    times.record(arrivals[at]! * NS, ns);
  }
  const values = { whole, infinite: 0, most: whole.count };
  return { times, boundOf: (percent: number) => times.upper(percent, 0.95, values) };
}

const SHORT_PERCENTS = [90, 95, 99] as const;
/** Replays of the same arrivals, whose answers together have the true percentiles. */
const REPLAYS = 20;
/** Of 100 draws, so many more than 5 may pass wrongly by chance. */
const BY_CHANCE = repeated(2, 0);

/** In how many draws a percentile passes that is truly 5 % over its limit, and one at half of it. */
function passesOf(
  requests: number,
  replay: (seed: number, nth: number) => DrawnRun,
  draw: (seed: number) => Pick<ReturnType<typeof measured>, 'boundOf'>,
) {
  const counts = SHORT_PERCENTS.filter((percent) => requests >= sampleFloor(percent)).map((percent) => ({
    percent,
    passed: 0,
    half: 0,
  }));
  for (let seed = 1; seed <= SEEDS; seed++) {
    const pool = new Histogram();
    for (let nth = 1; nth <= REPLAYS; nth++) {
      for (const each of replay(seed, nth).latencies) pool.record(Math.round(each * NS));
    }
    const run = draw(seed);
    for (const count of counts) {
      const [truth, bound] = [pool.percentile(count.percent) ?? 0, run.boundOf(count.percent)];
      if (bound < truth / 1.05) count.passed += 1;
      if (bound < truth * 2) count.half += 1;
    }
  }
  return counts;
}

const SLICE_CASES = ([0.5, 0.8, 0.95] as const).flatMap((load) =>
  ([2_000, 7_000] as const).map(
    (requests): RunParts => ({ arrivals: 'poisson', service: 'exponential', executors: 4, load, requests }),
  ),
);

test.each(SLICE_CASES)('a tenth of $requests requests that share a queue, load $load', (parts) => {
  const replay = (seed: number, nth: number) => drawnRun(parts, seed, nth);
  const counts = passesOf(parts.requests / 10, replay, (seed) => {
    const run = drawnRun(parts, seed);
    const random = uniform(seed + 777);
    const mine = run.arrivals.map(() => (random() < 0.1 ? 1 : 0));
    const part = {
      arrivals: run.arrivals.filter((_, at) => mine[at] === 1),
      latencies: run.latencies.filter((_, at) => mine[at] === 1),
    };
    return measured(part, measured(run).times);
  });
  tell({ ...parts, seeds: SEEDS, counts });
  for (const { passed, half } of counts) {
    expect(passed).toBeLessThanOrEqual(0.05 * SEEDS + BY_CHANCE);
    if (parts.load === 0.5) expect(half).toBeGreaterThanOrEqual(0.85 * SEEDS);
  }
});

/** Fewer requests of more queues say nothing of them: they are as requests that are slow each for itself. */
const QUEUES_CASES = ([0.5, 0.8, 0.95] as const).flatMap((load): QueuesParts[] => {
  const parts = { service: 'exponential', executors: 4, load } as const;
  return [
    { ...parts, queues: 4, taken: 'in turn', requests: 700 },
    { ...parts, queues: 8, taken: 'in turn', requests: 1_500 },
    { ...parts, queues: 4, taken: 'at random', requests: 4_000 },
    { ...parts, queues: 8, taken: 'at random', requests: 4_000 },
  ];
});

test.each(QUEUES_CASES)('$queues queues taken $taken, $requests requests, load $load', (parts) => {
  const replay = (seed: number, nth: number) => drawnQueues(parts, seed, nth);
  const counts = passesOf(parts.requests, replay, (seed) => measured(drawnQueues(parts, seed)));
  tell({ ...parts, seeds: SEEDS, counts });
  for (const { passed, half, percent } of counts) {
    expect(passed).toBeLessThanOrEqual(0.05 * SEEDS + BY_CHANCE);
    if (parts.load === 0.5 && percent < 99) expect(half).toBeGreaterThanOrEqual(0.85 * SEEDS);
  }
});

/** How much longer B takes at a share of the run, over a mean of none. */
const DRIFTS: readonly ((share: number) => number)[] = [
  () => 1,
  (share) => 0.9 + 0.2 * share,
  (share) => 1.1 - 0.2 * share,
  (share) => 1 + 0.1 * Math.sin(2 * Math.PI * share),
];

describe('two builds before drawn queues, a drift of a tenth included', () => {
  test.each(CASES)('$arrivals arrivals, $service service times, load $load', (parts) => {
    const pairs = { ...parts, requests: 4_000 };
    const verdictsOf = (slowdown: number) => {
      const counts = { BETTER: 0, SAME: 0, WORSE: 0, INCONCLUSIVE: 0 };
      for (let seed = 1; seed <= SEEDS; seed++) {
        const arrivals = arrivalsOf(pairs, seed * 3);
        const drift = DRIFTS[seed % DRIFTS.length]!;
        const side = (sideSeed: number, factorAt: (share: number) => number) => {
          const random = uniform(sideSeed);
          return queueLatencies(
            arrivals,
            pairs.executors,
            (at) => SERVICE_TIMES[pairs.service](random) * factorAt(at / arrivals.length),
          );
        };
        const a = side(seed * 3 + 1, () => 1);
        const b = side(seed * 3 + 2, (share) => slowdown * drift(share));
        counts[comparePairs(answeredPairs(a, b)).verdict] += 1;
      }
      return counts;
    };
    const [same, slower] = [verdictsOf(1), verdictsOf(1.1)];
    tell({ ...pairs, seeds: SEEDS, same, slower });
    expect(same.WORSE).toBeLessThanOrEqual(Math.max(0.01 * SEEDS, FEW));
    expect(slower.SAME + slower.BETTER).toBeLessThanOrEqual(0.05 * SEEDS);
  });
});
