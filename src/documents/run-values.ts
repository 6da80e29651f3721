import type { Figure } from './history.ts';
import { factsOf, type MetricName, TIMED_METRICS, type TimedMetric } from './metrics/metrics.ts';
import { type Objective, objectiveOf } from './metrics/objectives.ts';
import type { LatencyMs } from './parts.ts';
import { PERCENTILE_NAMES, PERCENTS } from './percentiles.ts';
import type { ReplayDocument } from './replay.ts';
import type { PercentileLadder, ReportDocument } from './report.ts';

/** Where documents have the distribution of a time, and its names in other tools. Those of k6 are facts of the metric. */
interface TimeIn {
  readonly run: (document: ReplayDocument) => LatencyMs;
  /** With more percentiles, of the rows of the run. */
  readonly report: (document: ReportDocument) => PercentileLadder;
  readonly aiperf: string;
  readonly llmd: { readonly name: string; readonly units: string } | null;
  /** Whether a history has a chart of it. */
  readonly isDrawn: boolean;
}

export const TIMES_IN: Readonly<Record<TimedMetric, TimeIn>> = {
  latency: {
    run: ({ latencyMs }) => latencyMs.scheduled,
    report: ({ latencyMs }) => latencyMs.scheduled,
    aiperf: 'scheduled_latency',
    llmd: null,
    isDrawn: true,
  },
  service: {
    run: ({ latencyMs }) => latencyMs.service,
    report: ({ latencyMs }) => latencyMs.service,
    aiperf: 'request_latency',
    llmd: { name: 'request_latency', units: 'ms' },
    isDrawn: false,
  },
  ttft: {
    run: ({ ttftMs }) => ttftMs,
    report: ({ streams }) => streams.ttft,
    aiperf: 'time_to_first_token',
    llmd: { name: 'time_to_first_token', units: 'ms' },
    isDrawn: true,
  },
  itl: {
    run: ({ itlMs }) => itlMs,
    report: ({ streams }) => streams.itl,
    aiperf: 'inter_chunk_latency',
    llmd: { name: 'inter_token_latency', units: 'ms/token' },
    isDrawn: false,
  },
  tpot: {
    run: ({ tpotMs }) => tpotMs,
    report: ({ streams }) => streams.tpot,
    // AIPerf's time between tokens is the time per output token of a request.
    aiperf: 'inter_token_latency',
    llmd: { name: 'time_per_output_token', units: 'ms/token' },
    isDrawn: false,
  },
};

/** A number of a run, and its names. */
interface RunValue {
  readonly unit: Figure['unit'];
  readonly of: (run: ReplayDocument) => number | null | undefined;
  /** In CI reports and histories. */
  readonly name?: string;
  /** The chart of a history that has it as a line. */
  readonly chart?: string | undefined;
  /** The objectives whose limit is one for this number: their metric, and the percentile of a time. */
  readonly limitedBy?: { readonly metric: MetricName; readonly percent?: number | null };
  /** In experiment trackers: as AIPerf exports it to MLflow, if it has the number. */
  readonly tracked?: string;
  /** Unit of the metric in AIPerf's export, if it has one of this name. */
  readonly aiperf?: string | undefined;
  /** The metric in a summary of k6, and the keys of the number in its forms. */
  readonly k6?: readonly [metric: string, keys: readonly string[]];
}
type Of = RunValue['of'];

/** A number that trackers have. */
function tracked(name: string, unit: RunValue['unit'], of: Of, aiperf?: string) {
  return { unit, of, tracked: name, aiperf };
}

/** What summaries of k6 call a percentile: the first name is that of `handleSummary`. */
export function k6NamesOf(percentile: string): [string, ...string[]] {
  const names: [string, string] = [percentile.replace(/^p(.+)/, 'p($1)'), percentile];
  return percentile === 'p50' ? ['med', ...names] : names;
}

function timeValues(metric: TimedMetric): RunValue[] {
  const { run, aiperf, isDrawn } = TIMES_IN[metric];
  const { k6, chart } = factsOf({ metric });
  return AGGREGATES.map((at) => ({
    ...tracked(`${aiperf}.${at}`, 'ms', (document) => run(document)[at]),
    name: `${metric}_${at}`,
    limitedBy: { metric, percent: PERCENT_OF.get(at) ?? null },
    ...(k6.summary !== null && { k6: [k6.summary, k6NamesOf(at)] as const }),
    ...(isDrawn && at !== 'max' && { chart: chart?.title }),
  }));
}

const AGGREGATES = [...PERCENTILE_NAMES, 'max' as const];
const PERCENT_OF = new Map<string, number>(PERCENTILE_NAMES.map((name, at) => [name, PERCENTS[at] ?? 0]));

function share(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}

function inTokens(pick: (tokens: ReplayDocument['tokens']) => number): Of {
  return ({ tokens }) => (tokens.answers === 0 ? null : pick(tokens));
}

function perSecond(of: Of): Of {
  return (run) => {
    const count = of(run) ?? null;
    return count === null || run.durationS === 0 ? null : count / run.durationS;
  };
}

