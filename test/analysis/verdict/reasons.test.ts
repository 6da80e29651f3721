import { expect, test } from 'vitest';
import { REASON_CODES, reason } from '../../../src/analysis/verdict/reasons.ts';
import { parseSlo } from '../../../src/analysis/verdict/slo.ts';

/** Figures for each code, as a run would give them. */
const [threshold] = parseSlo(['latency: p(99)<200']);
if (threshold === undefined) throw new Error('no objective');
const REASONS = [
  reason('slo_violated', { threshold, observed: 240 }),
  reason('interrupted', { cause: 'SIGINT', failures: null }),
  reason('nothing_planned', { elsewhere: 0 }),
  reason('achieved_below', { sent: 9, planned: 10, atLeast: false, why: 'caps', violated: [] }),
  reason('lag_over_bound', { p99Ms: 12, maxMs: 40, boundMs: 10, violated: [] }),
  reason('sender_busy', { share: 0.9, bound: 0.8 }),
  reason('cpu_throttled', null),
  reason('arrivals_off_plan', { off: [{ name: 'CV', planned: 1, sent: 2 }] }),
  reason('in_flight_cap', { refused: 3, violated: [] }),
  reason('shards_missing', { missing: [1], count: 3 }),
  reason('shards_apart', { spreadMs: 30 }),
  reason('too_few_samples', {
    expression: 'latency: p(99)<200',
    floor: 662,
    samples: 5,
    gapless: false,
    slices: 1,
  }),
  reason('too_close', {
    ...{ threshold, observed: 190, confidence: 0.95, upperBound: 230 },
    more: { requests: 1_200, ms: 240_000 },
  }),
  reason('censored', { cancelled: 500, expressions: ['latency: p(99)<500'] }),
  reason('slice_empty', { expression: 'latency{model=b}: max<3' }),
  reason('slices_beyond', { expression: 'latency{*model}: max<3', key: 'model', beyond: 7, mostParts: 50 }),
  reason('slice_unnamed', { expression: 'latency{*model}: max<3', key: 'model', unnamed: 7 }),
  reason('goodput_unknown', { expression: 'goodput: rate>0.9 where tpot<50', unknown: 7, all: 100 }),
  reason('streams_unread', { share: 0.5 }),
  reason('answers_unchecked', {
    unchecked: 5,
    answers: 10,
    bound: 0.01,
    why: 'redacted 5',
    advice: 'Compare by --check status, or record bodies.',
  }),
  reason('coverage_unexplained', { share: 0.1 }),
  reason('multiplier_not_reached', { reached: '0.9 times the traffic', asked: 1, waitsFor: null }),
  reason('connection_wait', {
    ...{ late: 3, all: 10, unsent: 1, boundMs: 2, violated: [] },
    waitMs: { p50: 1, p99: 2, max: 3 },
  }),
  reason('not_comparable', { kind: 'statuses', share: 0.3 }),
  reason('repeats_cached', { time: 'latency', pairs: 40, firstMs: 200, repeatMs: 20, faster: true }),
  reason('staging_not_representative', { differences: ['median latency'] }),
  reason('uncalibrated', { why: 'not_asked', pairs: 0 }),
  reason('partly_open', null),
  reason('turned_away', { share: 0.01, recorded: null }),
  reason('recorded_refusals', { share: 0.3 }),
  reason('far_faster', { faster: ['POST /infer: median 1 ms, recorded 40 ms'] }),
  reason('unknown', { what: ['the recorded statuses'] }),
  reason('warmup_short', { heldMs: 1_000, askedMs: 2_000 }),
  reason('not_sealed', { sent: 3 }),
  reason('rows_differ', { differences: ['sent 3 in the rows, 4 in the summary'] }),
];

test('every code has words of its own: a title, the figures, what it means, and one thing to do', () => {
  expect(REASONS.map(({ code }) => code)).toEqual(REASON_CODES);
  for (const { title, text, means, advice } of REASONS) {
    expect(title).toMatch(/^[A-Z].{8,}[^.]$/);
    expect(text).not.toBe('');
    expect(means).toMatch(/^[A-Z].{20,}\.$/);
    expect(advice).toMatch(/^[A-Z].{20,}[.'`]$/);
  }
  for (const part of ['title', 'means'] as const) {
    expect(new Set(REASONS.map((each) => each[part])).size).toBe(REASONS.length);
  }
});

test('a finding is of the severity of its code, unless it could change the answer this once', () => {
  const facts = { p99Ms: 12, maxMs: 40, boundMs: 10, violated: [] };
  expect(reason('lag_over_bound', facts).severity).toBe('note');
  expect(reason('lag_over_bound', facts, 'doubt').severity).toBe('doubt');
  expect(reason('slo_violated', { threshold, observed: null }).severity).toBe('fail');
});
