import { describe, expect, test } from 'vitest';
import { JUDGEMENT_BOUNDS } from '../../../src/analysis/verdict/run-context.ts';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { drawnRun } from '../../support/drawn-runs.ts';
import { repeated } from '../../support/long-form.ts';
import { uniform } from '../../support/queue-simulator.ts';
import { contextOf } from '../../support/run-contexts.ts';
import { send } from '../../support/sends.ts';
import { lookedAt, sendsOf, UNIT_NS } from './looked-at.ts';

const SEEDS = repeated(20, 400);
const GAP_NS = 1e8;

/** What happens to a request of a share: a status, or an error. */
const FAILURES = {
  errors: { status: null, error: 'reset', lastByteOffsetNs: null },
  rejected: { status: 429 },
} as const;

/** Which requests fail, in groups of this many that follow each other. */
function failing(requests: number, share: number, together: number, seed: number): boolean[] {
  const random = uniform(seed);
  const failed = Array.from({ length: requests }, () => false);
  for (let at = 0; at < requests; at++) {
    if (random() >= share / together) continue;
    failed.fill(true, at, Math.min(requests, at + together));
    at += together - 1;
  }
  return failed;
}

function judged(metric: keyof typeof FAILURES, failed: readonly boolean[], slo = `${metric}: rate<0.01`) {
  const sends = failed.map((isFailed, index) => send({ index, ...(isFailed ? FAILURES[metric] : {}) }));
  return judge(contextOf(sends), parseObjectives([slo]), JUDGEMENT_BOUNDS);
}

function shareOf(verdict: string, verdictOf: (seed: number) => string | null): number {
  const verdicts = Array.from({ length: SEEDS }, (_, seed) => verdictOf(seed + 1));
  return verdicts.filter((each) => each === verdict).length / SEEDS;
}

describe('a share over its limit is no PASS, in one run of twenty at most', () => {
  test.each([
    { metric: 'errors', share: 0.015, requests: 150, together: 1 },
    { metric: 'errors', share: 0.015, requests: 1_000, together: 1 },
    { metric: 'rejected', share: 0.015, requests: 1_000, together: 1 },
    { metric: 'errors', share: 0.02, requests: 6_000, together: 15 },
    { metric: 'rejected', share: 0.02, requests: 6_000, together: 15 },
  ] as const)('$metric of $share in $requests requests, $together together', (parts) => {
    const { metric, share, requests, together } = parts;
    const passed = shareOf(
      'PASS',
      (seed) => judged(metric, failing(requests, share, together, seed)).verdict,
    );
    expect(passed).toBeLessThanOrEqual(0.05);
  });

  test('although a run with until-sure looks at it more than once, and failures come 15 together', () => {
    const requests = 8_192;
    const passed = shareOf('PASS', (seed) => {
      const failed = failing(requests, 0.02, 15, seed);
      const { verdict } = lookedAt('errors: rate<0.01', {
        requests,
        durationNs: requests * GAP_NS,
        sendAt: (index) => send({ index, ...(failed[index] ? FAILURES.errors : {}) }),
        endNs: (index) => (index + 1) * GAP_NS,
      });
      return verdict;
    });
    expect(passed).toBeLessThanOrEqual(0.05);
  });

  test('and a tenth of the limit passes', () => {
    const passed = shareOf('PASS', (seed) => judged('errors', failing(1_000, 0.001, 1, seed)).verdict);
    expect(passed).toBeGreaterThanOrEqual(0.9);
  });

  test('but a limit that is only implied is compared with what was observed', () => {
    const none = failing(150, 0, 1, 1);
    expect(judged('errors', none).reasons.map(({ code }) => code)).toEqual(['too_close']);
    expect(judged('errors', none, 'latency: p(50)<1000').verdict).toBe('PASS');
  });
});

describe('a mean', () => {
  const meanRun = (load: number, requests: number, seed: number) =>
    sendsOf(drawnRun({ arrivals: 'poisson', service: 'exponential', executors: 4, load, requests }, seed));
  const trueMean = (load: number) => {
    const { latencies } = drawnRun(
      { arrivals: 'poisson', service: 'exponential', executors: 4, load, requests: 4e5 },
      1e6,
    );
    return ((latencies.reduce((sum, each) => sum + each, 0) / latencies.length) * UNIT_NS) / 1e6;
  };
  const passedAt = (load: number, requests: number, limitMs: number) =>
    shareOf('PASS', (seed) => {
      const slo = parseObjectives([`latency: avg<${limitMs.toFixed(3)}`]);
      return judge(contextOf(meanRun(load, requests, seed)), slo, JUDGEMENT_BOUNDS).verdict;
    });

  test.each([
    { load: 0.5, requests: 300 },
    { load: 0.5, requests: 2_000 },
    { load: 0.8, requests: 2_000 },
    { load: 0.95, requests: 1_000 },
  ])('5 %% over its limit is seldom PASS: load $load, $requests requests', ({ load, requests }) => {
    expect(passedAt(load, requests, trueMean(load) / 1.05)).toBeLessThanOrEqual(0.05);
  });

  test('at half of its limit is PASS', () => {
    expect(passedAt(0.5, 2_000, trueMean(0.5) * 2)).toBeGreaterThanOrEqual(0.9);
  });
});
