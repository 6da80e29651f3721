import { Histogram } from '../../core/histogram.ts';
import { NS_PER_MS } from '../../core/units.ts';
import { isOfStreams, isTimed, type TimedMetric } from '../../documents/metrics/metrics.ts';
import {
  limitsText,
  ofSlice,
  type RequestLimit,
  type SloOperator,
  type Threshold,
} from '../../documents/metrics/objectives.ts';
import { sliceText } from '../../documents/metrics/slices.ts';
import { monitoredValue } from '../run/monitored.ts';
import { type OutcomeFigures, refusalsIn } from '../run/outcomes.ts';
import type { RunFigures } from '../run/run-statistics.ts';
import { emptyPart, type GoodputFigures, type PartFigures } from '../run/slice-statistics.ts';
import {
  fewest,
  type IndependentSamples,
  lowerBound,
  lowerShare,
  sampleFloor,
  samplesNeeded,
  upperBound,
  type WindowPercentiles,
} from '../stats/percentiles.ts';

/**
 * The cause of a violation.
 * - `target`: the sent requests violate the objective, counted from the actual sends.
 * - `streams`: only requests whose answer was not the wanted stream, or did not count for goodput.
 * - `unsent`: only requests that a limit refused or that were never sent.
 * - `lag`: only the time between the planned and the actual send.
 */
type BrokenBy = 'target' | 'streams' | 'unsent' | 'lag';

/** The result of one objective. An objective on each model has one result for each. */
export interface SloResult {
  readonly threshold: Threshold;
  /** The objective of the user. It may be on each model while this result is for one model. */
  readonly asked: Threshold;
  /** The figures of its requests. */
  readonly figures: RunFigures;
  /** The number of its requests; null for the complete run. */
  readonly requests: number | null;
  /** In the unit of the limit. Infinity if too many failed, null if nothing was measured. */
  readonly observed: number | null;
  /**
   * The observed value of sent requests, counted from their actual sends, for a violation by the target. Otherwise
   * null.
   */
  readonly fromSends: number | null;
  /** Null if nothing was measured. */
  readonly ok: boolean | null;
  /** Null if the objective is not violated. */
  readonly brokenBy: BrokenBy | null;
  /** The confidence of a percentile within its limit. Null for other objectives, and with `--confidence point`. */
  readonly margin: Margin | null;
  /**
   * A value within the limit that is also possible for a violated objective. Null if the violation has the required
   * confidence.
   */
  readonly mayHold: { readonly confidence: number; readonly value: number } | null;
  /** Whether the objective holds only because clients cancelled requests before their answer. */
  readonly censored: boolean;
}

/** The possible error of a percentile within its limit. */
export interface Margin {
  readonly confidence: number;
  /**
   * With this confidence, the true value is at most this; for goodput it is at least this. In the unit of the limit.
   */
  readonly upperBound: number;
  readonly holds: boolean;
  /** By this factor more requests would probably prove the objective; null if no number would. */
  readonly timesNeeded: number | null;
}

/** Requests without an answer. In a stopped run, requests that were open or not yet due do not count. */
interface Unanswered {
  readonly interrupted: boolean;
  readonly failed: number;
  /** Refused by one of our limits, or not sent by the end of the run. */
  readonly unsent: number;
  /**
   * Sent requests that were answered or failed. Cancelled requests do not count, because they would reduce the share of
   * errors.
   */
  readonly sent: number;
  readonly failedStreams: number;
  readonly refusedStreams: number;
}

/** Streams that count as infinitely slow. */
interface SlowStreams {
  readonly streams: number;
  /** The gaps that these streams would have, if they had as many as the average of the others. */
  readonly gaps: number;
  /** These streams, and completed streams without any content. */
  readonly withoutToken: number;
}

/** The requests and the times that an objective is compared with. */
interface Scope {
  /** Counted from the planned instant, or from the actual send. */
  readonly from: 'planned' | 'sent';
  /** Whether requests that were never sent count as infinitely slow. */
  readonly unsent: boolean;
  /** Whether requests that were turned away, or answered without streaming, count as infinitely slow streams. */
  readonly streamless: boolean;
  /**
   * `least`: cancelled requests count as answered at the cancellation, a lower bound. `worst`: they count as never
   * answered.
   */
  readonly cancelled: 'least' | 'worst';
}

