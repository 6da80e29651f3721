import { type Reason, reason } from '../../src/analysis/verdict/reasons.ts';
import { parseSlo } from '../../src/analysis/verdict/slo.ts';

const [threshold] = parseSlo(['latency: p(99)<200']);
if (threshold === undefined) throw new Error('no objective');
const side = { busyShare: 0.03, throttled: false, ratePerSecond: 1.6 };
/** Every code once, with the figures of a run. `docs/guides/reading-a-verdict.md` shows these as its examples. */
export const REASONS: readonly Reason[] = [
  reason('slo_violated', { threshold, observed: 240 }),
  reason('interrupted', { cause: 'SIGINT', sent: 3_000, planned: 9_000, failures: null }),
  reason('nothing_planned', { elsewhere: 0 }),
  reason('achieved_below', {
    ...{ sent: 9_400, planned: 10_000, atLeast: false, why: 'caps', violated: [] },
    caps: [{ flag: '--max-in-flight', limit: '100', refused: 600 }],
  }),
  reason('lag_over_bound', { p99Ms: 12, maxMs: 40, boundMs: 10, violated: [], side }),
  reason('sender_busy', { share: 0.9, bound: 0.8 }),
  reason('cpu_throttled', null),
  reason('arrivals_off_plan', { off: [{ name: 'CV', planned: 1, sent: 2 }], refused: 0, side }),
  reason('in_flight_cap', {
    refused: 600,
    caps: [{ flag: '--max-in-flight', limit: '100', refused: 600 }],
    violated: [],
  }),
  reason('shards_missing', { missing: [2], count: 4 }),
  reason('shards_apart', { spreadMs: 30 }),
  reason('too_few_samples', {
    expression: 'latency: p(99)<200',
    floor: 662,
    samples: 510,
    gapless: false,
    slices: 1,
    spanMs: 600_000,
  }),
  reason('too_close', {
    ...{ threshold, observed: 190, confidence: 0.95, otherwise: 230 },
    more: { requests: 1_200, ms: 240_000 },
  }),
  reason('until_sure', { looks: 2, planned: 4, confidence: 0.9875, endedAtMs: 45_200, plannedMs: 180_000 }),
  reason('censored', { cancelled: 500, expressions: ['latency: p(99)<500'] }),
  reason('slice_empty', { expression: 'latency{model=b}: max<3' }),
  reason('fault_not_as_planned', { name: 'slow-redis', problem: 'it was on 2.0 s late' }),
  reason('fault_not_felt', { name: 'slow-redis' }),
  reason('recovery_too_slow', { name: 'slow-redis', seconds: 14, limitS: 10, by: ['latency: p(99)<200'] }),
  reason('recovery_unknown', { name: 'slow-redis' }),
  reason('slices_beyond', { expression: 'latency{*model}: max<3', key: 'model', beyond: 7, mostParts: 50 }),
  reason('slice_unnamed', { expression: 'latency{*model}: max<3', key: 'model', unnamed: 7 }),
  reason('goodput_unknown', { expression: 'goodput: rate>0.9 where tpot<50', unknown: 7, all: 100 }),
  reason('streams_unread', { share: 0.31 }),
  reason('answers_unchecked', {
    unchecked: 50,
    answers: 1_000,
    bound: 0.01,
    why: 'redacted 50',
    advice:
      'Leave what is masked out of it on purpose (--response-ignore /POINTER), or compare by --compare-responses status.',
  }),
  reason('not_monitored', {
    expression: 'gpu_utilization: max<0.95',
    series: 1,
    samples: 50,
    missing: 10,
    unkept: 3,
    floor: 1,
    mostMissed: 0.05,
  }),
  reason('coverage_unexplained', { share: 0.1 }),
  reason('multiplier_not_reached', {
    reached: '1.31 times the traffic that was seen',
    asked: 1.5,
    waitsFor: null,
  }),
  reason('connection_wait', {
    ...{ late: 300, all: 9_000, unsent: 12, boundMs: 2, violated: [] },
    waitMs: { p50: 0, p99: 480, max: 2_100 },
  }),
  reason('not_comparable', {
    kind: 'answers',
    differences: ['POST /v1/chat/completions: the median answer has 38 B, recorded 1.4 KB'],
  }),
  reason('repeats_cached', { time: 'latency', pairs: 40, firstMs: 200, repeatMs: 20, faster: true }),
  reason('staging_not_representative', { differences: ['median latency 2.00 ms, recorded 41.0 ms'] }),
  reason('uncalibrated', { why: 'not_asked', pairs: 0 }),
  reason('partly_open', null),
  reason('turned_away', { share: 0.01, recorded: null, status: '404' }),
  reason('recorded_refusals', { share: 0.3 }),
  reason('far_faster', { faster: ['POST /v2/models/{model}/infer: median 1.00 ms, recorded 40.0 ms'] }),
  reason('unknown', { what: ['the recorded statuses'] }),
  reason('closed_loop', { concurrency: 16 }),
  reason('warmup_short', { heldMs: 1_000, askedMs: 2_000 }),
  reason('not_sealed', { sent: 3 }),
  reason('rows_differ', { differences: ['sent 3 in the rows, 4 in the summary'] }),
];
