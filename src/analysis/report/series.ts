import { formatMs } from '../../core/units.ts';
import { factsOf } from '../../documents/metrics/metrics.ts';
import { holds } from '../../documents/metrics/objectives.ts';
import type { MonitoredLine, ReportDocument } from '../../documents/report.ts';
import { measureOf } from '../metrics/index.ts';
import { TIMES } from '../metrics/times.ts';
import { drawnSeries } from '../render/charts.ts';
import type { ChartMark } from '../render/html.ts';
import { shareText } from '../render/table.ts';
import { monitorCharts, monitorId } from './monitors.ts';
import {
  asksForMore,
  isPlainLatency,
  type JudgedObjective,
  percentOf,
  shownLatency,
  shownObjective,
} from './objective-steps.ts';

/** How to show times of a run. If the start of the run is unknown, they count from it. */
export interface RunClock {
  readonly startS: number;
  readonly timeZone: string;
  readonly x?: { readonly label: string; readonly marks: readonly never[] };
}

export function clockOf({ run }: ReportDocument, timeZone: string): RunClock {
  if (run.startedAt !== null) return { startS: Date.parse(run.startedAt) / 1e3, timeZone };
  return { startS: 0, timeZone, x: { label: 'seconds since the start of the run', marks: [] } };
}

/** A chart before it is drawn. */
type Chart = Parameters<typeof drawnSeries>[0][number] & { readonly at: readonly number[] };

const OBJECTIVE = 'objective-over-time';
const LATENCY = 'latency-over-time';

/**
 * The charts over time. The first shows the first violated objective, or else the first objective. If that has no
 * values over time, it shows the latency.
 */
export function reportSeries(document: ReportDocument, clock: RunClock) {
  const shown = shownObjective(document.slo);
  const charts: readonly Chart[] = [
    ...objectiveCharts(document, shown, clock),
    latencyChart(document, clock),
    ...loadCharts(document, shown, clock),
  ].filter(({ isShown }) => isShown);
  const wanted = shown?.objective.series === undefined ? OBJECTIVE : monitorId(shown.objective.series);
  const found = charts.find(({ id }) => id === wanted) ?? charts.find(({ id }) => id === LATENCY);
  const isOther = found?.id === LATENCY && !(shown && isPlainLatency(shown.objective));
  const isViolated = document.slo.some(({ ok }) => ok === false);
  // The violated objective has no chart. The latency chart then has no limit, which would seem to be kept.
  const first = found && isOther && isViolated ? withoutLimit(found) : found;
  const draw = (chart: Chart) => drawnSeries([chart], chart.at);
  return {
    first: first === undefined ? [] : draw({ ...first, tall: true }),
    others: charts.filter((chart) => chart !== found).flatMap(draw),
  };
}

function withoutLimit({ limits: _limits, ...chart }: Chart): Chart {
  return chart;
}

/**
 * The limit of an objective. For a violated one, only if a step is beyond it; otherwise the chart would show it as
 * kept.
 */
function limitOf(
  { line, objective }: JudgedObjective,
  values: readonly (number | 'Infinity' | null)[],
  scale = 1,
): Pick<Chart, 'limits'> {
  const isBeyond = values.some(
    (value) => value !== null && !holds(value === 'Infinity' ? Number.POSITIVE_INFINITY : value, objective),
  );
  if (line.ok === false && !isBeyond) return {};
  return { limits: [{ label: `objective ${line.expression}`, at: line.limit * scale }] };
}

/** The metric of an objective, with its limit and the recorded values. */
function objectiveCharts(document: ReportDocument, shown: JudgedObjective | null, clock: RunClock): Chart[] {
  const { objectiveSteps: steps } = document;
  if (steps == null || shown === null) return [];
  const { metric, unit, percent, median, values } = steps;
  const { title, counts } = factsOf(shown.objective).chart ?? { title: metric, counts: metric };
  const isTime = unit === 'ms';
  const scale = isTime ? 1 : 100;
  const name = isTime ? `${title} p${percent}${percent === 50 ? '' : ' and p50'}` : title;
  const slice = shown.objective.slice === null ? '' : ', of the requests that the objective names';
  return [
    {
      ...course(document, { ...steps, main: values, median: percent === 50 ? null : median, scale }, clock),
      id: OBJECTIVE,
      title: `${name} over time`,
      unit: isTime ? 'ms' : '%',
      source: `${counts}${slice}; by intended send, in steps of ${formatMs(steps.stepS * 1e3)}${isTime ? `; failed and refused requests count as never answered; a step with too few samples is left out` : ''}`,
      lookFor: 'when the line crosses its limit, and what the charts below show at that time',
      ...recordedBand(document, shown, percent),
      ...limitOf(shown, values, scale),
    },
  ];
}

