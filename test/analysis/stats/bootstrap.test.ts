import { describe, expect, test } from 'vitest';
import { PlanBootstrap } from '../../../src/analysis/stats/bootstrap.ts';
import { Histogram } from '../../../src/core/histogram.ts';
import { boundCounts, planOf, type TARGETS } from '../../support/planned-runs.ts';
import { poissonArrivals, uniform } from '../../support/queue-simulator.ts';

const NS = 1e8;

function timesOf(arrivals: Float64Array, latencies: Float64Array, ofRun: PlanBootstrap | null = null) {
  const [whole, times] = [new Histogram(), new PlanBootstrap(ofRun)];
  for (const [at, latency] of latencies.entries()) {
    whole.record(Math.round(latency * NS));
    times.record(arrivals[at]! * NS, Math.round(latency * NS));
  }
  const values = { whole, infinite: 0, most: whole.count };
  return {
    whole,
    times,
    upper: (percent: number, infinite = 0) => times.upper(percent, 0.95, { ...values, infinite }),
  };
}

/** Of 36 runs, at most 4 may be wrong: with a chance of 5 % each, that happens in 95 of 100 such tests. */
const MOST_WRONG = 4;

describe('the bound of a percentile, for other replays of the same plan', () => {
  const cases: readonly [Parameters<typeof planOf>[0], (typeof TARGETS)[number], number][] = [
    ['wandering', 'exponential 16', 0.95],
    ['wandering', 'even 1', 0.95],
    ['azure', 'batches of 8', 0.5],
    ['poisson', 'processor sharing', 0.5],
  ];

  test.each(cases)('%s arrivals, %s, load %d', (arrivals, target, load) => {
    const plans = [1, 2, 3].map((seed) => planOf(arrivals, 700, seed)!);
    for (const counts of boundCounts({ target, load, plans }, [50, 95], 12, 20)) {
      const { wrong, half, holding, printed } = counts;
      expect(wrong, JSON.stringify(counts)).toBeLessThanOrEqual(MOST_WRONG);
      expect(half, JSON.stringify(counts)).toBeGreaterThanOrEqual(30);
      expect(holding, JSON.stringify(counts)).toBeGreaterThanOrEqual(printed - 7);
    }
  });
});

test('planned bursts are not taken for chance', () => {
  // Ten requests at the same instant, each 20 seconds, at one executor: up to ten times as long as the others.
  const arrivals = Float64Array.from(
    { length: 1_000 },
    (_, at) => Math.floor(at / 20) * 20 + Math.max(0, (at % 20) - 9),
  );
  const random = uniform(3);
  let free = 0;
  const latencies = arrivals.map((arrival) => {
    free = Math.max(free, arrival) + 0.4 + 0.1 * random();
    return free - arrival;
  });
  const { whole, upper } = timesOf(arrivals, latencies);
  for (const percent of [50, 95, 99]) {
    expect(upper(percent) / whole.percentile(percent)!).toBeLessThan(1.2);
    expect(upper(percent)).toBeGreaterThanOrEqual(whole.percentile(percent)!);
  }
});

test('many requests in flight are no queue where none waits for another', () => {
  const random = uniform(5);
  const arrivals = poissonArrivals(1_000, 200, uniform(6));
  // Two hundred at the same time, each with a time of its own.
  const { whole, upper } = timesOf(
    arrivals,
    arrivals.map(() => 0.5 + random()),
  );
  expect(upper(95)).toBeLessThan(1.1 * whole.percentile(95)!);
});

test('stalls that the plan does not explain widen the bound', () => {
  const random = uniform(8);
  const arrivals = Float64Array.from({ length: 1_000 }, (_, at) => at);
  const slow = (isTogether: boolean) =>
    timesOf(
      arrivals,
      arrivals.map((_, at) =>
        (isTogether ? at % 500 < 35 : random() < 0.07) ? 8 + random() : 0.5 + 0.2 * random(),
      ),
    ).upper(90);
  expect(slow(true)).toBeGreaterThan(2 * slow(false));
});

test('failures that never ended count as slow, and too few requests show no bound', () => {
  const random = uniform(9);
  const of = (count: number) => {
    const arrivals = Float64Array.from({ length: count }, (_, at) => at);
    return timesOf(
      arrivals,
      arrivals.map(() => 0.5 + random()),
    );
  };
  expect(of(1_000).upper(95)).toBeLessThan(1.7 * NS);
  expect(of(1_000).upper(95, 60)).toBe(Number.POSITIVE_INFINITY);
  expect(of(10).upper(50)).toBe(Number.POSITIVE_INFINITY);
  expect(of(10).times.interval(50, of(10).whole)).toBeNull();
});

test('a part of a run varies as the queue that it shares with the rest', () => {
  const plan = planOf('poisson', 2_000, 1)!;
  const random = uniform(10);
  let free = 0;
  const latencies = plan.map((arrival) => {
    free = Math.max(free, arrival) - 0.9 * Math.log(random());
    return free - arrival;
  });
  const all = timesOf(plan, latencies);
  const isMine = plan.map(() => (random() < 0.1 ? 1 : 0));
  const mine = [plan, latencies].map((each) => each.filter((_, at) => isMine[at] === 1)) as [
    Float64Array,
    Float64Array,
  ];
  const ratio = ({ whole, upper }: ReturnType<typeof timesOf>) => upper(50) / whole.percentile(50)!;
  expect(ratio(timesOf(...mine, all.times))).toBeGreaterThanOrEqual(ratio(all) * 0.9);
});

test('the order in which requests end changes nothing', () => {
  const plan = planOf('wandering', 700, 2)!;
  const random = uniform(11);
  const latencies = plan.map(() => 0.5 + random());
  const backwards = timesOf(plan.toReversed(), latencies.toReversed());
  expect(backwards.upper(95)).toBe(timesOf(plan, latencies).upper(95));
});