const EVERYTHING: Scope = { from: 'planned', unsent: true, streamless: true, cancelled: 'least' };
/** Only causes in the target itself. */
const OF_TARGET: Scope = { ...EVERYTHING, from: 'sent', unsent: false, streamless: false };

/**
 * Evaluates the objectives of a run. Failed and refused requests count as infinitely slow in every aggregation of a
 * time. If the run was `interrupted`, requests in flight that the replay ended itself do not count as failures.
 * @param confidence required confidence of a percentile within its limit; null to use the observed value
 * @param violationConfidence required confidence that any objective is violated, for a run that is judged more than
 *   once. Then shares must be within their limits with the same confidence as percentiles. Null to use the observed
 *   value
 */
export function evaluateSlo(
  thresholds: readonly Threshold[],
  figures: RunFigures,
  interrupted: boolean,
  confidence: number | null = null,
  violationConfidence: number | null = null,
): SloResult[] {
  const parts = thresholds.flatMap((threshold) => partsFor(threshold, figures));
  // One violated objective means FAIL, so all of them share the probability of an error (Bonferroni).
  const sure = violationConfidence === null ? null : 1 - (1 - violationConfidence) / parts.length;
  return parts.map((part) => {
    const { threshold } = part;
    const unanswered = unansweredIn(part.figures, interrupted);
    // Only a part of the plan was read. The share of that part would be too high.
    const isOpen = interrupted && !figures.planCounted && isOfPlan(threshold);
    const observed = isOpen ? null : observe(threshold, part.figures, unanswered, EVERYTHING);
    const ok = observed === null ? null : holds(observed, threshold);
    const brokenBy = ok === false ? brokenByIn(threshold, part.figures, unanswered) : null;
    const fromSends = brokenBy === 'target' ? observe(threshold, part.figures, unanswered, OF_TARGET) : null;
    const worst = observe(threshold, part.figures, unanswered, { ...EVERYTHING, cancelled: 'worst' });
    const censored = ok === true && worst !== null && !holds(worst, threshold);
    const isAsked = ok === true && confidence !== null;
    const margin =
      isAsked && (sure !== null || !isShare(threshold))
        ? marginOf(threshold, part.figures, unanswered, confidence)
        : null;
    const isQuestioned = brokenBy === 'target' && sure !== null;
    const best = isQuestioned ? bestOf(threshold, part.figures, unanswered, sure) : null;
    const mayHold = best !== null && holds(best, threshold) ? { confidence: sure ?? 0, value: best } : null;
    return { ...part, observed, fromSends, ok, brokenBy, margin, mayHold, censored };
  });
}

/** Whether more requests increase the confidence of an objective: percentiles of times, and shares. */
export function isBounded(threshold: Threshold): boolean {
  const { aggregation, metric, operator } = threshold;
  if (metric === 'goodput' || isShare(threshold)) return true;
  const isBelow = aggregation.kind === 'percentile' && aggregation.percent < 100;
  return isTimed(metric) && isBelow && operator.startsWith('<');
}

/** Whether an objective is an upper limit of a share. A limit of 0 can never be proved. */
function isShare({ aggregation, limit, metric, operator }: Threshold): boolean {
  const isOfSends = metric === 'errors' || metric === 'rejected' || metric === 'mismatch';
  return isOfSends && aggregation.kind === 'rate' && operator.startsWith('<') && limit > 0;
}

/**
 * The fewest answers that can prove an objective. A share of good requests is like a percentile: 95 % of them keep
 * their limits.
 */
export function floorOf({ aggregation, metric, limit }: Threshold): number {
  if (metric === 'goodput') return sampleFloor(limit * 100);
  return aggregation.kind === 'percentile' ? sampleFloor(aggregation.percent) : 1;
}

/**
 * The best value that is possible for a violated objective with this confidence. It counts from the actual sends, in
 * the unit of the limit. Null for an objective without bounds, whose observed value is final.
 */
