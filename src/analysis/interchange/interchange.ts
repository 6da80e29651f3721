import { createHash } from 'node:crypto';
import { AppError } from '../../core/errors.ts';
import { factsOf, TIMED_METRICS, type TimedMetric } from '../../documents/metrics/metrics.ts';
import { conditionOf, objectiveOf } from '../../documents/metrics/objectives.ts';
import type { MonitoredSeries } from '../../documents/monitors.ts';
import type { ObjectiveLine } from '../../documents/replay.ts';
import type { PercentileLadder, ReportDocument } from '../../documents/report.ts';
import { k6NamesOf, RUN_VALUES, TIMES_IN } from '../../documents/run-values.ts';
import { httpStatusOfGrpcName } from '../../inference/grpc.ts';

/** The report of a completed run. */
type SealedReport = ReportDocument & { readonly summary: NonNullable<ReportDocument['summary']> };

/** The measured percentiles of a ladder, in milliseconds, under another tool's names. */
function percentilesOf(
  { steps }: PercentileLadder,
  nameOf: (percent: number) => string | null,
): Record<string, number> {
  const named: Record<string, number> = {};
  for (const { percent, ms } of steps) {
    const name = nameOf(percent);
    if (name !== null && ms !== null) named[name] = ms;
  }
  return named;
}

/** Events per second in the judged part of a run; undefined if the run has no length. */
function ratePerSecond(count: number, { durationS }: SealedReport['summary']): number | undefined {
  return durationS === 0 ? undefined : count / durationS;
}

/**
 * A run as AIPerf's `profile_export_aiperf.json`, schema 1.4. AIPerf's `inter_chunk_latency` is the time between
 * chunks. Its `inter_token_latency` is the time per output token of a request.
 */
function aiperfExport(report: SealedReport): object {
  const { summary } = report;
  const { tokens, interrupted } = summary;
  const hasTokens = tokens.answers > 0;
  const lengths = (sum: number) =>
    hasTokens ? { unit: 'tokens', avg: sum / tokens.answers, count: tokens.answers, sum } : undefined;
  return {
    schema_version: '1.4',
    benchmark_id: summary.run,
    ...timesOf(report, (metric) => TIMES_IN[metric].aiperf, metricOf),
    ...Object.fromEntries(
      RUN_VALUES.flatMap(({ tracked, aiperf, of }) =>
        tracked === undefined || aiperf === undefined ? [] : [[tracked, one(aiperf, of(summary))]],
      ),
    ),
    input_sequence_length: lengths(tokens.prompt),
    output_sequence_length: lengths(tokens.output),
    start_time: summary.startedAt,
    end_time: summary.endedAt,
    is_complete: interrupted === null,
    incomplete_reason: interrupted ?? undefined,
    was_cancelled: interrupted !== null,
    error_summary: report.errors.map(({ kind, meaning, requests }) => ({
      error_details: { ...codeOf(kind), type: kind, message: meaning },
      count: requests,
    })),
    reprise: { verdict: report.verdict, valid: report.valid, headline: report.headline, slo: report.slo },
  };
}

/** The times of a report that another tool has a name for. */
function timesOf(
  report: SealedReport,
  nameOf: (metric: TimedMetric) => string | null | undefined,
  drawn: (ladder: PercentileLadder, metric: TimedMetric) => object | undefined,
): Record<string, object> {
  const entries = TIMED_METRICS.flatMap((metric) => {
    const name = nameOf(metric);
    const times = drawn(TIMES_IN[metric].report(report), metric);
    return name == null || times === undefined ? [] : [[name, times]];
  });
  return Object.fromEntries(entries);
}

function metricOf(ladder: PercentileLadder): object | undefined {
  const { meanMs: avg, maxMs: max, count } = ladder;
  if (avg === null) return undefined;
  return { unit: 'ms', avg, ...percentilesOf(ladder, (percent) => `p${percent}`), max, count };
}

function one(unit: string, avg: number | null | undefined): object | undefined {
  return avg === null || avg === undefined ? undefined : { unit, avg };
}

function codeOf(kind: string): { readonly code?: number } {
  // The name of a gRPC call's status.
  if (/^[A-Z]/.test(kind)) return { code: httpStatusOfGrpcName(kind) };
  const [, status] = /^status_(\d{3})$/.exec(kind) ?? [];
  return status === undefined ? {} : { code: Number(status) };
}

/**
 * A run as the data that k6 passes to `handleSummary`. Each objective is a check. An objective on one metric of all
 * requests is also a threshold. An objective with an unknown result counts as failed.
 */
