import { describe, expect, test } from 'vitest';
import { comparePairs } from '../../../src/analysis/compare/compare-pairs.ts';
import { chanceOfSoMany } from '../../../src/analysis/compare/mismatch-metric.ts';
import {
  AGREES,
  DIFFERS,
  FAILED,
  type PairedAnswers,
  STREAMED,
  TURNED_AWAY,
  WHOLE,
} from '../../../src/analysis/compare/paired-answers.ts';
import { answeredPairs, verdictsOf } from '../../support/compared-pairs.ts';
import { queuePair, uniform } from '../../support/queue-simulator.ts';

const CALM = { requests: 2_000, executors: 4, load: 0.5, service: 'steady' } as const;

function pairsOf(slowdown: number, requests: number = CALM.requests): PairedAnswers {
  const { a, b } = queuePair({ ...CALM, requests, slowdown, seed: 1 });
  return answeredPairs(a, b);
}

/** Every so many requests of B end otherwise. */
function spoilt(pairs: PairedAnswers, outcome: number, every: (at: number) => boolean): PairedAnswers {
  for (let at = 0; at < pairs.count; at++) {
    if (!every(at)) continue;
    pairs.bOutcome[at] = outcome;
    pairs.bStatus[at] = outcome === FAILED ? 503 : 429;
    pairs.bNs[at] = outcome === FAILED ? Number.POSITIVE_INFINITY : 1e6;
  }
  return pairs;
}

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

  test('gives ratio and intervals, and an effect that agrees with them', () => {
    const [p50] = comparePairs(pairsOf(1.2)).metrics;
    expect(p50).toMatchObject({
      name: 'latency_p50',
      unit: 'ms',
      verdict: 'worse',
      windows: 20,
      pairs: 2_000,
    });
    expect(p50?.ratio).toBeCloseTo(1.2, 1);
    expect(p50?.shift).toBeCloseTo(p50?.ratio ?? 0, 1);
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
    down.aOutcome.fill(FAILED);
    down.aNs.fill(Number.POSITIVE_INFINITY);
    const both = comparePairs(down);
    expect(both.verdict).toBe('INCONCLUSIVE');
    expect(both.reasons.map(({ code }) => code)).toEqual(['unanswered']);
  });

  test('says how many pairs are needed where there are too few', () => {
    const { verdict, reasons } = comparePairs(pairsOf(1, 100));
    expect(verdict).toBe('INCONCLUSIVE');
    expect(reasons[0]).toMatchObject({ code: 'too_few_pairs' });
    expect(reasons.map(({ text }) => text).join()).toMatch(/latency_p95 .* about \d+ pairs are needed/);
    expect(comparePairs(pairsOf(1, 0))).toMatchObject({ verdict: 'INCONCLUSIVE' });
  });

  test('is not sure of a p99 that was seen to be much worse in too few windows', () => {
    // One request in fifty of the last two fifths takes four times as long: p50 and p95 stay.
    const pairs = pairsOf(1, 4_000);
    for (let at = 2_400; at < pairs.count; at += 50) pairs.bNs[at] = pairs.bNs[at]! * 4;
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
    expect(reasons.map(({ text }) => text).join()).toContain('failed cannot be told from 2000 pairs');
  });

  test('never says of a build that it fails as often where twice as many failures would not be seen', () => {
    // Of 700 requests six more, spread so that no burst is to blame.
    const { verdict, reasons, metrics } = comparePairs(
      spoilt(pairsOf(1, 700), FAILED, (at) => at % 117 === 50),
    );
    expect(verdict).toBe('INCONCLUSIVE');
    expect(metrics.find(({ name }) => name === 'failed')).toMatchObject({ verdict: 'undecided' });
    expect(reasons.map(({ text }) => text).join()).toMatch(
      /failed cannot be told from 700 pairs: the difference lies between [+-]?[\d.]+ pp and \+1\.\d+ pp; about \d+ pairs are needed/,
    );
  });

  test('takes failures that both sides share for the same, however many, and a failure of either here and there', () => {
    const pairs = spoilt(pairsOf(1), FAILED, (at) => at % 40 === 0);
    for (let at = 0; at < pairs.count; at++) {
      if (at % 40 === 0) [pairs.aOutcome[at], pairs.aNs[at]] = [FAILED, Number.POSITIVE_INFINITY];
    }
    expect(comparePairs(pairs).verdict).toBe('SAME');
    expect(comparePairs(spoilt(pairsOf(1), FAILED, (at) => at % 1_000 === 0)).verdict).toBe('SAME');
  });

  test('takes a build that never fails for no worse than one that failed in a burst', () => {
    const pairs = pairsOf(1);
    for (let at = 500; at < 560; at++)
      [pairs.aOutcome[at], pairs.aNs[at]] = [FAILED, Number.POSITIVE_INFINITY];
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
      if (pairs.bNs[at]! > 1.3e9) pairs.bNs[at] = pairs.bNs[at]! * 3;
      if (at % 12 === 0) [pairs.aOutcome[at], pairs.aNs[at]] = [FAILED, Number.POSITIVE_INFINITY];
    }
    const { verdict, reasons, notes, metrics } = comparePairs(pairs);
    expect(metrics.map((each) => each.verdict)).toEqual(['same', 'undecided', 'undecided', 'same', 'same']);
    expect(metrics[1]).toMatchObject({ a: 'Infinity', b: 'Infinity', doubt: 'no_answer', pairsNeeded: null });
    expect(verdict).toBe('INCONCLUSIVE');
    expect([...reasons, ...notes].map(({ text }) => text)).toEqual([
      'latency_p95 cannot be told: in 20 of 20 windows neither side has an answer at this percentile',
      'latency_p99 cannot be told: in 20 of 20 windows neither side has an answer at this percentile',
    ]);
  });

  test('tells a percentile by the windows in which a side has an answer, where these are nearly all', () => {
    // Both failed in one window of twenty.
    const pairs = spoilt(pairsOf(1, 14_000), FAILED, (at) => at >= 700 && at < 1_400);
    for (let at = 700; at < 1_400; at++)
      [pairs.aOutcome[at], pairs.aNs[at]] = [FAILED, Number.POSITIVE_INFINITY];
    expect(comparePairs(pairs).verdict).toBe('SAME');
  });

  test('does not compare answers of another kind', () => {
    const pairs = pairsOf(1);
    for (let at = 0; at < pairs.count; at += 20) pairs.bStatus[at] = 204;
    const { verdict, reasons } = comparePairs(pairs);
    expect(verdict).toBe('INCONCLUSIVE');
    expect(reasons.map(({ code }) => code)).toEqual(['status_mix']);
  });
});

