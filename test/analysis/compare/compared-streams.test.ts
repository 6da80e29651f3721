import { describe, expect, test } from 'vitest';
import { COMPARISON_BOUNDS, comparePairs } from '../../../src/analysis/compare/judge.ts';
import { FAILED, type PairedAnswers, STREAMED, WHOLE } from '../../../src/analysis/compare/pairs.ts';
import { CALM, pairsOf, spoilt } from '../../support/compared-pairs.ts';
import { queuePair } from '../../support/queue-simulator.ts';

/** Streams whose latencies are alike, and whose tokens are drawn apart: those of B so many times slower. */
function streamsOf(ttftSlowdown: number, itlSlowdown: number): PairedAnswers {
  const pairs = pairsOf(1, 4_000);
  const ttft = queuePair({ ...CALM, requests: 4_000, slowdown: ttftSlowdown, seed: 2 });
  const itl = queuePair({ ...CALM, requests: 4_000, slowdown: itlSlowdown, seed: 3 });
  for (let at = 0; at < pairs.count; at++) {
    [pairs.a.ttftNs[at], pairs.b.ttftNs[at]] = [ttft.a[at]! * 1e8, ttft.b[at]! * 1e8];
    [pairs.a.itlNs[at], pairs.b.itlNs[at]] = [itl.a[at]! * 1e7, itl.b[at]! * 1e7];
  }
  pairs.a.traits.fill(STREAMED);
  pairs.b.traits.fill(STREAMED);
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
    pairs.a.itlNs.fill(0);
    pairs.b.itlNs.fill(30_000);
    expect(comparePairs(pairs).verdict).toBe('SAME');
    for (let at = 0; at < pairs.count; at++) {
      pairs.a.itlNs[at] = at % 5 < 3 ? 0 : 20_000;
      pairs.b.itlNs[at] = at % 5 < 2 ? 0 : 20_000;
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
    for (let at = 0; at < pairs.count; at += 10) pairs.b.ttftNs[at] = Number.POSITIVE_INFINITY;
    const ttft = (of: PairedAnswers) => comparePairs(of).metrics.find(({ name }) => name === 'ttft_p95');
    expect(ttft(pairs)).toMatchObject({ b: 'Infinity', verdict: 'worse' });
    // A failure came whole, if at all: it is the other side that says that a stream was asked for.
    const failing = spoilt(streamsOf(1, 1), FAILED, (at) => at % 10 === 0);
    for (let at = 0; at < failing.count; at += 10) {
      failing.b.traits[at] = WHOLE;
      failing.b.ttftNs[at] = Number.NaN;
    }
    expect(ttft(failing)).toMatchObject({ b: 'Infinity', verdict: 'worse', pairs: 4_000 });
  });

  test('does not hold answers that came whole against streams', () => {
    const pairs = streamsOf(1, 1);
    pairs.b.traits.fill(WHOLE, 0, 200);
    pairs.b.ttftNs.fill(Number.NaN, 0, 200);
    const { verdict, reasons } = comparePairs(pairs);
    expect(verdict).toBe('INCONCLUSIVE');
    expect(reasons.map(({ code }) => code)).toEqual(['streams_differ']);
  });

  test('says of what no stream is known on both sides, as of a recording, and needs it for nothing', () => {
    const pairs = streamsOf(1, 1);
    pairs.a.itlNs.fill(Number.NaN);
    const { verdict, unknown, notes, metrics } = comparePairs(pairs, { ...COMPARISON_BOUNDS, detect: 0.2 });
    expect({ verdict, unknown }).toEqual({ verdict: 'SAME', unknown: ['itl_mean'] });
    expect(notes.map(({ code }) => code)).toEqual(['itl_mean_unknown']);
    expect(metrics.some(({ name }) => name.startsWith('itl_mean'))).toBe(false);
  });

  test('does not need the tokens of a few streams among many other answers', () => {
    const pairs = streamsOf(1, 1);
    for (const [traits, ttft, itl] of [
      [pairs.a.traits, pairs.a.ttftNs, pairs.a.itlNs],
      [pairs.b.traits, pairs.b.ttftNs, pairs.b.itlNs],
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