function k6Summary(report: SealedReport): object {
  const { summary, slo, verdict, valid } = report;
  const { sent, completed, failed, refused, unreached } = summary;
  const checks = [
    checkOf('the run is valid', valid),
    ...(verdict === null ? [] : [checkOf('the verdict is PASS', verdict === 'PASS')]),
    ...slo.map(({ expression, ok }) => checkOf(expression, ok === true)),
  ];
  const held = checks.filter(({ passes }) => passes === 1).length;
  const metrics: Record<string, object | null> = {
    http_reqs: counter(sent, summary),
    http_req_failed: rate(failed, completed),
    dropped_iterations: counter(refused + unreached, summary),
    checks: rate(held, checks.length - held),
    ...timesOf(report, (metric) => factsOf({ metric }).k6.summary, trend),
  };
  const measured = Object.entries(metrics).filter(([, metric]) => metric !== null);
  return {
    options: { summaryTrendStats: TREND_STATS, summaryTimeUnit: 'ms', noColor: false },
    state: { isStdOutTTY: false, isStdErrTTY: false, testRunDurationMs: summary.durationS * 1e3 },
    metrics: Object.fromEntries(
      measured.map(([name, metric]) => [name, { ...metric, ...objectivesOf(name, slo) }]),
    ),
    root_group: { name: '', path: '', id: idOf(''), groups: [], checks },
  };
}

const TREND_STATS = ['avg', 'med', 'max', 'p(75)', 'p(90)', 'p(95)', 'p(99)', 'p(99.9)', 'count'];

function trend(ladder: PercentileLadder): object | undefined {
  const { meanMs: avg, maxMs: max, count } = ladder;
  if (avg === null) return undefined;
  const values = {
    avg,
    ...percentilesOf(ladder, (percent) => (percent > 99.9 ? null : k6NamesOf(`p${percent}`)[0])),
    max,
    count,
  };
  return { type: 'trend', contains: 'time', values };
}

function counter(count: number, summary: SealedReport['summary']): object {
  return {
    type: 'counter',
    contains: 'default',
    values: { count, rate: ratePerSecond(count, summary) ?? 0 },
  };
}

/** In k6, a true observation is a pass, even if it means a failed request. */
function rate(passes: number, fails: number): object | null {
  if (passes + fails === 0) return null;
  return { type: 'rate', contains: 'default', values: { rate: passes / (passes + fails), passes, fails } };
}

function objectivesOf(name: string, slo: readonly ObjectiveLine[]): object {
  const own = slo.flatMap(({ expression, ok }) => {
    const objective = objectiveOf(expression);
    if (objective === null || objective.slice !== null || factsOf(objective).k6.summary !== name) return [];
    const { kind } = objective.aggregation;
    const isKnown = kind === 'percentile' || kind === 'rate';
    return isKnown ? [[conditionOf(objective), { ok: ok === true }] as const] : [];
  });
  return own.length === 0 ? {} : { thresholds: Object.fromEntries(own) };
}

function checkOf(name: string, holds: boolean) {
  const path = `::${name}`;
  return { name, path, id: idOf(path), passes: holds ? 1 : 0, fails: holds ? 0 : 1 };
}

/** k6 identifies groups and checks by the MD5 of their path. */
function idOf(path: string): string {
  return createHash('md5').update(path).digest('hex');
}

/**
 * A run as a Benchmark Report of llm-d, version 0.2.1 (PyPI: `llmd-benchmark-report`). Latency counts from the actual
 * send, as in other generators. `observability` has the scheduled latency and the monitored series.
 */
function benchmarkReport(report: SealedReport): object {
  const { summary, verdict, valid, headline } = report;
  const scheduled = statisticsOf(report.latencyMs.scheduled, 'ms');
  const { run: uid, startedAt: start, endedAt: end, durationS } = summary;
  return {
    version: '0.2.1',
    run: {
      uid,
      time: { start, end, duration: `PT${durationS}S` },
      description: headline,
      keywords: ['reprise', verdict ?? 'no verdict', valid ? 'valid' : 'not valid'],
    },
    scenario: { load: loadOf(summary) },
    results: {
      request_performance: { aggregate: aggregateOf(report), time_series: timeSeriesOf(report) },
      observability: {
        scheduled_request_latency: scheduled && { statistics: scheduled },
        ...monitorsOf(summary.monitors?.series ?? []),
      },
    },
  };
}

/** Undefined without token counts, because the format requires the input length of a load. */
function loadOf(summary: SealedReport['summary']): object | undefined {
  const { tokens, scaling, multiplier, merged, closedLoop, fidelity, options, version } = summary;
  if (tokens.answers === 0) return undefined;
  return {
    metadata: { description: `recorded traffic, ${scaling} at ${multiplier}x` },
    standardized: {
      tool: 'reprise',
      tool_version: version,
      source: 'sampled',
      parallelism: merged?.shards.length ?? 1,
      input_seq_len: { distribution: 'other', value: tokens.prompt / tokens.answers },
      rate_qps: fidelity.sent?.ratePerSecond ?? undefined,
      concurrency: closedLoop?.concurrency,
    },
    native: { args: options },
  };
}

