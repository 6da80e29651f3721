import { describe, expect, test } from 'vitest';
import { planLooks } from '../../../src/analysis/verdict/until-sure.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { drawnRun } from '../../support/drawn-runs.ts';
import { repeated } from '../../support/long-form.ts';
import { uniform } from '../../support/queue-simulator.ts';
import { send } from '../../support/sends.ts';
import { lookedAt, lookedAtDrawn, UNIT_NS } from './looked-at.ts';

const MS = 1e6;
const GAP_NS = 100 * MS;
const MOST = 2_048;

/** Answers of a run, a tenth of a second apart, one after the other. */
type Answers = (index: number) => Partial<Send>;

const answered = (index: number, latencyMs: number): Partial<Send> => ({
  lastByteOffsetNs: index * GAP_NS + Math.round(latencyMs * MS),
});

/** Plays a run of answers that may end early. */
function played(slo: string, answers: Answers, requests = MOST, open = (_index: number) => 0) {
  return lookedAt(slo, {
    requests,
    durationNs: requests * GAP_NS,
    sendAt: (index) => send({ index, ...answers(index) }),
    endNs: (index) => (index + 1) * GAP_NS,
    open,
  });
}

function exponential(seed: number, meanMs: number): Answers {
  const random = uniform(seed);
  return (index) => answered(index, -Math.log(random()) * meanMs);
}

/** Enough for the median of a queue. */
const MANY = repeated(2e5, 1e6);
const TRUE_P90_OF_MEAN = Math.log(10);

describe('a run that is looked at until it is sure', () => {
  test('is wrong in no more than one of twenty runs whose truth lies at the limit', () => {
    const runs = repeated(20, 1_000);
    const verdicts = Array.from({ length: runs }, (_, seed) => {
      const { verdict } = played('latency: p(90)<100', exponential(seed + 1, 100 / TRUE_P90_OF_MEAN));
      return verdict;
    });
    const shareOf = (verdict: string) => verdicts.filter((each) => each === verdict).length / runs;
    // At the limit each of them is wrong for a truth that is the least bit on the other side.
    expect(shareOf('PASS')).toBeLessThanOrEqual(0.05);
    expect(shareOf('FAIL')).toBeLessThanOrEqual(0.05);
    expect(shareOf('INCONCLUSIVE')).toBeGreaterThan(0.9);
  });

  test('ends at the first look where the truth is far from the limit, and keeps the verdict', () => {
    const fast = played('latency: p(90)<100', exponential(1, 10));
    const slow = played('latency: p(90)<100', exponential(1, 300));
    expect([fast.verdict, slow.verdict]).toEqual(['PASS', 'FAIL']);
    // The implied objective on errors needs the most answers: ln(0.05 / 4) / ln(0.99) is 436; the normal approximation asks for 450.
    expect(fast.document.needs.map(({ answers }) => answers)).toEqual([64, 450, 450]);
    expect(fast.document).toMatchObject({ endedEarly: true, confidence: 0.95, looks: [{ open: 0 }] });
    expect(fast.requests).toBeLessThan(MOST);
    expect(fast.results[0]?.margin?.confidence).toBe(fast.document.confidenceEach);
  });

  test.each(['latency: p(90)<100', 'goodput: rate>0.9 where latency<100'])(
    'holds requests that are under way for slow ones: %s',
    (slo) => {
      const least = played(slo, exponential(1, 10));
      const [first] = least.document.looks;
      // One in eight of those that were due at the first look.
      const waited = played(slo, exponential(1, 10), MOST, () => Math.round(least.requests / 7));
      expect(first).toMatchObject({ open: 0 });
      expect(waited.document.looks.map(({ open }) => open)).toEqual([1, 0]);
    },
  );

  test('waits for a share as surely as for a percentile', () => {
    // One of 150 fails: 0.67 %, but up to 600 requests it may be 1 %.
    const answers: Answers = (index) =>
      index % 150 === 75 ? { status: null, error: 'reset', lastByteOffsetNs: null } : answered(index, 5);
    const short = played('errors: rate<0.01', answers, 600);
    expect(short).toMatchObject({ verdict: 'INCONCLUSIVE', document: { endedEarly: false } });
    expect(short.reasons.map(({ code }) => code)).toEqual(['too_close']);
    expect(played('errors: rate<0.1', answers, 600).verdict).toBe('PASS');
    expect(played('errors: rate<0.001', answers, 6_000).verdict).toBe('FAIL');
  });

  test('calls a percentile over its limit no FAIL while chance may have put it there', () => {
    const latencies: Answers = (index) => answered(index, index % 19 === 7 ? 101 : 10);
    const run = played('latency: p(95)<100', latencies, 600);
    expect(run).toMatchObject({ verdict: 'INCONCLUSIVE', document: { endedEarly: false } });
    expect(run.results[0]).toMatchObject({ ok: false, brokenBy: 'target' });
    expect(run.results[0]?.mayHold?.value).toBeLessThan(100);
  });
});

