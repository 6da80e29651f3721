import type { Histogram } from '../core/histogram.ts';
import { type Excused, excusedOf } from './excused.ts';
import type { RunFigures } from './run-statistics.ts';
import { type SloMetric, STREAM_METRICS, type Threshold } from './slo.ts';
import {
  holds,
  isBroken,
  isBrokenBySent,
  isBrokenWithoutUs,
  ratio,
  type Unanswered,
  type UnansweredStreams,
} from './slo-proof.ts';

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
  /**
   * Of a time but the makespan: whether what was sent breaks it too, counted from its send and without our own
   * lateness; what we refused or never came to send has no part in that. Else null.
   */
  readonly brokenBySent: boolean | null;
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
    sent: slowStreams(figures, Math.max(0, failed - figures.streams.refused)),
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

/** @param streams with and without the requests that were turned away or answered whole; without what we refused */
function evaluate(
  threshold: Threshold,
  figures: RunFigures,
  unanswered: Unanswered,
  streams: Readonly<Record<'answered' | 'wanted' | 'sent', UnansweredStreams>>,
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
  const brokenBySent = isBrokenBySent(threshold, figures, unanswered, streams.sent);
  return { threshold, observed, ok, brokenByService, brokenByStreams, brokenWithoutUs, brokenBySent };
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
