import { describe, expect, test } from 'vitest';
import { comparePairs } from '../../../src/analysis/compare/judge.ts';
import { FAILED, type PairedAnswers, TURNED_AWAY } from '../../../src/analysis/compare/pairs.ts';
import { changeText, NONE, resultText } from '../../../src/analysis/render/table.ts';
import { answeredPairs, CALM, pairsOf, spoilt, verdictsOf } from '../../support/compared-pairs.ts';
import { queuePair } from '../../support/queue-simulator.ts';

test('a page said 3.29x where its chart said 3.36x: one ratio is told, that of the windows', () => {
  const swing = { a: 50, b: 50, ratio: 1.91, interval90: [1.8, 2] as const, verdict: 'worse' as const };
  expect(changeText(swing)).toBe('91 % slower');
  const faster = { a: 100, b: 60, ratio: 0.52, interval90: [0.3, 1.05] as const, verdict: 'same' as const };
  expect([changeText(faster), resultText(faster)]).toEqual(['48 % faster', 'not worse']);
  expect(resultText({ ...faster, ratio: 1, interval90: [0.97, 1.03] })).toBe('same');
  expect(changeText({ ...swing, ratio: null })).toBe(NONE);
  expect(changeText({ ...swing, b: 'Infinity', ratio: 100 })).toBe(NONE);
});

