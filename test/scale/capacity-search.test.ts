import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { uniformBy } from '../../src/analysis/capacity/queue-model.ts';
import { CapacitySearch } from '../../src/analysis/capacity/search.ts';
import { repeated } from '../support/long-form.ts';
import { bruteForce, playedQueue, QUEUE_CASES, SEARCH, searchedQueue, unseenIn } from './searched-queue.ts';
import {
  type Recording,
  type StretchCase,
  sceneOf,
  searchedStretch,
  trueMultiplier,
  wanderingRecording,
} from './searched-stretch.ts';
import { servegenArrivalsUs, servegenPath } from './servegen-trace.ts';

const SEEDS = repeated(100, 1_000);
/** A search takes less than a second. Beside other suites, at the lowest priority, it waits for most of the time. */
const TIMEOUT_MS = repeated(1_200_000, 3_600_000);
/** Of seeds of one queue, chance may be against this share. */
const MISSED_OF_ONE = 0.15;

function tell(figures: object): void {
  writeFileSync(process.stderr.fd, `${JSON.stringify(figures)}\n`);
}

function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(share * values.length)]!;
}

/** The interval as the document of a search has it, without noise. Without a fit it holds nothing. */
function intervalOf(search: CapacitySearch, unseenAt: (multiplier: number) => number) {
  const { fit } = search.results()[0]!;
  if (fit === null) return { low: 0, high: 0, width: Number.POSITIVE_INFINITY };
  const low = fit.low / (1 + unseenAt(fit.multiplier));
  return { low, high: fit.high, width: (fit.high - low) / fit.multiplier };
}

/** The slowest boundary to find takes half a minute: each of them in the long form, the quickest in CI. */
test.each(repeated([QUEUE_CASES[1]!], [...QUEUE_CASES]))(
  'the boundary of $arrivals arrivals, $service service times and $executors executors is where half of the windows pass',
  { timeout: TIMEOUT_MS },
  (queue) => {
    expect(bruteForce(queue)).toBeCloseTo(queue.boundary, 4);
  },
);

test('the interval holds the true boundary, is narrow, and is found within the budget', {
  timeout: TIMEOUT_MS,
}, () => {
  const all = { held: 0, widths: [] as number[] };
  for (const [at, queue] of QUEUE_CASES.entries()) {
    const truth = queue.boundary;
    const found = { held: 0, widths: [] as number[], spent: [] as number[], missing: 0 };
    const seeds = Array.from({ length: SEEDS }, (_, seed) => seed + 1).filter(
      (seed) => seed % QUEUE_CASES.length === at,
    );
    for (const seed of seeds) {
      const { search } = searchedQueue(queue, seed);
      const interval = intervalOf(search, (multiplier) => unseenIn(queue, multiplier));
      found.spent.push(SEARCH.budgetS - search.remainingS);
      found.widths.push(interval.width);
      if (interval.low <= truth && truth <= interval.high) found.held += 1;
    }
    const medians = { width: quantile(found.widths, 0.5), spentS: quantile(found.spent, 0.5) };
    tell({
      ...queue,
      truth,
      seeds: seeds.length,
      held: found.held,
      medians,
      widest: Math.max(...found.widths),
    });
    expect(Math.max(...found.spent)).toBeLessThanOrEqual(SEARCH.budgetS);
    expect(found.held).toBeGreaterThanOrEqual((1 - MISSED_OF_ONE) * seeds.length);
    all.held += found.held;
    all.widths.push(...found.widths);
  }
  tell({ seeds: SEEDS, held: all.held, medianWidth: quantile(all.widths, 0.5) });
  expect(all.held).toBeGreaterThanOrEqual(0.95 * SEEDS);
  expect(quantile(all.widths, 0.5)).toBeLessThanOrEqual(0.15);
});

test('a generator that spoils three windows of ten is not taken for a limit, and no load beyond the bounds is tried needlessly', {
  timeout: TIMEOUT_MS,
}, () => {
  const seeds = repeated(2, 50);
  const found = { held: 0, generator: 0, widened: 0 };
  for (const queue of QUEUE_CASES) {
    const truth = queue.boundary;
    for (let seed = 1; seed <= seeds; seed++) {
      const { search, reason } = searchedQueue(queue, seed, 0.3);
      const { low, high } = intervalOf(search, (multiplier) => unseenIn(queue, multiplier));
      if (low <= truth && truth <= high) found.held += 1;
      if (reason === 'generator') found.generator += 1;
      for (const [at, { multiplier }] of search.steps.entries()) {
        const before = new CapacitySearch(SEARCH, search.steps.slice(0, at));
        const { lower, upper } = before.results()[0]!.bounds;
        if (lower === null || upper === null) continue;
        if (multiplier >= lower.multiplier && multiplier <= upper.multiplier) continue;
        expect(before.next()).toMatchObject({ purpose: 'widen' });
        found.widened += 1;
      }
    }
  }
  const searches = seeds * QUEUE_CASES.length;
  tell({ searches, ...found });
  expect(found.held).toBeGreaterThanOrEqual((1 - MISSED_OF_ONE) * searches);
  expect(found.generator).toBeLessThanOrEqual(MISSED_OF_ONE * searches);
});