/** The latency of all requests: the percentile of its objective, with its limit and the recorded values. */
function latencyChart(document: ReportDocument, clock: RunClock): Chart {
  const { latencySteps: steps, slo, summary } = document;
  const { p50Ms, tailMs } = steps;
  const shown = shownLatency(slo);
  const asked = shown && percentOf(shown.objective);
  // Another percentile beside the limit would seem to be judged by it.
  const isAsked = asked === null || asked === steps.percent;
  const percent = isAsked ? steps.percent : 50;
  const faults = faultMarks(summary, clock.startS);
  return {
    ...course(
      document,
      { ...steps, percent, main: isAsked ? tailMs : p50Ms, median: percent === 50 ? null : p50Ms, scale: 1 },
      clock,
    ),
    id: LATENCY,
    title: `Latency p${percent}${percent === 50 ? '' : ' and p50'} over time`,
    unit: 'ms',
    source: `${timesOf(document)} by ${summary?.closedLoop === undefined ? 'intended send' : 'send'}, where failed and refused requests count as never answered, in steps of ${formatMs(steps.stepS * 1e3)}; a step with too few requests for a percentile is left out${isAsked ? '' : `, and no step has enough for p${asked}`}`,
    lookFor: `p${percent} that ${shown && isAsked ? 'comes near its limit, or ' : ''}rises and stays up${faults.length === 0 ? '' : '; grey: a dependency failed by plan'}`,
    ...recordedBand(document, shown, percent),
    ...(shown && isAsked && limitOf(shown, tailMs)),
  };
}

interface Course {
  readonly stepS: number;
  readonly percent: number | null;
  readonly at: readonly number[];
  readonly samples: readonly number[];
  /** The values of the objective, and the median beside them; null for none. */
  readonly main: readonly (number | 'Infinity' | null)[];
  readonly median: readonly (number | 'Infinity' | null)[] | null;
  /** Factor from a value to the drawn value. */
  readonly scale: number;
}

/** Lines, times and marks of a metric over steps. */
function course(
  { summary }: ReportDocument,
  { stepS, percent, at, samples, main, median, scale }: Course,
  { startS, ...zone }: RunClock,
) {
  const label = percent === null ? 'share' : `p${percent}`;
  // After the last due request, the run only waits for answers.
  const until = samples.findLastIndex((count) => count > 0) + 1;
  const drawn = (values: Course['main']) =>
    values.slice(0, until).map((value) => (typeof value === 'number' ? value * scale : null));
  // The mark is centred on its point. Otherwise the mark of the last step would have no width.
  const beyond = at.flatMap((second, step): ChartMark[] => {
    const [from, to] = [startS + second - stepS / 2, startS + second + stepS / 2];
    return main[step] === 'Infinity' ? [{ label: `${label}: never answered`, from, to, isBad: true }] : [];
  });
  return {
    isShown: [...main, ...(median ?? [])].some((value) => value !== null),
    at: at.slice(0, until).map((second) => startS + second),
    lines: [
      { label, values: drawn(main) },
      ...(median === null ? [] : [{ label: 'p50', values: drawn(median) }]),
    ],
    marks: [...faultMarks(summary, startS), ...beyond],
    ...zone,
  };
}

/**
 * The recorded range of the metric: from p50 to the percentile, or its share. Only for all requests, not for a slice.
 */
function recordedBand(
  document: ReportDocument,
  shown: JudgedObjective | null,
  percent: number | null,
): Pick<Chart, 'band'> {
  if (percent === null) {
    const share = shown && recordedShare(document, shown);
    if (!share) return {};
    return { band: { label: `recorded: ${shareText(share)}`, from: 0, to: share * 100 } };
  }
  const [from, to] = [50, percent].map((each) => recordedMs(document, shown, each));
  return from === undefined || to === undefined
    ? {}
    : { band: { label: `recorded p50${percent === 50 ? '' : ` to p${percent}`}`, from, to } };
}

/** A percentile of the recording that corresponds to an objective; undefined if unknown. */
export function recordedMs(
  document: ReportDocument,
  shown: JudgedObjective | null,
  percent: number | null,
): number | undefined {
  const { recorded } = shown === null ? TIMES.latency : measureOf(shown.objective);
  const ladder = shown?.objective.slice == null ? recorded?.(document) : null;
  return ladder?.steps.find((step) => step.percent === percent && step.enough)?.ms ?? undefined;
}

