/** The kinds of values that a metric can have. */
type Family = 'time' | 'share' | 'goodput' | 'total' | 'monitored';

/** What is known of a metric without any row of a run. */
export interface MetricFacts {
  readonly family: Family;
  readonly better: 'less' | 'more' | null;
  /** What an objective in the wrong direction asks for; null if both directions make sense. */
  readonly worse: string | null;
  /** Whether it has a value for each part of a run, so that objectives can have slices. */
  readonly hasSlices: boolean;
  /** Without this the metric is unknown: streamed answers, answers compared with the recorded ones, or a monitor. */
  readonly needs: 'stream' | 'comparison' | 'monitor' | null;
  /** Whether a single request has a value that goodput can limit. */
  readonly limitsRequests: boolean;
  /** Whether times count from the planned instant, so that our own lag is included. */
  readonly includesLag: boolean;
  /** Whether a queue fitted to the recording can predict it. */
  readonly isForecast: boolean;
  /** Whether a violation explains violations of other metrics: failed requests count as infinitely slow in them. */
  readonly explainsOthers: boolean;
  /** Its name and what it counts, for a chart over time; null if it has only one value for the run. */
  readonly chart: { readonly title: string; readonly counts: string } | null;
  /** The metric of k6 in its summaries, and in the script of `export k6`; null if k6 has none. */
  readonly k6: { readonly summary: string | null; readonly script: string | null };
}

const KNOWN = {
  better: 'less',
  hasSlices: true,
  needs: null,
  limitsRequests: false,
  includesLag: false,
  isForecast: false,
  explainsOthers: false,
  chart: null,
  k6: { summary: null, script: null },
} as const;
const TIME = { ...KNOWN, family: 'time', limitsRequests: true } as const;
const TOKENS = { ...TIME, needs: 'stream' } as const;
const SHARE = { ...KNOWN, family: 'share' } as const;
const OF_RUN = { ...KNOWN, hasSlices: false } as const;

/** Every metric that an objective can be on, in the order of messages and documents. */
const CATALOGUE = {
  latency: {
    ...TIME,
    worse: 'more latency',
    includesLag: true,
    isForecast: true,
    chart: { title: 'Latency', counts: 'latency from the intended send to the last byte' },
    k6: { summary: 'scheduled_latency', script: 'scheduled_latency' },
  },
  service: {
    ...TIME,
    worse: 'more latency',
    isForecast: true,
    chart: { title: 'Service latency', counts: 'latency from the actual send to the last byte' },
    k6: { summary: 'http_req_duration', script: 'service_latency' },
  },
  ttft: {
    ...TOKENS,
    worse: 'a later first token',
    includesLag: true,
    chart: { title: 'Time to first token', counts: 'from the intended send to the first token' },
    k6: { summary: 'time_to_first_token', script: null },
  },
  itl: {
    ...TOKENS,
    worse: 'slower tokens',
    // One request has many gaps. The limits of goodput are on the time per token instead.
    limitsRequests: false,
    chart: { title: 'Time between tokens', counts: 'gaps between neighbouring tokens' },
    k6: { summary: 'inter_token_latency', script: null },
  },
  tpot: {
    ...TOKENS,
    worse: 'slower tokens',
    chart: { title: 'Time per output token', counts: 'time after the first token, over the tokens after it' },
    k6: { summary: 'time_per_output_token', script: null },
  },
  errors: {
    ...SHARE,
    worse: 'more errors',
    isForecast: true,
    explainsOthers: true,
    chart: { title: 'Failed requests', counts: 'share of the requests that were sent' },
    k6: { summary: 'http_req_failed', script: 'errors' },
  },
  rejected: {
    ...SHARE,
    worse: 'more refusals',
    isForecast: true,
    chart: { title: 'Requests answered with 429', counts: 'share of the requests that were sent' },
  },
  goodput: {
    ...KNOWN,
    family: 'goodput',
    better: 'more',
    worse: null,
    isForecast: true,
    chart: { title: 'Requests that kept their limits', counts: 'share of the requests that were due' },
  },
  mismatch: {
    ...OF_RUN,
    family: 'share',
    worse: 'more mismatches',
    needs: 'comparison',
  },
  achieved: {
    ...OF_RUN,
    family: 'share',
    better: 'more',
    worse: 'less to be sent',
  },
  makespan: {
    ...OF_RUN,
    family: 'total',
    worse: 'a longer run',
  },
} as const satisfies Readonly<Record<string, MetricFacts>>;

/** A series of a monitor. An objective on it names the series, not this metric. */
const MONITORED = {
  ...OF_RUN,
  family: 'monitored',
  better: null,
  worse: null,
  needs: 'monitor',
} as const satisfies MetricFacts;

type NamedMetric = keyof typeof CATALOGUE;
/** `monitored` is a series of a monitor, with a name of its own. */
export type MetricName = NamedMetric | 'monitored';
/** Metrics that are times of requests and so have percentiles. */
export type TimedMetric = {
  [Name in NamedMetric]: (typeof CATALOGUE)[Name]['family'] extends 'time' ? Name : never;
}[NamedMetric];

/** The names that objectives can use, besides those of monitored series. */
export const METRIC_NAMES = Object.keys(CATALOGUE) as readonly NamedMetric[];

const FACTS: Readonly<Record<MetricName, MetricFacts>> = { ...CATALOGUE, monitored: MONITORED };

/** What is known of the metric of an objective or of a limit. */
export function factsOf({ metric }: { readonly metric: MetricName }): MetricFacts {
  return FACTS[metric];
}

/** Whether it is one of our metrics, so that no monitored series can have its name. */
export function isOwnMetric(name: string): name is NamedMetric {
  return Object.hasOwn(CATALOGUE, name);
}

/** The names of all metrics for which this holds. */
export function metricsWith(has: (facts: MetricFacts) => boolean): readonly NamedMetric[] {
  return METRIC_NAMES.filter((name) => has(CATALOGUE[name]));
}

export function isTimed(metric: MetricName): metric is TimedMetric {
  return FACTS[metric].family === 'time';
}

export const TIMED_METRICS: readonly TimedMetric[] = METRIC_NAMES.filter(isTimed);

/** Whether it is unknown unless answers are compared with the recorded ones. */
export function needsComparison(of: { readonly metric: MetricName }): boolean {
  return factsOf(of).needs === 'comparison';
}

/** Whether it is a time of streamed answers only. */
export function isOfStreams(of: { readonly metric: MetricName }): boolean {
  return factsOf(of).needs === 'stream';
}

/** Whether it is the time to the first token, which depends on how much of the prompt was in a cache. */
export function isOfFirstTokens({ metric }: { readonly metric: MetricName }): boolean {
  return metric === 'ttft';
}

/** Whether it is a time from the send to the end of the answer. */
export function isOfWholeAnswers(of: { readonly metric: MetricName }): boolean {
  return isTimed(of.metric) && factsOf(of).needs === null;
}

/** Whether its values come from the times of single requests. A request without an answer counts as too slow. */
export function isOfTimes(of: { readonly metric: MetricName }): boolean {
  return isTimed(of.metric) || factsOf(of).family === 'goodput';
}