test('hardly ever gives up a step that the target stands, and always one of twice what it can do', {
  timeout: TIMEOUT_MS,
}, () => {
  const random = uniformBy(7);
  const steps = repeated(100, 1_000);
  let early = 0;
  for (const queue of QUEUE_CASES) {
    const capacity = 1 / queue.load;
    const { boundary } = queue;
    const waited: number[] = [];
    for (let step = 0; step < steps; step++) {
      const share = [0.5, 0.8, 0.95, 1][step % 4]!;
      if (playedQueue(queue, boundary * share, 3, random(), random).hopelessAtS !== null) early += 1;
      if (step % 10 > 0) continue;
      const drowned = playedQueue(queue, capacity * 2, 3, random(), random);
      expect(drowned.hopelessAtS).not.toBeNull();
      waited.push(drowned.hopelessAtS!);
    }
    tell({ ...queue, early, ofSteps: steps, drownedEndS: quantile(waited, 0.5), ofS: 64 });
    expect(quantile(waited, 0.5)).toBeLessThanOrEqual(32);
  }
  expect(early).toBeLessThanOrEqual(0.01 * steps * QUEUE_CASES.length);
});

/** Four of twenty minutes' traffic at 30 times its pace, so that it wanders within minutes. */
let servegen: Recording | null = null;
function servegenRecording(): Recording | null {
  if (servegenPath === null || servegen !== null) return servegen;
  const us = servegenArrivalsUs(servegenPath);
  const [paceUp, fromS, lengthS] = [30, 40 * 3_600, 5 * 3_600];
  const begunUs = us[0]! + fromS * 1e6;
  servegen = us
    .filter((at) => at >= begunUs && at < begunUs + lengthS * 1e6)
    .map((at) => (at - begunUs) / 1e6 / paceUp);
  return servegen;
}

/** Queues that the busiest stretch uses by so much. */
const SERVERS: readonly Omit<StretchCase, 'recording'>[] = [
  { service: 'steady', executors: 4, load: 0.375, percent: 95, limitMs: 100 },
  { service: 'exponential', executors: 8, load: 0.3, percent: 90, limitMs: 300 },
  { service: 'skewed', executors: 16, load: 0.45, percent: 95, limitMs: 500 },
  { service: 'exponential', executors: 4, load: 0.8, percent: 95, limitMs: 300 },
];

test.for([
  { name: 'generated', recordingOf: wanderingRecording },
  { name: 'ServeGen', recordingOf: servegenRecording },
])(
  'traffic that wanders threefold within minutes spread the result: $name',
  {
    timeout: TIMEOUT_MS,
  },
  ({ name, recordingOf }, { skip }) => {
    const found = { held: 0, widths: [] as number[] };
    for (const [at, server] of SERVERS.entries()) {
      const recording = recordingOf(at + 1);
      if (recording === null) return skip('the ServeGen trace is missing');
      const scene = sceneOf({ ...server, recording });
      const truth = trueMultiplier(scene);
      const own = { held: 0, widths: [] as number[], ended: {} as Record<string, number> };
      for (let seed = at + 1; seed <= SEEDS; seed += SERVERS.length) {
        const { search, reason } = searchedStretch(scene, seed);
        const { fit } = search.results()[0]!;
        own.ended[reason] = (own.ended[reason] ?? 0) + 1;
        const low = fit === null ? 0 : fit.low / (1 + scene.unseenAt(fit.multiplier));
        own.widths.push(fit === null ? Number.POSITIVE_INFINITY : (fit.high - low) / fit.multiplier);
        if (fit !== null && low <= truth && truth <= fit.high) own.held += 1;
        expect(scene.options.budgetS - search.remainingS).toBeLessThanOrEqual(scene.options.budgetS);
      }
      const width = quantile(own.widths, 0.5);
      expect(width).toBeLessThanOrEqual(0.15);
      tell({
        name,
        ...server,
        truth,
        seeds: own.widths.length,
        ...own,
        widths: undefined,
        width,
        widest: Math.max(...own.widths),
      });
      found.held += own.held;
      found.widths.push(...own.widths);
    }
    tell({
      name,
      seeds: SEEDS,
      held: found.held,
      width: quantile(found.widths, 0.5),
      p95: quantile(found.widths, 0.95),
    });
    expect(found.held).toBeGreaterThanOrEqual(0.95 * SEEDS);
    expect(quantile(found.widths, 0.5)).toBeLessThanOrEqual(0.15);
  },
);
