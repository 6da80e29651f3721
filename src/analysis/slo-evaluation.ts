import type { Histogram } from '../core/histogram.ts';
import { type Excused, excusedOf } from './excused.ts';
import type { LatencyFigures } from './latency-statistics.ts';
import { type MeasuredTimes, OurLateness } from './our-lateness.ts';
import type { RunFigures } from './run-statistics.ts';
import { type SloMetric, type SloOperator, STREAM_METRICS, type Threshold } from './slo.ts';

const NS_PER_MS = 1e6;

/** What one objective came to. */
export interface SloResult {
  readonly threshold: Threshold;
  /** In the unit of the limit; Infinity when too much failed, null when nothing was measured. */
  readonly observed: number | null;
  /** Null when nothing was measured. */
  readonly ok: boolean | null;
  /**
   * Of an objective for `latency` or `ttft`: whether the time from the actual send breaks it too, for latency without
   * what we refused, which has none. Else null.
   */
  readonly brokenByService: boolean | null;
  /**
   * Of an objective of streams: whether it is broken without the requests that were turned away, or answered whole,
   * instead of being answered by a stream. Those count as infinitely slow, so that their absence hides no tail, and
   * prove nothing: a quick refusal is not slow. Else null.
   */
  readonly brokenByStreams: boolean | null;
  /**
   * Of a time, of the makespan and of errors: whether the objective is broken without all that our own lateness and
   * our standstills may have added. Else null.
   */
  readonly brokenWithoutUs: boolean | null;
}

/** Requests that count as infinitely slow, and those that do not count because we stopped them ourselves. */
interface Unanswered {
  readonly infinite: number;
  /** Of them, those that never left: refused by our own cap or ceiling, or not reached. */
  readonly unsent: number;
  readonly failed: number;
  /** Of them, those that neither left late nor ended while we stood still. */
  readonly failedApart: number;
  readonly sent: number;
}

/** Streams that count as infinitely slow; and as many gaps as they would have had at the mean of the others. */
interface UnansweredStreams {
  readonly streams: number;
  readonly gaps: number;
  /** Streams that never reached a first token: those, and such as ended in good order without any content. */
  readonly withoutToken: number;
}

/**
 * Holds a run against its objectives. Failed and refused requests are infinitely slow in every aggregation of
 * a time. When the run was `interrupted`, requests in flight that we ended ourselves are nobody's failure.
 */
export function evaluateSlo(
  thresholds: readonly Threshold[],
  figures: RunFigures,
  interrupted: boolean,
): SloResult[] {
  const { outcomes, latency } = figures;
  const excused = excusedIn(figures, interrupted);
  // What still waited for its recorded connection when the drain was over never came, unless we ended the run.
  const unsent = outcomes.refused + outcomes.unreached - excused.unreached;
  const unanswered: Unanswered = {
    infinite: latency.failed + unsent - excused.outsideStalls,
    unsent,
    failed: outcomes.failed - excused.stopped,
    failedApart: latency.failed - excused.outsideStalls,
    // What the recorded client gave up was neither answered nor failed: it must not make a share of errors smaller.
    sent: outcomes.sent - outcomes.cancelled - excused.stopped,
  };
  const failed = unansweredStreams(figures, excused);
  const streams = {
    answered: slowStreams(figures, failed),
    wanted: slowStreams(figures, failed + figures.streams.turnedAway + figures.streams.whole),
  };
  const results = thresholds.map((threshold) => evaluate(threshold, figures, unanswered, streams));
  // A share of a part of the plan would be far too good.
  if (!interrupted || figures.unread.toTheEnd) return results;
  return results.map((each) => (isOfPlan(each.threshold) ? { ...each, observed: null, ok: null } : each));
}

/**
 * Answers and failures that stand behind the percentiles of a metric, stalled stretches left out. The gaps of one
 * stream are no samples of their own: a server that is slow for a moment is slow for all of them.
 */