describe('comparing pairs of the same requests', () => {
  test('tells the same build from one that is 20 % slower, either way', () => {
    const draws = 25;
    expect(verdictsOf(draws, { ...CALM, slowdown: 1 })).toMatchObject({ SAME: draws });
    expect(verdictsOf(draws, { ...CALM, slowdown: 1.2 })).toMatchObject({ WORSE: draws });
    expect(verdictsOf(draws, { ...CALM, slowdown: 1 / 1.2 })).toMatchObject({ BETTER: draws });
  });

  test('is not kept from a verdict by a swing over the day that both sides share', () => {
    const draws = 10;
    const long = { ...CALM, requests: 8_000 };
    expect(verdictsOf(draws, { ...long, slowdown: 1 }, 0.4)).toMatchObject({ SAME: draws });
    expect(verdictsOf(draws, { ...long, slowdown: 1.2 }, 0.4)).toMatchObject({ WORSE: draws });
  });

  test('says how long a run would tell, as its offsets are of the run and not of the recording, by how dense the pairs are', () => {
    const offsetNs = Float64Array.from({ length: 100 }, (_, at) => at * 1e9);
    const { metrics, reasons } = comparePairs({ ...pairsOf(1, 100), offsetNs });
    const p95 = metrics.find(({ name }) => name === 'latency_p95');
    expect(p95?.windowNeededS).toBeCloseTo((99 * (p95?.pairsNeeded ?? 0)) / 100, 6);
    expect(reasons[0]?.text).toMatch(/a run of about [\d.]+ (?:s|min) would tell, [\d.,]+ times as long$/);
    expect(comparePairs(pairsOf(1, 100)).metrics[1]?.windowNeededS).toBeNull();
  });

  test('gives ratio and intervals', () => {
    const [p50] = comparePairs(pairsOf(1.2)).metrics;
    expect(p50).toMatchObject({
      name: 'latency_p50',
      unit: 'ms',
      verdict: 'worse',
      windows: 20,
      pairs: 2_000,
    });
    expect(p50?.ratio).toBeCloseTo(1.2, 1);
    expect(p50?.interval?.[0]).toBeLessThan(p50?.interval90?.[0] ?? 0);
    expect(p50?.interval?.[0]).toBeGreaterThan(1);
  });

  test('calls a change below the floor the same, however sure it is', () => {
    const { a } = queuePair({ ...CALM, slowdown: 1, seed: 1 });
    const nearly = answeredPairs(
      a,
      a.map((second, at) => second * (1.03 + (at % 7) / 1e4)),
    );
    const { verdict, metrics } = comparePairs(nearly);
    expect(metrics[0]?.interval?.[0]).toBeGreaterThan(1);
    expect(verdict).toBe('SAME');
    expect(comparePairs(nearly, { floor: 0.02, detect: 0.2, failureFloor: 0.005 }).verdict).toBe('WORSE');
  });

  test('does not take two sides that are both down for the same, nor makes a ratio of no answer', () => {
    const down = spoilt(pairsOf(1), FAILED, () => true);
    const { reasons } = comparePairs(down);
    expect(reasons.find(({ code }) => code === 'latency_p50_worse')?.text).toMatch(/ to no answer$/);
    down.a.outcome.fill(FAILED);
    down.a.latencyNs.fill(Number.POSITIVE_INFINITY);
    const both = comparePairs(down);
    expect(both.verdict).toBe('INCONCLUSIVE');
    expect(both.reasons.map(({ code }) => code)).toEqual(['unanswered']);
  });

  test('says how many pairs are needed where there are too few', () => {
    const { verdict, reasons } = comparePairs(pairsOf(1, 100));
    expect(verdict).toBe('INCONCLUSIVE');
    expect(reasons[0]).toMatchObject({ code: 'too_few_pairs' });
    expect(reasons.map(({ text }) => text).join()).toMatch(/latency p95 .* about [\d,]+ pairs are needed/);
    expect(comparePairs(pairsOf(1, 0))).toMatchObject({ verdict: 'INCONCLUSIVE' });
  });

  test('is not sure of a p99 that was seen to be much worse in too few windows', () => {
    // One request in fifty of the last two fifths takes four times as long: p50 and p95 stay.
    const pairs = pairsOf(1, 4_000);
    for (let at = 2_400; at < pairs.count; at += 50) pairs.b.latencyNs[at] = pairs.b.latencyNs[at]! * 4;
    const { verdict, reasons, metrics } = comparePairs(pairs);
    expect(metrics[2]).toMatchObject({ name: 'latency_p99', verdict: 'undecided', required: false });
    expect(metrics[2]?.ratio).toBeGreaterThan(1.2);
    expect(verdict).toBe('INCONCLUSIVE');
    expect(reasons.map(({ code }) => code)).toEqual(['undecided']);
  });

  test('takes a faster build that fails more for worse', () => {
    const { verdict, reasons, notes } = comparePairs(spoilt(pairsOf(0.7), FAILED, (at) => at % 50 === 0));
    expect(verdict).toBe('WORSE');
    expect(reasons.map(({ code }) => code)).toEqual(['failed_worse']);
    expect(notes.map(({ code }) => code)).toContain('latency_p50_better');
  });

  test('takes a build that turns more away for worse, and its quick refusals for no latency', () => {
    const pairs = spoilt(pairsOf(1), TURNED_AWAY, (at) => at % 4 === 0);
    const { verdict, reasons, metrics } = comparePairs(pairs);
    expect(verdict).toBe('WORSE');
    expect(reasons.map(({ code }) => code)).toEqual(['turned_away_worse']);
    expect(metrics[0]).toMatchObject({ pairs: 1_500, verdict: 'same' });
  });

  test('is not sure of failures that all came in one burst, and never calls them the same or better', () => {
    const { verdict, reasons } = comparePairs(spoilt(pairsOf(0.7), FAILED, (at) => at >= 500 && at < 560));
    expect(verdict).toBe('INCONCLUSIVE');
    expect(reasons.map(({ code }) => code)).toContain('undecided');
    expect(reasons.map(({ text }) => text).join()).toContain('failed is undecided with 2,000 pairs');
  });

  test('never says of a build that it fails as often where twice as many failures would not be seen', () => {
    // Of 700 requests six more, spread so that no burst is to blame.
    const { verdict, reasons, metrics } = comparePairs(
      spoilt(pairsOf(1, 700), FAILED, (at) => at % 117 === 50),
    );
    expect(verdict).toBe('INCONCLUSIVE');
    expect(metrics.find(({ name }) => name === 'failed')).toMatchObject({ verdict: 'undecided' });
    expect(reasons.map(({ text }) => text).join()).toMatch(
      /failed is undecided with 700 pairs: the difference is between [+-]?[\d.]+ pp and \+1\.\d+ pp; about [\d,]+ pairs are needed/,
    );
  });

  test('takes failures that both sides share for the same, however many, and a failure of either here and there', () => {
    const pairs = spoilt(pairsOf(1), FAILED, (at) => at % 40 === 0);
    for (let at = 0; at < pairs.count; at++) {
      if (at % 40 === 0) [pairs.a.outcome[at], pairs.a.latencyNs[at]] = [FAILED, Number.POSITIVE_INFINITY];
    }
    expect(comparePairs(pairs).verdict).toBe('SAME');
    expect(comparePairs(spoilt(pairsOf(1), FAILED, (at) => at % 1_000 === 0)).verdict).toBe('SAME');
  });

  test('takes a build that never fails for no worse than one that failed in a burst', () => {
    const pairs = pairsOf(1);
    for (let at = 500; at < 560; at++)
      [pairs.a.outcome[at], pairs.a.latencyNs[at]] = [FAILED, Number.POSITIVE_INFINITY];
    expect(comparePairs(pairs).metrics.find(({ name }) => name === 'failed')).toMatchObject({
      verdict: 'same',
    });
  });

  test('counts failures as latency without end', () => {
    const { metrics } = comparePairs(spoilt(pairsOf(1), FAILED, (at) => at % 10 === 0));
    expect(metrics[1]).toMatchObject({ name: 'latency_p95', b: 'Infinity', verdict: 'worse' });
  });

  test('never takes a percentile for the same at which neither side has an answer', () => {
    // One request in twelve fails on both sides; the slowest of the others take three times as long on B.
    const pairs = spoilt(pairsOf(1, 14_000), FAILED, (at) => at % 12 === 0);
    for (let at = 0; at < pairs.count; at++) {
      if (pairs.b.latencyNs[at]! > 1.3e9) pairs.b.latencyNs[at] = pairs.b.latencyNs[at]! * 3;
      if (at % 12 === 0) [pairs.a.outcome[at], pairs.a.latencyNs[at]] = [FAILED, Number.POSITIVE_INFINITY];
    }
    const { verdict, reasons, notes, metrics } = comparePairs(pairs);
    expect(metrics.map((each) => each.verdict)).toEqual(['same', 'undecided', 'undecided', 'same', 'same']);
    expect(metrics[1]).toMatchObject({ a: 'Infinity', b: 'Infinity', doubt: 'no_answer', pairsNeeded: null });
    expect(verdict).toBe('INCONCLUSIVE');
    expect([...reasons, ...notes].map(({ text }) => text)).toEqual([
      'latency p95 is undecided: in 20 of 20 windows neither side has an answer at this percentile',
      'latency p99 is undecided: in 20 of 20 windows neither side has an answer at this percentile',
    ]);
  });

  test('tells a percentile by the windows in which a side has an answer, where these are nearly all', () => {
    // Both failed in one window of twenty.
    const pairs = spoilt(pairsOf(1, 14_000), FAILED, (at) => at >= 700 && at < 1_400);
    for (let at = 700; at < 1_400; at++)
      [pairs.a.outcome[at], pairs.a.latencyNs[at]] = [FAILED, Number.POSITIVE_INFINITY];
    expect(comparePairs(pairs).verdict).toBe('SAME');
  });

  test('does not compare answers of another kind', () => {
    const pairs = pairsOf(1);
    for (let at = 0; at < pairs.count; at += 20) pairs.b.status[at] = 204;
    const { verdict, reasons } = comparePairs(pairs);
    expect(verdict).toBe('INCONCLUSIVE');
    expect(reasons.map(({ code }) => code)).toEqual(['status_mix']);
  });

  test.each([
    [FAILED, 'failed'],
    [TURNED_AWAY, 'was turned away'],
  ])('a build of which each of few requests %s was undecided', (outcome) => {
    const judged = comparePairs(spoilt(pairsOf(1, 20), outcome, () => true));
    expect(judged.verdict).toBe('WORSE');
    expect(judged.reasons.map(({ code }) => code)).toEqual(['unserved']);
    // Of fewer requests, with one that was answered, or without answers of A nothing is sure.
    const open = [
      spoilt(pairsOf(1, 19), outcome, () => true),
      spoilt(pairsOf(1, 40), outcome, (at) => at > 0),
      bothSpoilt(60, outcome, 31),
    ];
    expect(open.map((each) => comparePairs(each).verdict)).toEqual(open.map(() => 'INCONCLUSIVE'));
  });

  test('what names errors of a recording named a command for runs alone', () => {
    const { reasons } = comparePairs(bothSpoilt(40, FAILED, 40));
    expect(reasons.map(({ code }) => code)).toEqual(['unanswered']);
    expect(reasons[0]?.advice).toContain('reprise show A --failed');
    expect(reasons[0]?.advice).not.toContain('report');
  });
});

/** B ends otherwise in each request, and A in the first ones. */
function bothSpoilt(requests: number, outcome: number, ofA: number): PairedAnswers {
  const pairs = spoilt(pairsOf(1, requests), outcome, () => true);
  for (const column of ['outcome', 'status', 'latencyNs'] as const)
    pairs.a[column].set(pairs.b[column].subarray(0, ofA));
  return pairs;
}