describe('what we sent late by ourselves', () => {
  /** The target needs 2 ms, B so many times as long; each side was late by so many milliseconds. */
  function lateBy(aMs: number, bMs: number, slowdown: number): PairedAnswers {
    const { a, b } = queuePair({ ...CALM, slowdown, seed: 1 });
    const pairs = answeredPairs(
      a.map((each) => each * 2e-3 + aMs / 1e3),
      b.map((each) => each * 2e-3 + bMs / 1e3),
    );
    pairs.aLagNs.fill(aMs * 1e6);
    pairs.bLagNs.fill(bMs * 1e6);
    return pairs;
  }
  const codesOf = ({ reasons }: { readonly reasons: readonly { readonly code: string }[] }) =>
    reasons.map(({ code }) => code);

  test('never makes a build worse that answers as fast', () => {
    const { verdict, reasons, metrics } = comparePairs(lateBy(0.1, 1.2, 1));
    expect(verdict).toBe('INCONCLUSIVE');
    expect(new Set(reasons.map(({ code }) => code))).toEqual(new Set(['our_lag']));
    expect(metrics[0]).toMatchObject({ verdict: 'undecided', doubt: 'our_lag', pairsNeeded: null });
    expect(metrics[0]?.ratio).toBeGreaterThan(1.4);
    expect(metrics[0]?.ratioLessLag).toBeCloseTo(1, 1);
  });

  test('never makes a build better that answers as fast', () => {
    expect(comparePairs(lateBy(1.2, 0.1, 1)).verdict).toBe('SAME');
  });

  test('never hides a slower build behind a quieter generator', () => {
    const { verdict, reasons } = comparePairs(lateBy(1, 0, 1.25));
    expect(verdict).toBe('INCONCLUSIVE');
    expect(codesOf({ reasons })).toContain('our_lag');
  });

  test('keeps from no verdict where both are late alike, or nothing to speak of', () => {
    expect(comparePairs(lateBy(0.1, 0.1, 1))).toMatchObject({ verdict: 'SAME' });
    expect(comparePairs(lateBy(0.1, 0.1, 1.5)).verdict).toBe('WORSE');
    expect(comparePairs(lateBy(0.1, 0.1, 1 / 1.5)).verdict).toBe('BETTER');
  });

  test('counts against first tokens likewise', () => {
    const pairs = lateBy(0.1, 1.2, 1);
    pairs.aTtftNs.set(pairs.aNs);
    pairs.bTtftNs.set(pairs.bNs);
    pairs.aTraits.fill(STREAMED);
    pairs.bTraits.fill(STREAMED);
    const ttft = comparePairs(pairs).metrics.find(({ name }) => name === 'ttft_p50');
    expect(ttft).toMatchObject({ verdict: 'undecided', doubt: 'our_lag' });
  });
});