function bestOf(
  threshold: Threshold,
  figures: RunFigures,
  unanswered: Unanswered,
  confidence: number,
): number | null {
  const { aggregation, metric } = threshold;
  if (!isBounded(threshold)) return null;
  if (isShare(threshold)) {
    const { share, samples } = shareIn(threshold, figures, unanswered);
    return lowerShare(share, confidence, samples);
  }
  const count = sampleCount(figures, unanswered.interrupted, threshold);
  const worth = (each: TimedMetric, percent: number) =>
    Math.min(count, fewest(windowsOf(each, figures).independentSamples(percent, confidence, count)));
  if (metric === 'goodput') {
    const rate = goodputRate(threshold, figures, unanswered.interrupted, OF_TARGET) ?? 1;
    const samples = Math.min(...threshold.limits.map((each) => worth(each.metric, 50 + rate * 50)));
    return 1 - lowerShare(1 - rate, confidence, samples);
  }
  if (!isTimed(metric) || aggregation.kind !== 'percentile') return null;
  const { percent } = aggregation;
  const { histogram, infinite } = timesOf(metric, figures, unanswered, OF_TARGET);
  // Lower percentiles are tried too. A stall leaves fast answers independent, so they have more samples. A lower bound
  // of a lower percentile also applies to a higher one.
  const percents = [percent, ...LOWER_PERCENTS.filter((each) => each < percent)];
  const each = 1 - (1 - confidence) / percents.length;
  const samplesAt = (at: number) =>
    Math.min(count, fewest(windowsOf(metric, figures).independentSamples(at, each, count)));
  const bounds = percents.map((at) => lowerBound(at, each, samplesAt(at), histogram, infinite) ?? 0);
  return Math.max(...bounds) / NS_PER_MS;
}

const LOWER_PERCENTS = [50, 5];

/** Whether an objective on times still holds with its confidence if the `open` requests are never answered. */
export function holdsWith(open: number, { threshold, figures, margin }: SloResult): boolean {
  if (margin === null || isShare(threshold)) return true;
  const { outcomes, streams } = figures;
  const goodput = [...figures.goodput].map(
    ([limits, counts]) => [limits, { ...counts, failed: counts.failed + open }] as const,
  );
  const slowest = {
    ...figures,
    outcomes: { ...outcomes, sent: outcomes.sent + open, failed: outcomes.failed + open },
    streams: { ...streams, failed: streams.failed + open },
    goodput: new Map(goodput),
  };
  const known = marginOf(threshold, slowest, unansweredIn(slowest, true), margin.confidence);
  return known?.holds === true;
}

function shareIn(threshold: Threshold, figures: RunFigures, unanswered: Unanswered) {
  const samples = threshold.metric === 'mismatch' ? (figures.check?.checked ?? 0) : unanswered.sent;
  return { share: observe(threshold, figures, unanswered, EVERYTHING) ?? 0, samples };
}

/** The result of an objective during its run. */
export type SloSoFar = Pick<SloResult, 'threshold' | 'observed' | 'ok'>;

/** Results of objectives during a run. Only objectives on all requests that depend only on finished requests. */
export function sloSoFar(thresholds: readonly Threshold[], part: PartFigures): SloSoFar[] {
  return thresholds
    .filter(({ metric, slice }) => slice === null && (isTimed(metric) || SHARE_METRICS.has(metric)))
    .map((threshold) => {
      const figures = { ...part, planned: part.outcomes.sent };
      const observed = observe(threshold, figures, unansweredIn(figures, true), EVERYTHING);
      return { threshold, observed, ok: observed === null ? null : holds(observed, threshold) };
    });
}

const SHARE_METRICS: ReadonlySet<Threshold['metric']> = new Set(['errors', 'rejected', 'goodput']);

/** The parts that an objective judges: the run, a part of it, or each of several parts. */
function partsFor(
  threshold: Threshold,
  figures: RunFigures,
): Pick<SloResult, 'threshold' | 'asked' | 'figures' | 'requests'>[] {
  const asked = threshold;
  if (threshold.slice === null) return [{ threshold, asked, figures, requests: null }];
  const parts = figures.slices.get(sliceText(threshold.slice))?.parts ?? [];
  // No request of the slice was sent. An objective without requests is never kept.
  if (parts.length === 0) {
    return [{ threshold, asked, figures: { ...figures, ...emptyPart(threshold.limits) }, requests: 0 }];
  }
  return parts.map((part) => ({
    threshold: ofSlice(threshold, part.slice),
    asked,
    figures: { ...figures, ...part.figures },
    requests: part.requests,
  }));
}