describe('a queue whose answers are worth too few independent samples for a lower bound', () => {
  const parts = { arrivals: 'poisson', service: 'exponential', executors: 4 } as const;
  const seeds = Array.from({ length: repeated(10, 100) }, (_, at) => at + 1);

  test.each([50, 95, 99])('is FAIL where it only grows, not INCONCLUSIVE with p(%i) of 0 ms', (percent) => {
    for (const seed of seeds) {
      const run = lookedAtDrawn(
        `latency: p(${percent})<300`,
        drawnRun({ ...parts, load: 1.2, requests: 700 }, seed),
      );
      expect(run, `seed ${seed}`).toMatchObject({ verdict: 'FAIL' });
    }
  });

  test('is rarely FAIL where it is within its limit, and then no bound is zero', () => {
    const long = drawnRun({ ...parts, load: 0.95, requests: MANY }, 1e6).latencies.toSorted();
    const limitMs = (long[MANY / 2]! * 1.05 * UNIT_NS) / MS;
    const runs = seeds.map((seed) =>
      lookedAtDrawn(
        `latency: p(50)<${limitMs.toFixed(3)}`,
        drawnRun({ ...parts, load: 0.95, requests: 700 }, seed),
      ),
    );
    const values = runs.flatMap(({ results }) => results[0]?.mayHold?.value ?? []);
    expect(values.length).toBeGreaterThan(0);
    for (const value of values) expect(value).toBeGreaterThan(0);
    const failed = runs.filter(({ verdict }) => verdict === 'FAIL').length;
    expect(failed).toBeLessThanOrEqual(Math.max(1, 0.07 * runs.length));
  });
});

describe('looks are planned before anything is sent', () => {
  const planned = (slo: string, requests: number) =>
    planLooks(parseObjectives([slo]), { requests, durationNs: 64e9 }, 0.95);

  test('at times that double, with the chance to be wrong shared out', () => {
    const { atNs, confidenceEach } = planned('latency: p(99)<100', 1_000_000);
    expect(atNs).toEqual([2e9, 4e9, 8e9, 16e9, 32e9, 64e9]);
    expect(confidenceEach).toBeCloseTo(1 - 0.05 / 6);
  });

  test('none before the answers that its objectives need, and one where the run is too short', () => {
    expect(planned('latency: p(99)<100', 1_400).atNs).toEqual([32e9, 64e9]);
    const short = planned('latency: p(99)<100', 320);
    expect(short.atNs).toEqual([64e9]);
    expect(short.needs[0]).toMatchObject({ answers: 662, reachable: false });
    expect(short.needs[0]?.atLeastS).toBeCloseTo((662 / 320) * 64);
  });

  test.each(['makespan: <4h', 'latency: max<100', 'achieved: count>=2000', 'errors: rate<=0'])(
    'and only the one at the end where an objective is known no sooner: %s',
    (slo) => {
      const { needs, openToTheEnd, atNs } = planned(slo, 2_000);
      expect(needs.filter(({ expression }) => expression === slo)).toEqual([]);
      expect(openToTheEnd).toEqual([slo]);
      expect(atNs).toEqual([64e9]);
      expect(played(slo, (index) => answered(index, 5))).toMatchObject({
        requests: MOST,
        document: { looks: [], confidenceEach: 0.95 },
      });
    },
  );
});