const COMPLETED: Of = ({ completed }) => completed;
const OUTPUT_TOKENS = inTokens(({ output }) => output);

/** The numbers of a run that leave its document, in the order of CI reports. */
export const RUN_VALUES: readonly RunValue[] = [
  ...TIMED_METRICS.flatMap(timeValues),
  ...AGGREGATES.map((at) =>
    tracked(`recorded_latency.${at}`, 'ms', ({ asRecorded }) => asRecorded?.latencyMs[at]),
  ),
  ...(['p50', 'p99', 'max'] as const).map((at) => ({
    ...tracked(`schedule_lag.${at}`, 'ms', ({ lagUs }) => lagUs[at] && lagUs[at] / 1e3),
    ...(at === 'p99' && { name: 'lag_p99' }),
  })),
  {
    name: 'failed',
    unit: 'share',
    chart: 'Failed requests',
    limitedBy: { metric: 'errors' },
    k6: ['http_req_failed', ['rate', 'value']],
    of: ({ failed, completed }) => share(failed, failed + completed),
  },
  {
    name: 'achieved',
    unit: 'share',
    limitedBy: { metric: 'achieved' },
    of: ({ sent, planned }) => share(sent, planned),
  },
  {
    ...tracked('fidelity.sent_per_second', 'per_second', ({ fidelity }) => fidelity.sent.ratePerSecond),
    name: 'rate',
    chart: 'Rate',
    k6: ['http_reqs', ['rate']],
  },
  {
    ...tracked('effective_multiplier', 'ratio', ({ effectiveMultiplier }) => effectiveMultiplier),
    name: 'effective_multiplier',
  },
  { ...tracked('requests.sent', 'count', ({ sent }) => sent), name: 'sent', k6: ['http_reqs', ['count']] },
  tracked('requests.planned', 'count', ({ planned }) => planned),
  tracked('requests.refused', 'count', ({ refused }) => refused),
  tracked('requests.cancelled', 'count', ({ cancelled }) => cancelled),
  tracked('request_count', 'count', COMPLETED, 'requests'),
  tracked('error_request_count', 'count', ({ failed }) => failed, 'requests'),
  tracked('request_throughput', 'per_second', perSecond(COMPLETED), 'requests/sec'),
  tracked(
    'total_isl',
    'count',
    inTokens(({ prompt }) => prompt),
    'tokens',
  ),
  tracked('total_osl', 'count', OUTPUT_TOKENS, 'tokens'),
  tracked('output_token_throughput', 'per_second', perSecond(OUTPUT_TOKENS), 'tokens/sec'),
  tracked(
    'total_token_throughput',
    'per_second',
    perSecond(inTokens(({ prompt, output }) => prompt + output)),
    'tokens/sec',
  ),
  tracked('good_request_count', 'count', ({ throughput }) => throughput?.goodput?.good, 'requests'),
  tracked('goodput', 'per_second', ({ throughput }) => throughput?.goodput?.perSecond, 'requests/sec'),
  tracked('benchmark_duration', 'count', ({ durationS }) => durationS, 'sec'),
  tracked('coverage', 'share', ({ coverage }) => coverage),
  tracked('mismatch_rate', 'share', ({ check }) => check?.rate),
  tracked('fidelity.ks_gaps', 'ratio', ({ fidelity }) => fidelity.ksGaps),
  tracked('fidelity.mix_distance', 'ratio', ({ fidelity }) => fidelity.mixDistance),
  tracked('fidelity.planned_cv', 'ratio', ({ fidelity }) => fidelity.planned.cv),
  tracked('fidelity.sent_cv', 'ratio', ({ fidelity }) => fidelity.sent.cv),
];

/**
 * The named numbers of a run, for histories and metrics, with the limits of objectives on all requests. Values that
 * were not measured are left out.
 */
export function runFigures(run: ReplayDocument): Figure[] {
  const objectives = run.slo.flatMap(({ expression }) => objectiveOf(expression) ?? []);
  return RUN_VALUES.flatMap(({ name, unit, of, limitedBy }) => {
    const value = of(run) ?? null;
    if (name === undefined || value === null) return [];
    const limit = limitedBy && objectives.find((each) => isLimitOf(each, limitedBy))?.limit;
    return [{ name, unit, value, ...(limit !== undefined && { limit }) }];
  });
}

/** The time that an objective limits, with its name in CI reports; null if documents have no such value. */
export function limitedValue(objective: Objective, run: ReplayDocument) {
  const value = RUN_VALUES.find(({ limitedBy }) => limitedBy && isLimitOf(objective, limitedBy));
  return value?.name === undefined ? null : { name: value.name, ms: value.of(run) ?? null };
}

function isLimitOf(
  { metric, aggregation, slice }: Objective,
  of: NonNullable<RunValue['limitedBy']>,
): boolean {
  if (metric !== of.metric || slice !== null) return false;
  if (of.percent === undefined) return aggregation.kind === 'rate';
  if (of.percent === null) return aggregation.kind === 'max';
  return aggregation.kind === 'percentile' && aggregation.percent === of.percent;
}