/** The request counts of a goodput objective; null for other objectives. */
export function goodputOf({ threshold: { metric, limits }, figures }: SloResult): GoodputFigures | null {
  return metric === 'goodput' ? (figures.goodput.get(limitsText(limits)) ?? null) : null;
}

/** Above this factor no advice is given, because the percentile is at its limit and a longer run would not decide. */
const MOST_TIMES_NEEDED = 1_000;

function marginOf(
  threshold: Threshold,
  figures: RunFigures,
  unanswered: Unanswered,
  confidence: number,
): Margin | null {
  const { aggregation, metric, operator, limit } = threshold;
  if (metric === 'goodput') return goodputMargin(threshold, figures, unanswered, confidence);
  if (isShare(threshold)) return shareMargin(threshold, figures, unanswered, confidence);
  const isBounded = aggregation.kind === 'percentile' && operator.startsWith('<');
  if (!isBounded || !isTimed(metric)) return null;
  const { percent } = aggregation;
  const { histogram, infinite } = timesOf(metric, figures, unanswered, EVERYTHING);
  const all = histogram.count + infinite;
  const { upper, samples } = boundOf(metric, percent, confidence, figures, unanswered);
  const over = (histogram.countOver(limit * NS_PER_MS) + infinite) / all;
  const times = samplesNeeded(percent, confidence, over) / Math.max(1, fewest(samples));
  return {
    confidence,
    upperBound: upper,
    holds: holds(upper, threshold),
    timesNeeded: times > MOST_TIMES_NEEDED ? null : Math.max(1.25, times),
  };
}

/**
 * An upper bound of a percentile of a time with this confidence, ms, and the independent samples. The lag is known
 * exactly, so scheduled latency is also below the bound of service latency plus the greatest lag.
 */
function boundOf(
  metric: TimedMetric,
  percent: number,
  confidence: number,
  figures: RunFigures,
  unanswered: Unanswered,
): { readonly upper: number; readonly samples: IndependentSamples } {
  const bound = ownBoundOf(metric, percent, confidence, figures, unanswered);
  if (metric !== 'latency') return bound;
  const { lag, connectionWait } = figures.latency;
  const ourMs = ((lag.max ?? 0) + (connectionWait.max ?? 0)) / NS_PER_MS;
  const service = ownBoundOf('service', percent, confidence, figures, unanswered);
  return { ...bound, upper: Math.min(bound.upper, service.upper + ourMs) };
}

function ownBoundOf(
  metric: TimedMetric,
  percent: number,
  confidence: number,
  figures: RunFigures,
  unanswered: Unanswered,
) {
  const { histogram, infinite } = timesOf(metric, figures, unanswered, EVERYTHING);
  const count = sampleCount(figures, unanswered.interrupted, { metric, limits: [] });
  const all = histogram.count + infinite;
  const { own, body, queue } = windowsOf(metric, figures).independentSamples(percent, confidence, all);
  const samples = { own: Math.min(own, count), body: Math.min(body, count), queue };
  return { upper: upperBound(percent, confidence, samples, histogram, infinite) / NS_PER_MS, samples };
}

/** Requests count as independent. For failures in clusters this overstates the confidence. */
function shareMargin(
  threshold: Threshold,
  figures: RunFigures,
  unanswered: Unanswered,
  confidence: number,
): Margin {
  const { share, samples } = shareIn(threshold, figures, unanswered);
  const upper = 1 - lowerShare(1 - share, confidence, samples);
  const times = samplesNeeded(100 * (1 - threshold.limit), confidence, share) / Math.max(1, samples);
  return {
    confidence,
    upperBound: upper,
    holds: holds(upper, threshold),
    timesNeeded: times > MOST_TIMES_NEEDED ? null : Math.max(1.25, times),
  };
}