/** Streams whose latencies are alike, and whose tokens are drawn apart: those of B so many times slower. */
function streamsOf(ttftSlowdown: number, itlSlowdown: number): PairedAnswers {
  const pairs = pairsOf(1, 4_000);
  const ttft = queuePair({ ...CALM, requests: 4_000, slowdown: ttftSlowdown, seed: 2 });
  const itl = queuePair({ ...CALM, requests: 4_000, slowdown: itlSlowdown, seed: 3 });
  for (let at = 0; at < pairs.count; at++) {
    [pairs.aTtftNs[at], pairs.bTtftNs[at]] = [ttft.a[at]! * 1e8, ttft.b[at]! * 1e8];
    [pairs.aItlNs[at], pairs.bItlNs[at]] = [itl.a[at]! * 1e7, itl.b[at]! * 1e7];
  }
  pairs.aTraits.fill(STREAMED);
  pairs.bTraits.fill(STREAMED);
  return pairs;
}

describe('comparing streams', () => {
  test('never takes a build whose first tokens come a fifth later for the same, though its answers end as soon', () => {
    const { verdict, reasons } = comparePairs(streamsOf(1.2, 1));
    expect(verdict).toBe('WORSE');
    expect(reasons.map(({ code }) => code)).toEqual(['ttft_p50_worse', 'ttft_p95_worse', 'ttft_p99_worse']);
  });

  test('never takes a build whose tokens come a fifth slower for the same', () => {
    const { verdict, reasons } = comparePairs(streamsOf(1, 1.2));
    expect(verdict).toBe('WORSE');
    expect(reasons[0]?.code).toBe('itl_mean_p50_worse');
  });

  test('never blames a build for how many of its tokens come in one segment', () => {
    const pairs = streamsOf(1, 1);
    pairs.aItlNs.fill(0);
    pairs.bItlNs.fill(30_000);
    expect(comparePairs(pairs).verdict).toBe('SAME');
    for (let at = 0; at < pairs.count; at++) {
      pairs.aItlNs[at] = at % 5 < 3 ? 0 : 20_000;
      pairs.bItlNs[at] = at % 5 < 2 ? 0 : 20_000;
    }
    expect(comparePairs(pairs).verdict).toBe('SAME');
  });

  test('takes the same streams for the same', () => {
    const { verdict, metrics } = comparePairs(streamsOf(1, 1));
    expect(verdict).toBe('SAME');
    expect(metrics.map(({ name }) => name)).toEqual([
      ...['latency_p50', 'latency_p95', 'latency_p99', 'ttft_p50', 'ttft_p95', 'ttft_p99'],
      ...['itl_mean_p50', 'itl_mean_p95', 'itl_mean_p99', 'failed', 'turned_away'],
    ]);
  });

  test('takes streams that failed, or ended without a token, for those that never came to one', () => {
    const pairs = streamsOf(1, 1);
    for (let at = 0; at < pairs.count; at += 10) pairs.bTtftNs[at] = Number.POSITIVE_INFINITY;
    const ttft = (of: PairedAnswers) => comparePairs(of).metrics.find(({ name }) => name === 'ttft_p95');
    expect(ttft(pairs)).toMatchObject({ b: 'Infinity', verdict: 'worse' });
    // A failure came whole, if at all: it is the other side that says that a stream was asked for.
    const failing = spoilt(streamsOf(1, 1), FAILED, (at) => at % 10 === 0);
    for (let at = 0; at < failing.count; at += 10) {
      failing.bTraits[at] = WHOLE;
      failing.bTtftNs[at] = Number.NaN;
    }
    expect(ttft(failing)).toMatchObject({ b: 'Infinity', verdict: 'worse', pairs: 4_000 });
  });

  test('does not hold answers that came whole against streams', () => {
    const pairs = streamsOf(1, 1);
    pairs.bTraits.fill(WHOLE, 0, 200);
    pairs.bTtftNs.fill(Number.NaN, 0, 200);
    const { verdict, reasons } = comparePairs(pairs);
    expect(verdict).toBe('INCONCLUSIVE');
    expect(reasons.map(({ code }) => code)).toEqual(['streams_differ']);
  });

  test('says of what no stream is known on both sides, as of a recording, and needs it for nothing', () => {
    const pairs = streamsOf(1, 1);
    pairs.aItlNs.fill(Number.NaN);
    const { verdict, unknown, notes, metrics } = comparePairs(pairs);
    expect({ verdict, unknown }).toEqual({ verdict: 'SAME', unknown: ['itl_mean'] });
    expect(notes.map(({ code }) => code)).toEqual(['itl_mean_unknown']);
    expect(metrics.some(({ name }) => name.startsWith('itl_mean'))).toBe(false);
  });

  test('does not need the tokens of a few streams among many other answers', () => {
    const pairs = streamsOf(1, 1);
    for (const [traits, ttft, itl] of [
      [pairs.aTraits, pairs.aTtftNs, pairs.aItlNs],
      [pairs.bTraits, pairs.bTtftNs, pairs.bItlNs],
    ] as const) {
      traits.fill(WHOLE, 100);
      ttft.fill(Number.NaN, 100);
      itl.fill(Number.NaN, 100);
    }
    const { verdict, metrics } = comparePairs(pairs);
    expect(verdict).toBe('SAME');
    expect(metrics.find(({ name }) => name === 'ttft_p50')).toMatchObject({
      verdict: 'undecided',
      pairs: 100,
    });
  });
});