export function sampleCount(figures: RunFigures, interrupted: boolean, metric: SloMetric): number {
  const { latency, outcomes, streams } = figures;
  const excused = excusedIn(figures, interrupted);
  const timed = {
    ttft: streams.ttft.count + streams.withoutContent,
    itl: streams.ttft.count,
    tpot: streams.tpot.count,
  };
  if (metric === 'ttft' || metric === 'itl' || metric === 'tpot')
    return timed[metric] + unansweredStreams(figures, excused);
  return latency.service.count + latency.failed + outcomes.refused - excused.outsideStalls;
}

/** Whether an objective is on how much was sent of what was planned. */
export function isOfPlan({ metric, aggregation }: Threshold): boolean {
  return metric === 'achieved' && aggregation.kind !== 'count';
}

/** @param streams with and without the requests that were turned away or answered whole */
function evaluate(
  threshold: Threshold,
  figures: RunFigures,
  unanswered: Unanswered,
  streams: { readonly answered: UnansweredStreams; readonly wanted: UnansweredStreams },
): SloResult {
  const observed = observe(threshold, figures, unanswered, streams.wanted);
  const ok = observed === null ? null : holds(observed, threshold.operator, threshold.limit);
  let brokenByService: boolean | null = null;
  if (threshold.metric === 'latency' || threshold.metric === 'ttft') {
    const service =
      threshold.metric === 'ttft'
        ? timeMs(threshold, figures.streams.ttftService, streams.answered.withoutToken)
        : timeMs(threshold, figures.latency.service, unanswered.infinite - unanswered.unsent);
    brokenByService = isBroken(threshold, service);
  }
  const brokenByStreams = STREAM_METRICS.has(threshold.metric)
    ? isBroken(threshold, observe(threshold, figures, unanswered, streams.answered))
    : null;
  const brokenWithoutUs = isBrokenWithoutUs(threshold, figures, unanswered, streams.answered);
  return { threshold, observed, ok, brokenByService, brokenByStreams, brokenWithoutUs };
}

function isBrokenWithoutUs(
  threshold: Threshold,
  figures: RunFigures,
  unanswered: Unanswered,
  streams: UnansweredStreams,
): boolean | null {
  const { metric, aggregation } = threshold;
  if (metric === 'achieved' || metric === 'mismatch') return null;
  if (metric === 'errors') {
    const failed = unanswered.failedApart;
    return isBroken(threshold, aggregation.kind === 'count' ? failed : ratio(failed, unanswered.sent));
  }
  // What is too short is no longer for being late.
  if (threshold.operator === '>' || threshold.operator === '>=') return true;
  const ours = new OurLateness(figures.latency);
  const limitNs = threshold.limit * NS_PER_MS;
  if (metric === 'makespan') return ours.provesSpan(figures.makespanNs ?? 0, limitNs);
  const { latency, streams: timed } = figures;
  const proves = (times: MeasuredTimes): boolean => ours.proves(aggregation, limitNs, times);
  const { infinite } = unanswered;
  const { withoutToken } = streams;
  switch (metric) {
    case 'service':
      return proves({ ...serviceOf(latency), infinite });
    case 'latency':
      return proves({ ...serviceOf(latency), infinite }) || proves({ ...scheduledOf(latency), infinite });
    case 'ttft':
      return (
        proves({ all: timed.ttftService, infinite: withoutToken, ends: 1 }) ||
        proves({ all: timed.ttft, infinite: withoutToken, ends: 2 })
      );
    case 'itl':
      return proves({ all: timed.itl, infinite: streams.gaps, ends: 1 });
    case 'tpot':
      return proves({ all: timed.tpot, infinite: streams.streams, ends: 1 });
  }
}

function serviceOf({ service, beforeStalls }: LatencyFigures): Omit<MeasuredTimes, 'infinite'> {
  return { all: service, beforeStalls: beforeStalls.service, ends: 1 };
}

function scheduledOf({ scheduled, beforeStalls }: LatencyFigures): Omit<MeasuredTimes, 'infinite'> {
  return { all: scheduled, beforeStalls: beforeStalls.scheduled, ends: 2 };
}