function aggregateOf(report: SealedReport): object {
  const { summary } = report;
  const { sent, completed, failed, cancelled, tokens } = summary;
  const tokensOf = (count: number) =>
    tokens.answers === 0 ? undefined : { units: 'count', mean: count / tokens.answers };
  const tokenRate = (count: number) =>
    tokens.answers === 0 ? undefined : rateOf(ratePerSecond(count, summary), 'tokens/s');
  return {
    requests: {
      total: sent,
      failures: failed,
      incomplete: cancelled,
      input_length: tokensOf(tokens.prompt),
      output_length: tokensOf(tokens.output),
    },
    latency: timesOf(
      report,
      (metric) => TIMES_IN[metric].llmd?.name,
      (ladder, metric) => statisticsOf(ladder, TIMES_IN[metric].llmd?.units ?? 'ms'),
    ),
    throughput: {
      input_token_rate: tokenRate(tokens.prompt),
      output_token_rate: tokenRate(tokens.output),
      total_token_rate: tokenRate(tokens.prompt + tokens.output),
      request_rate: rateOf(ratePerSecond(completed, summary), 'queries/s'),
    },
  };
}

function timeSeriesOf({ overTime, summary }: SealedReport): object {
  const { at, stepS, completed, serviceP99Ms } = overTime;
  const startMs = Date.parse(summary.startedAt);
  const points = (key: string, values: readonly (number | null)[]) =>
    values.flatMap((value, index) =>
      value === null ? [] : [{ ts: new Date(startMs + (at[index] ?? 0) * 1e3).toISOString(), [key]: value }],
    );
  const rates = completed.map((count) => count / stepS);
  return {
    latency: { request_latency: { units: 'ms', series: points('p99', serviceP99Ms) } },
    throughput: { request_rate: { units: 'queries/s', series: points('mean', rates) } },
  };
}

/** Undefined without measurements, because the format requires a mean. */
function statisticsOf(ladder: PercentileLadder, units: string): object | undefined {
  const { meanMs: mean, maxMs: max } = ladder;
  if (mean === null) return undefined;
  const name = (percent: number) => (percent > 99.9 ? null : `p${percent}`.replace('.', 'p'));
  return { units, mean, ...percentilesOf(ladder, name), max };
}

function rateOf(mean: number | undefined, units: string): object | undefined {
  return mean === undefined ? undefined : { units, mean };
}

const UNITS: Readonly<Record<MonitoredSeries['unit'], string>> = {
  share: 'fraction',
  bytes: 'bytes',
  s: 's',
  W: 'Watts',
  count: 'count',
  cores: 'cores',
};

/** The series by name. Each series is a component. */
function monitorsOf(series: readonly MonitoredSeries[]): object {
  const known = series.filter(({ mean }) => mean !== null);
  const byName = Object.entries(Object.groupBy(known, ({ name }) => name));
  return Object.fromEntries(byName.map(([name, each = []]) => [name, { components: each.map(componentOf) }]));
}

function componentOf({ source, labels, kind, unit, mean, min, p50, p95, max }: MonitoredSeries): object {
  const own = Object.entries(labels).map(([label, value]) => `${label}=${value}`);
  const units = kind === 'counter' ? `${UNITS[unit]}/s` : UNITS[unit];
  return { component_id: [source, ...own].join(' '), statistics: { units, mean, min, p50, p95, max } };
}

/** Formats of other tools for a report. */
export const INTERCHANGE_FORMS = ['llm-d', 'aiperf', 'k6'] as const;
export type InterchangeForm = (typeof INTERCHANGE_FORMS)[number];

const BUILDERS: Readonly<Record<InterchangeForm, (report: SealedReport) => object>> = {
  'llm-d': benchmarkReport,
  aiperf: aiperfExport,
  k6: k6Summary,
};

const NOTHING_MEASURED = { count: 0, meanMs: null, maxMs: null, steps: [] } as const;

/**
 * A report in another tool's result format. Values that were not measured are left out.
 * @throws AppError INPUT_INVALID for an incomplete run
 */
export function interchangeOf(form: InterchangeForm, report: ReportDocument): object {
  const { summary, run } = report;
  if (summary === null) {
    throw new AppError('INPUT_INVALID', `the run ${run.directory} never came to its end`, {
      hint: `Only whole runs have the form of ${form}; reprise report without --format shows what this one holds.`,
    });
  }
  // A closed loop has no planned instants, so it has no scheduled latency.
  const scheduled = summary.closedLoop === undefined ? report.latencyMs.scheduled : NOTHING_MEASURED;
  return BUILDERS[form]({ ...report, summary, latencyMs: { ...report.latencyMs, scheduled } });
}