describe('comparing answers that were held against the recorded ones', () => {
  /** Both checked; those of a side that are named differ. */
  function checkedPairsOf(a: (at: number) => boolean, b: (at: number) => boolean): PairedAnswers {
    const pairs = pairsOf(1);
    for (let at = 0; at < pairs.count; at++) {
      pairs.aTraits[at] = WHOLE | (a(at) ? DIFFERS : AGREES);
      pairs.bTraits[at] = WHOLE | (b(at) ? DIFFERS : AGREES);
    }
    return pairs;
  }
  const never = () => false;

  test('never takes a build that answers otherwise where the other did not for the same, however seldom', () => {
    const few = comparePairs(checkedPairsOf(never, (at) => at === 700));
    expect(few.verdict).toBe('INCONCLUSIVE');
    expect(few.reasons.map(({ code }) => code)).toEqual(['answers_differ']);
    const many = comparePairs(checkedPairsOf(never, (at) => at % 20 === 0));
    expect(many.verdict).toBe('WORSE');
    expect(many.reasons[0]).toMatchObject({
      code: 'mismatched_worse',
      text: 'mismatched went from 0 % to 5 % of the answers',
    });
    expect(comparePairs(checkedPairsOf(never, never)).verdict).toBe('SAME');
  });

  test('takes answers that differ here and there by chance on both sides for the same', () => {
    const random = uniform(5);
    const draws = Array.from({ length: 4_000 }, () => random() < 0.02);
    const pairs = checkedPairsOf(
      (at) => draws[at * 2] ?? false,
      (at) => draws[at * 2 + 1] ?? false,
    );
    expect(comparePairs(pairs).verdict).toBe('SAME');
    // Ten more of B alone are no chance.
    const more = checkedPairsOf(
      (at) => at % 100 === 0,
      (at) => at % 100 === 0 || at % 222 === 1,
    );
    expect(comparePairs(more)).toMatchObject({ verdict: 'INCONCLUSIVE' });
  });

  test('leaves what failed to the failures', () => {
    const pairs = spoilt(
      checkedPairsOf(never, (at) => at === 700),
      FAILED,
      (at) => at === 700,
    );
    const { verdict, metrics } = comparePairs(pairs);
    expect(verdict).toBe('SAME');
    expect(metrics.at(-1)).toMatchObject({ name: 'mismatched', b: 0, pairs: 1_999 });
  });

  test('knows the chance of so many heads', () => {
    expect(chanceOfSoMany(7, 7)).toBeCloseTo(1 / 128, 12);
    expect(chanceOfSoMany(2, 4)).toBeCloseTo(11 / 16, 12);
    expect(chanceOfSoMany(0, 0)).toBe(1);
    expect(chanceOfSoMany(501_000, 1_000_000)).toBeCloseTo(0.02282, 3);
  });
});