/** If the limited times come in clusters, good requests do too, so the independent samples of these times count. */
function goodputMargin(
  threshold: Threshold,
  figures: RunFigures,
  unanswered: Unanswered,
  confidence: number,
): Margin | null {
  const { limit, limits } = threshold;
  const observed = goodputRate(threshold, figures, unanswered.interrupted, EVERYTHING);
  if (observed === null) return null;
  const all = sampleCount(figures, unanswered.interrupted, threshold);
  // The second percentile is among the slowest requests, which exceed a limit.
  const percents = [limit * 100, 50 + observed * 50];
  const samples = Math.min(
    all,
    ...limits.flatMap(({ metric }) =>
      percents.map((each) => fewest(windowsOf(metric, figures).independentSamples(each, confidence, all))),
    ),
  );
  const lower = lowerShare(observed, confidence, samples);
  // If all requests are good, there is another proof. Each limit is kept by a share of the requests, and together these
  // shares keep the objective (Bonferroni).
  const part = (1 - limit) / limits.length;
  const isFarFrom = (each: RequestLimit) =>
    boundOf(each.metric, 100 * (1 - part), 1 - (1 - confidence) / limits.length, figures, unanswered).upper <
    each.limit;
  const times = samplesNeeded(limit * 100, confidence, 1 - observed) / Math.max(1, samples);
  return {
    confidence,
    upperBound: lower,
    holds: holds(lower, threshold) || (observed === 1 && limits.every(isFarFrom)),
    timesNeeded: times > MOST_TIMES_NEEDED ? null : Math.max(1.25, times),
  };
}

function windowsOf(metric: TimedMetric, { latency, streams }: RunFigures): WindowPercentiles {
  if (metric === 'latency') return latency.byWindow.scheduled;
  return metric === 'service' ? latency.byWindow.service : streams.byWindow[metric];
}

/**
 * The number of answers and failures for an objective. A stream is one sample, not one for each gap: a slow moment of a
 * server affects all gaps of that moment.
 */
export function sampleCount(
  figures: RunFigures,
  interrupted: boolean,
  { metric, limits }: Pick<Threshold, 'metric' | 'limits'>,
): number {
  const { latency, outcomes, streams } = figures;
  const goodput = metric === 'goodput' ? figures.goodput.get(limitsText(limits)) : undefined;
  if (goodput !== undefined) return goodput.served + missedIn(goodput, interrupted, EVERYTHING);
  const { failed, failedStreams, refusedStreams } = unansweredIn(figures, interrupted);
  const timed = {
    ttft: streams.ttft.count + streams.withoutContent,
    itl: streams.ttft.count,
    tpot: streams.tpot.count,
  };
  if (metric === 'ttft' || metric === 'itl' || metric === 'tpot')
    return timed[metric] + failedStreams + refusedStreams;
  return latency.service.count + failed + outcomes.refused;
}

/** Whether an objective limits the share of the plan that was sent. */
export function isOfPlan({ metric, aggregation }: Threshold): boolean {
  return metric === 'achieved' && aggregation.kind !== 'count';
}

/**
 * Whether an objective on mismatches is violated even if all answers that could not be compared are counted as equal.
 */
export function isBrokenByChecked(threshold: Threshold, { check = null }: RunFigures): boolean {
  const least = check === null ? null : mismatches(threshold, check.mismatched, check.answers);
  return least !== null && !holds(least, threshold);
}

/** The number of sent requests that are judged: neither cancelled as recorded, nor open when the run was stopped. */
export function judgedSends(
  { outcomes }: { readonly outcomes: Pick<OutcomeFigures, 'sent' | 'failed' | 'cancelled' | 'stopped'> },
  interrupted: boolean,
): { sent: number; failed: number } {
  const stopped = interrupted ? outcomes.stopped : 0;
  return { sent: outcomes.sent - outcomes.cancelled - stopped, failed: outcomes.failed - stopped };
}

function unansweredIn(figures: PartFigures, interrupted: boolean): Unanswered {
  const { outcomes, streams } = figures;
  return {
    interrupted,
    ...judgedSends(figures, interrupted),
    // Requests that still waited for their connection at the end of the drain were not sent. After a stop they do not
    // count.
    unsent: outcomes.refused + (interrupted ? 0 : outcomes.unreached),
    failedStreams: streams.failed - (interrupted ? streams.stopped : 0),
    refusedStreams: streams.refused,
  };
}

