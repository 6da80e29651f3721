import { describe, expect, test } from 'vitest';
import { upperBound, WindowPercentiles } from '../../../src/analysis/stats/percentiles.ts';
import { PlanReplays } from '../../../src/analysis/stats/replays.ts';
import { JUDGEMENT_BOUNDS } from '../../../src/analysis/verdict/run-context.ts';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { Histogram } from '../../../src/core/histogram.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import {
  boundCounts,
  kindsOf,
  type MIXED_TARGETS,
  planOf,
  replayOf,
  type TARGETS,
} from '../../support/planned-runs.ts';
import { poissonArrivals, uniform } from '../../support/queue-simulator.ts';
import { contextOf } from '../../support/run-contexts.ts';
import { send } from '../../support/sends.ts';

const NS = 1e8;
const plan = (requests: number, seed = 1) => planOf('wandering', requests, seed)!;

describe('a burst that is planned', () => {
  test('does not keep a target from a PASS that is at half of its limit', () => {
    const arrivals = plan(700);
    const latencies = replayOf(arrivals, 'even 4', 0.8, 3);
    const sends = Array.from(arrivals, (arrival, index) => {
      const intendedOffsetNs = Math.round(arrival * NS);
      return send({
        index,
        intendedOffsetNs,
        lastByteOffsetNs: intendedOffsetNs + Math.round(latencies[index]! * NS),
      });
    });
    const observedMs = (latencies.toSorted()[349]! * NS) / 1e6;
    const verdictAt = (limitMs: number) =>
      judge(contextOf(sends), parseObjectives([`latency: p(50)<${limitMs}`]), {
        ...JUDGEMENT_BOUNDS,
        confidence: 0.95,
      }).verdict;
    expect(verdictAt(2 * observedMs)).toBe('PASS');
    expect(verdictAt(1.001 * observedMs)).toBe('INCONCLUSIVE');
  });

  // By windows alone, at most one of 32 passes.
  test.each<[(typeof TARGETS)[number], number, number]>([
    ['exponential 4', 0.8, 12],
    ['batches of 8', 0.95, 20],
    ['processor sharing', 0.8, 12],
    ['even 1', 0.95, 20],
    ['4 lines of 4', 0.95, 0],
  ])('does not widen bounds, and lets no more pass: %s, load %d', (target, load, least) => {
    const plans = [1, 2].map((seed) => plan(700, seed));
    const counts = boundCounts({ target, load, plans }, [50, 95], 8, 20);
    const sum = (key: 'runs' | 'wrong' | 'half' | 'printed' | 'holding') =>
      counts.reduce((all, each) => all + each[key], 0);
    expect(sum('runs')).toBe(32);
    expect(sum('wrong')).toBeLessThanOrEqual(2);
    expect(sum('holding')).toBeGreaterThanOrEqual(0.9 * sum('printed'));
    expect(sum('half')).toBeGreaterThanOrEqual(least);
  });
});

describe('traffic of which only a part queues', () => {
  // One queue for all explains few of these runs, and windows let at most 6 of 32 pass.
  test.each<[(typeof MIXED_TARGETS)[number], number, number]>([
    ['pool beside fast', 0.95, 20],
    ['pool beside slow', 0.95, 20],
    ['two pools', 0.95, 16],
    ['pool in stages', 0.5, 16],
  ])('passes at half of its limit, and does not pass over it: %s, load %d', (target, load, least) => {
    const plans = [1, 2].map((seed) => plan(700, seed));
    const counts = boundCounts({ target, load, plans }, [50, 95], 8, 20);
    const sum = (key: 'runs' | 'wrong' | 'half' | 'printed' | 'holding') =>
      counts.reduce((all, each) => all + each[key], 0);
    expect(sum('wrong')).toBeLessThanOrEqual(2);
    expect(sum('holding')).toBeGreaterThanOrEqual(0.9 * sum('printed'));
    expect(sum('half')).toBeGreaterThanOrEqual(least);
  });

  test('has a queue for its pool and none for the route beside it', () => {
    const arrivals = plan(2_000);
    const kinds = kindsOf(arrivals, 'pool beside slow');
    const latencies = replayOf(arrivals, 'pool beside slow', 0.95, 1);
    expect(new PlanReplays({ arrivals, latencies, kinds }).explainRun).toBe(true);
    expect(new PlanReplays({ arrivals, latencies, kinds: new Uint8Array(2_000) }).explainRun).toBe(false);
  });
});

describe('replays of a plan', () => {
  const explained = (target: (typeof TARGETS)[number]) => {
    const arrivals = plan(2_000);
    return new PlanReplays({
      arrivals,
      latencies: replayOf(arrivals, target, 0.8, 1),
      kinds: kindsOf(arrivals, target),
    });
  };

  test('know queues that serve in turn and that share, and no server whose answers grow without a queue', () => {
    expect(explained('exponential 4').explainRun).toBe(true);
    expect(explained('processor sharing').explainRun).toBe(true);
    const arrivals = plan(2_000);
    const random = uniform(4);
    // Later answers are later, whatever is in flight: neither executors nor shares make them so.
    const latencies = arrivals.map((_, at) => (at % 400 < 200 ? 400 : 1) * (0.5 + random()));
    expect(new PlanReplays({ arrivals, latencies, kinds: new Uint8Array(2_000) }).explainRun).toBe(false);
  });

  test('bound a percentile on both sides, the further the less sure', () => {
    const replays = explained('exponential 4');
    for (const percent of [50, 95, 99]) {
      const bounds = [-3, -2, 2, 3].map((deviations) => replays.ratio(percent, deviations));
      expect(bounds).toEqual(bounds.toSorted((a, b) => a - b));
      expect(bounds[1]).toBeLessThan(1);
      expect(bounds[2]).toBeGreaterThan(1);
    }
  });

  test('are not asked of an even plan whose requests did not wait', () => {
    const arrivals = poissonArrivals(1_000, 20, uniform(6));
    const random = uniform(7);
    const [whole, windows] = [new Histogram(), new WindowPercentiles()];
    for (const arrival of arrivals) {
      const ns = Math.round((0.5 + random()) * NS);
      whole.record(ns);
      windows.record(arrival * NS, ns);
    }
    const samples = windows.independentSamples(95, 0.95, 1_000);
    expect(windows.upper(95, 0.95, 1_000, whole)).toBe(upperBound(95, 0.95, samples, whole));
  });
});