function isBroken({ operator, limit }: Threshold, observed: number | null): boolean {
  return observed !== null && !holds(observed, operator, limit);
}

function observe(
  threshold: Threshold,
  figures: RunFigures,
  unanswered: Unanswered,
  streams: UnansweredStreams,
): number | null {
  const { outcomes, planned, latency } = figures;
  const isCount = threshold.aggregation.kind === 'count';
  switch (threshold.metric) {
    case 'latency':
      return timeMs(threshold, latency.scheduled, unanswered.infinite);
    case 'service':
      return timeMs(threshold, latency.service, unanswered.infinite);
    case 'errors':
      return isCount ? unanswered.failed : ratio(unanswered.failed, unanswered.sent);
    case 'achieved':
      return isCount ? outcomes.sent : ratio(outcomes.sent, planned);
    case 'makespan':
      return figures.makespanNs === null ? null : figures.makespanNs / NS_PER_MS;
    case 'ttft':
      return timeMs(threshold, figures.streams.ttft, streams.withoutToken);
    case 'itl':
      return timeMs(threshold, figures.streams.itl, streams.gaps);
    case 'tpot':
      return timeMs(threshold, figures.streams.tpot, streams.streams);
    case 'mismatch':
      return mismatches(threshold, figures);
  }
}

/** Of the answers that were compared; null where there is none, so that nothing can be said. */
function mismatches({ aggregation }: Threshold, { check = null }: RunFigures): number | null {
  if (check === null || check.checked === 0) return null;
  return aggregation.kind === 'count' ? check.mismatched : check.mismatched / check.checked;
}

/**
 * Whether an objective on mismatches is broken whatever those answers were that could not be compared: taken for the
 * same as recorded.
 */
export function isBrokenByChecked({ aggregation, operator, limit }: Threshold, figures: RunFigures): boolean {
  const { check = null } = figures;
  if (check === null || check.answers === 0) return false;
  const least = aggregation.kind === 'count' ? check.mismatched : check.mismatched / check.answers;
  return !holds(least, operator, limit);
}

function excusedIn(figures: RunFigures, interrupted: boolean): Excused {
  return figures.excused ?? excusedOf({ ...figures, interrupted });
}

function unansweredStreams({ streams }: RunFigures, excused: Excused): number {
  return streams.failed + streams.refused - excused.streams;
}

function slowStreams(figures: RunFigures, streams: number): UnansweredStreams {
  return {
    streams,
    gaps: Math.round(streams * gapsOfStream(figures)),
    withoutToken: streams + figures.streams.withoutContent,
  };
}

/** The mean over the streams that had a token; at least one, so that a run of failures is not without any. */
function gapsOfStream({ streams }: RunFigures): number {
  return streams.ttft.count === 0 ? 1 : Math.max(1, streams.itl.count / streams.ttft.count);
}

function timeMs({ aggregation }: Threshold, histogram: Histogram, infinite: number): number | null {
  const ns = timeNs(aggregation, histogram, infinite);
  return ns === null ? null : ns / NS_PER_MS;
}

function timeNs(
  aggregation: Threshold['aggregation'],
  histogram: Histogram,
  infinite: number,
): number | null {
  if (aggregation.kind === 'percentile') return histogram.percentile(aggregation.percent, infinite);
  const slowest = infinite > 0 ? Number.POSITIVE_INFINITY : null;
  switch (aggregation.kind) {
    case 'avg':
      return slowest ?? histogram.mean;
    case 'max':
      return slowest ?? histogram.max;
    case 'min':
      return histogram.min ?? slowest;
    default:
      throw new Error(`${aggregation.kind} is no aggregation of a time`);
  }
}

function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}

function holds(observed: number, operator: SloOperator, limit: number): boolean {
  switch (operator) {
    case '<':
      return observed < limit;
    case '<=':
      return observed <= limit;
    case '>':
      return observed > limit;
    case '>=':
      return observed >= limit;
  }
}