/** Removes the causes on our side one after the other, and returns the one without which the violation disappears. */
function brokenByIn(threshold: Threshold, figures: RunFigures, unanswered: Unanswered): BrokenBy {
  const isBroken = (scope: Scope) => {
    const observed = observe(threshold, figures, unanswered, scope);
    return observed !== null && !holds(observed, threshold);
  };
  if (threshold.metric === 'achieved') return 'unsent';
  if (threshold.metric === 'makespan') return isLongWithoutLag(threshold, figures) ? 'target' : 'lag';
  if (isBroken(OF_TARGET)) return 'target';
  const { metric } = threshold;
  if ((metric === 'goodput' || isOfStreams(threshold)) && !isBroken({ ...EVERYTHING, streamless: false }))
    return 'streams';
  return isBroken({ ...EVERYTHING, unsent: false }) ? 'lag' : 'unsent';
}

/** Our lag makes the run longer by at most the greatest lag plus the longest wait for a connection. */
function isLongWithoutLag(threshold: Threshold, { makespanNs, latency }: RunFigures): boolean {
  const lateNs = (latency.lag.max ?? 0) + (latency.connectionWait.max ?? 0);
  return !holds(((makespanNs ?? 0) - lateNs) / NS_PER_MS, threshold);
}

/** The figures that an objective is read from. */
type Observable = PartFigures & Pick<RunFigures, 'planned' | 'check' | 'monitored'>;

function observe(
  threshold: Threshold,
  figures: Observable,
  unanswered: Unanswered,
  scope: Scope,
): number | null {
  const { outcomes, planned } = figures;
  const isCount = threshold.aggregation.kind === 'count';
  if (isTimed(threshold.metric))
    return timeMs(threshold, timesOf(threshold.metric, figures, unanswered, scope));
  switch (threshold.metric) {
    case 'errors': {
      const unknown = scope.cancelled === 'worst' ? outcomes.leftUnanswered : 0;
      const failed = unanswered.failed + unknown;
      return isCount ? failed : ratio(failed, unanswered.sent + unknown);
    }
    case 'rejected': {
      const refusals = refusalsIn(outcomes.statuses);
      return isCount ? refusals : ratio(refusals, unanswered.sent);
    }
    case 'goodput':
      return goodputRate(threshold, figures, unanswered.interrupted, scope);
    case 'achieved':
      return isCount ? outcomes.sent : ratio(outcomes.sent, planned);
    case 'makespan':
      return figures.makespanNs === null ? null : figures.makespanNs / NS_PER_MS;
    case 'mismatch':
      return mismatches(threshold, figures.check?.mismatched ?? 0, figures.check?.checked ?? 0);
    case 'monitored':
      return worstMonitored(threshold, figures);
  }
}

/** The worst value of all series with this name, because the objective must hold for each. Null if one is unknown. */
function worstMonitored({ series = '', aggregation, operator }: Threshold, figures: Observable) {
  const each = (figures.monitored?.get(series) ?? []).map((values) => monitoredValue(values, aggregation));
  const known = each.filter((value) => value !== null);
  if (known.length === 0 || known.length < each.length) return null;
  return operator.startsWith('<') ? Math.max(...known) : Math.min(...known);
}

/** Times of answers, and the number of infinitely slow ones. */
interface Times {
  readonly histogram: Histogram;
  readonly infinite: number;
}

/** @param censored times until the replay cancelled a request */
function withCensored(
  histogram: Histogram,
  censored: Histogram,
  { cancelled }: Scope,
  infinite: number,
): Times {
  if (censored.count === 0) return { histogram, infinite };
  if (cancelled === 'worst') return { histogram, infinite: infinite + censored.count };
  const least = new Histogram();
  least.merge(histogram);
  least.merge(censored);
  return { histogram: least, infinite };
}