/** Null if unknown. */
function recordedShare({ recording }: ReportDocument, { objective }: JudgedObjective): number | null {
  const { statuses, found } = recording;
  const { isRecordedIn } = measureOf(objective);
  if (
    objective.slice !== null ||
    isRecordedIn === undefined ||
    statuses === null ||
    statuses['none'] !== undefined
  )
    return null;
  const counted = Object.entries(statuses).filter(([status]) => isRecordedIn(Number(status)));
  return counted.reduce((sum, [, times]) => sum + times, 0) / found;
}

export function timesOf({ summary }: ReportDocument): string {
  return summary?.closedLoop === undefined ? 'scheduled latency' : 'service latency';
}

/** The times of planned faults. */
function faultMarks(summary: ReportDocument['summary'], startS: number): ChartMark[] {
  const faults = summary?.faults?.faults ?? [];
  return faults.map(({ name, fromS, toS }) => ({ label: name, from: startS + fromS, to: startS + toS }));
}

/** Charts of load, requests in flight, monitored series, failures, and the lag of the generator. */
function loadCharts(
  { overTime, run, summary, monitored = [] }: ReportDocument,
  shown: JudgedObjective | null,
  clock: RunClock,
): Chart[] {
  const { startS, ...zone } = clock;
  const at = overTime.at.map((second) => startS + second);
  const marks = faultMarks(summary, startS);
  const marked = marks.length === 0 ? '' : `; grey: ${marks.map(({ label }) => label).join(', ')}`;
  const steps = `in steps of ${formatMs(overTime.stepS * 1e3)}`;
  const warmup = run.warmupS === 0 ? '' : `; the first ${formatMs(run.warmupS * 1e3)} are warm-up`;
  const perSecond = (counts: readonly number[]) => counts.map((count) => count / overTime.stepS);
  const charts = [
    {
      isShown: true,
      id: 'load',
      title: 'Offered, sent and completed over time',
      unit: 'requests/s',
      source: `offered by intended instant, sent by actual instant, completed by last byte, ${steps}; the last step may be shorter${warmup}`,
      lookFor: 'completed below offered: the target is over its limit. Sent below offered: the replay is',
      lines: [
        { label: 'offered', values: perSecond(overTime.offered) },
        { label: 'sent', values: perSecond(overTime.sent) },
        { label: 'completed', values: perSecond(overTime.completed) },
      ],
    },
    {
      isShown: true,
      id: 'in-flight',
      title: 'Requests in flight over time',
      unit: 'requests',
      source: `requests that were sent and had not ended, the most at the end of a second, ${steps}`,
      lookFor: 'a rise that does not end: a queue that grows as long as the load lasts',
      lines: [{ label: 'in flight', values: overTime.inFlight }],
    },
    ...monitoredSeries(monitored, shown, steps),
    {
      isShown: [...overTime.failed, ...overTime.refused].some((count) => count > 0),
      id: 'trouble',
      title: 'Failed and refused over time',
      unit: 'requests/s',
      source: `failed by the instant it was noticed, refused by intended instant, ${steps}${marked}`,
      lookFor: 'failures at peaks (capacity) or alone (faults); refused: by a cap of the replay',
      lines: [
        { label: 'failed', values: perSecond(overTime.failed) },
        { label: 'refused', values: perSecond(overTime.refused) },
      ],
    },
    {
      isShown: overTime.lagMaxMs.some((value) => value !== null && value > 0),
      id: 'lag',
      title: 'Schedule lag over time',
      unit: 'ms',
      source: `the latest send of a step, actual minus intended, ${steps}`,
      lookFor: 'peaks where latency has peaks: there the replay was late, not the target',
      lines: [{ label: 'greatest lag', values: overTime.lagMaxMs }],
    },
  ];
  return charts.map((chart) => ({ marks, at, ...chart, ...zone }));
}

/** The monitored series, on the time axis of the latency. */
function monitoredSeries(monitored: readonly MonitoredLine[], shown: JudgedObjective | null, steps: string) {
  const objective = shown?.objective ?? null;
  const textsOf = (name: string, lines: readonly MonitoredLine[]) => {
    const isShown = objective?.series === name;
    const values = lines.flatMap((line) => line.values);
    // An objective on `count` limits the growth over the run, but the chart shows the rate.
    const isOfGrowth = objective?.aggregation.kind === 'count';
    return {
      source: `${[...new Set(lines.map(({ metric }) => metric))].join(', ')}; the ${isShown && asksForMore(objective) ? 'least' : 'greatest'} of a step, ${steps}`,
      lookFor: 'what reaches its limit when latency begins to rise. A gap: nothing is known there',
      ...(isShown && shown && !isOfGrowth && limitOf(shown, values)),
    };
  };
  return monitorCharts(monitored, textsOf, objective);
}