function timesOf(metric: TimedMetric, figures: PartFigures, unanswered: Unanswered, scope: Scope): Times {
  const { latency } = figures;
  const { ttft, ttftService, itl, tpot, censored } = figures.streams;
  const slow = slowStreams(figures, unanswered, scope);
  const isWorst = scope.cancelled === 'worst';
  switch (metric) {
    case 'latency':
    case 'service': {
      const from = metric === 'latency' && scope.from === 'planned' ? 'scheduled' : 'service';
      const infinite = unanswered.failed + (scope.unsent ? unanswered.unsent : 0);
      return withCensored(latency[from], latency.censored[from], scope, infinite);
    }
    case 'ttft':
      return scope.from === 'sent'
        ? withCensored(ttftService, censored.ttftService, scope, slow.withoutToken)
        : withCensored(ttft, censored.ttft, scope, slow.withoutToken);
    case 'itl': {
      const unbegun = isWorst ? Math.round(censored.ttft.count * gapsOfStream(figures)) : 0;
      return withCensored(itl, censored.itl, scope, slow.gaps + unbegun);
    }
    case 'tpot':
      return { histogram: tpot, infinite: slow.streams + (isWorst ? censored.streams : 0) };
  }
}

/** The share of good requests. Failed, refused and turned-away requests count as not good. */
function goodputRate(
  { limits }: Threshold,
  { goodput }: PartFigures,
  interrupted: boolean,
  scope: Scope,
): number | null {
  const counts = goodput.get(limitsText(limits));
  if (counts === undefined) return null;
  const { served, left, leftOver } = counts;
  const good = scope.from === 'sent' ? counts.goodFromSent : counts.good;
  const all = served + left + leftOver + missedIn(counts, interrupted, scope);
  return ratio(scope.cancelled === 'worst' ? good : good + left, all);
}

/** The number of requests that are compared with limits, without cancelled ones. */
export function judgedByLimits(counts: GoodputFigures, interrupted: boolean): number {
  return counts.served + missedIn(counts, interrupted, EVERYTHING);
}

/** The number of requests that were not served, if they count. */
function missedIn(counts: GoodputFigures, interrupted: boolean, scope: Scope): number {
  const { failed, stopped, refused, unreached, unserved } = counts;
  const unsent = refused + (interrupted ? 0 : unreached);
  return (
    failed - (interrupted ? stopped : 0) + (scope.unsent ? unsent : 0) + (scope.streamless ? unserved : 0)
  );
}

/** Null without answers, because then nothing is known. */
function mismatches({ aggregation }: Threshold, mismatched: number, answers: number): number | null {
  if (answers === 0) return null;
  return aggregation.kind === 'count' ? mismatched : mismatched / answers;
}

/**
 * Requests that were turned away, or answered without streaming, count as infinitely slow streams, so that they do not
 * hide a tail. Alone they do not violate an objective, because a fast refusal is not slow.
 */
function slowStreams(figures: PartFigures, unanswered: Unanswered, scope: Scope): SlowStreams {
  const { turnedAway, whole, withoutContent } = figures.streams;
  const streams =
    unanswered.failedStreams +
    (scope.unsent ? unanswered.refusedStreams : 0) +
    (scope.streamless ? turnedAway + whole : 0);
  return {
    streams,
    gaps: Math.round(streams * gapsOfStream(figures)),
    withoutToken: streams + withoutContent,
  };
}

/** The mean over streams with a token. At least 1, for runs in which every stream failed. */
function gapsOfStream({ streams }: PartFigures): number {
  return streams.ttft.count === 0 ? 1 : Math.max(1, streams.itl.count / streams.ttft.count);
}

function timeMs({ aggregation }: Threshold, { histogram, infinite }: Times): number | null {
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
  if (aggregation.kind === 'min') return histogram.min ?? slowest;
  return slowest ?? (aggregation.kind === 'avg' ? histogram.mean : histogram.max);
}

function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}

const HOLDS: Readonly<Record<SloOperator, (observed: number, limit: number) => boolean>> = {
  '<': (observed, limit) => observed < limit,
  '<=': (observed, limit) => observed <= limit,
  '>': (observed, limit) => observed > limit,
  '>=': (observed, limit) => observed >= limit,
};

export function holds(observed: number, { operator, limit }: Threshold): boolean {
  return HOLDS[operator](observed, limit);
}
