import { Histogram } from '../../core/histogram.ts';
import { NS_PER_MS } from '../../core/units.ts';
import { sliceText } from '../objectives/slices.ts';
import {
  isTimed,
  limitsText,
  ofSlice,
  type RequestLimit,
  type SloOperator,
  STREAM_METRICS,
  type Threshold,
  type TimedMetric,
} from '../objectives/slo.ts';
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
 * What breaks a violated objective. `target`: what was sent breaks it, counted from the actual sends. `streams`: only
 * requests that got no stream although one was wanted, or none that counts for goodput. `unsent`: only requests that a
 * cap refused or that never left. `lag`: only the time between the planned and the actual send.
 */
type BrokenBy = 'target' | 'streams' | 'unsent' | 'lag';

/** What one objective came to. One that is about each model has a result for each. */
export interface SloResult {
  readonly threshold: Threshold;
  /** As it was asked for: of each model, where this is of one. */
  readonly asked: Threshold;
  /** Of the requests that it is about. */
  readonly figures: RunFigures;
  /** How many those are; null for all of the run. */
  readonly requests: number | null;
  /** In the unit of the limit; Infinity when too much failed, null when nothing was measured. */
  readonly observed: number | null;
  /** The same for sent requests, from their actual sends. It decides whether the target is the cause. Else null. */
  readonly fromSends: number | null;
  /** Null when nothing was measured. */
  readonly ok: boolean | null;
  /** Null for an objective that is not violated. */
  readonly brokenBy: BrokenBy | null;
  /** How surely a percentile is within its limit. Null for other objectives, and with `--confidence point`. */
  readonly margin: Margin | null;
  /** What a violated objective may be instead; null where the violation is as sure as was asked for. */
  readonly mayHold: { readonly confidence: number; readonly value: number } | null;
  /** Whether the objective holds only without the requests whose clients left before their answer. */
  readonly censored: boolean;
}

/** How far a percentile within its limit may be off. */
export interface Margin {
  readonly confidence: number;
  /** What it stays below with this confidence, goodput above, in the unit of the limit. */
  readonly upperBound: number;
  readonly holds: boolean;
  /** Times as many requests would probably show that it holds; null where no number would. */
  readonly timesNeeded: number | null;
}

/** Requests without an answer. In a run that was stopped, those that were open or not yet due count nowhere. */
interface Unanswered {
  readonly interrupted: boolean;
  readonly failed: number;
  /** Refused by a cap of ours, or not sent by the end of the run. */
  readonly unsent: number;
  /** Sent, and answered or failed. Cancelled requests are not counted: they would make the share of errors smaller. */
  readonly sent: number;
  readonly failedStreams: number;
  readonly refusedStreams: number;
}

/** Streams that count as infinitely slow. */
interface SlowStreams {
  readonly streams: number;
  /** The gaps they would have had at the mean of the others. */
  readonly gaps: number;
  /** Those, and streams that completed without any content. */
  readonly withoutToken: number;
}

/** Which requests and which times an objective is held against. */
interface Scope {
  /** From the planned instant, or from the actual send. */
  readonly from: 'planned' | 'sent';
  /** Whether requests that never left count as infinitely slow. */
  readonly unsent: boolean;
  /** Whether requests that were turned away or answered whole count as infinitely slow streams. */
  readonly streamless: boolean;
  /** Cancelled requests count as answered when we left, the least that it took, or as never answered, the worst. */
  readonly cancelled: 'least' | 'worst';
}

const EVERYTHING: Scope = { from: 'planned', unsent: true, streamless: true, cancelled: 'least' };
/** What speaks against the target alone. */
const OF_TARGET: Scope = { ...EVERYTHING, from: 'sent', unsent: false, streamless: false };

/**
 * Holds a run against its objectives. Failed and refused requests are infinitely slow in every aggregation of
 * a time. When the run was `interrupted`, requests in flight that we ended ourselves do not count as failures.
 * @param confidence how sure a percentile must be within its limit; null for the observed value
 * @param violationConfidence how sure it must be that any objective is violated, as for a run that is looked at more
 *   than once; then shares must be within their limits as surely as percentiles. Null for the observed value
 */
export function evaluateSlo(
  thresholds: readonly Threshold[],
  figures: RunFigures,
  interrupted: boolean,
  confidence: number | null = null,
  violationConfidence: number | null = null,
): SloResult[] {
  const parts = thresholds.flatMap((threshold) => partsFor(threshold, figures));
  // One violated objective is a FAIL, so all of them share the chance to be wrong (Bonferroni).
  const sure = violationConfidence === null ? null : 1 - (1 - violationConfidence) / parts.length;
  return parts.map((part) => {
    const { threshold } = part;
    const unanswered = unansweredIn(part.figures, interrupted);
    // Only a part of the plan is known, and a share of that part would be too good.
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

/** Whether more requests make an objective surer: percentiles of times, and shares. */
export function isBounded(threshold: Threshold): boolean {
  const { aggregation, metric, operator } = threshold;
  if (metric === 'goodput' || isShare(threshold)) return true;
  const isBelow = aggregation.kind === 'percentile' && aggregation.percent < 100;
  return isTimed(metric) && isBelow && operator.startsWith('<');
}

/** Whether an objective is on the most that a share may be. That it is 0 is never sure. */
function isShare({ aggregation, limit, metric, operator }: Threshold): boolean {
  const isOfSends = metric === 'errors' || metric === 'rejected' || metric === 'mismatch';
  return isOfSends && aggregation.kind === 'rate' && operator.startsWith('<') && limit > 0;
}

/**
 * The fewest answers that can show that an objective is kept. A share of good requests is a percentile: 95 % of them
 * keep their limits.
 */
export function floorOf({ aggregation, metric, limit }: Threshold): number {
  if (metric === 'goodput') return sampleFloor(limit * 100);
  return aggregation.kind === 'percentile' ? sampleFloor(aggregation.percent) : 1;
}

/**
 * What a violated objective may be instead with this confidence, counted from the actual sends, in the unit of its
 * limit. Null for an objective without bounds, which is as sure as it was observed.
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
  // A stall that slows the slowest says nothing against the fast ones, and a percentile is at least a lower one.
  const percents = [percent, ...LOWER_PERCENTS.filter((each) => each < percent)];
  const each = 1 - (1 - confidence) / percents.length;
  const samplesAt = (at: number) =>
    Math.min(count, fewest(windowsOf(metric, figures).independentSamples(at, each, count)));
  const bounds = percents.map((at) => lowerBound(at, each, samplesAt(at), histogram, infinite) ?? 0);
  return Math.max(...bounds) / NS_PER_MS;
}

const LOWER_PERCENTS = [50, 5];

/** Whether a kept objective on times stays as sure if the `open` requests are never answered. */
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

/** An objective while its run lasts. */
export type SloSoFar = Pick<SloResult, 'threshold' | 'observed' | 'ok'>;

/** Objectives during a run. Only those on all requests that need only requests that have ended. */
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
  // Nothing of it was sent, and an objective on nothing is never kept.
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

/** How the requests of an objective on goodput fared; null for another objective. */
export function goodputOf({ threshold: { metric, limits }, figures }: SloResult): GoodputFigures | null {
  return metric === 'goodput' ? (figures.goodput.get(limitsText(limits)) ?? null) : null;
}

/** Beyond it no advice is given: the percentile lies at its limit, and a longer run would not decide. */
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
 * What a percentile of a time stays below with this confidence, ms, and what its samples are worth. Our own lag is
 * known to its end: scheduled latency stays below the bound of service latency and the greatest lag, too.
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

/** Requests count as independent here: failures that come together are fewer than they look. */
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

/** Good requests come in clusters where the times do that their limits are on. */
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
  // The second lies among the slowest, those over a limit.
  const percents = [limit * 100, 50 + observed * 50];
  const samples = Math.min(
    all,
    ...limits.flatMap(({ metric }) =>
      percents.map((each) => fewest(windowsOf(metric, figures).independentSamples(each, confidence, all))),
    ),
  );
  const lower = lowerShare(observed, confidence, samples);
  // Where all are good, each limit may also be kept by so many that together they keep the share (Bonferroni).
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
 * Answers and failures that an objective rests on. A stream is one sample, not one for each gap: a server
 * that is slow for a moment is slow for all gaps of that moment.
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
 * Whether an objective on mismatches is broken even if every answer that could not be compared was the same as
 * recorded.
 */
export function isBrokenByChecked(threshold: Threshold, { check = null }: RunFigures): boolean {
  const least = check === null ? null : mismatches(threshold, check.mismatched, check.answers);
  return least !== null && !holds(least, threshold);
}

/** Requests that were sent and are judged: neither cancelled as recorded nor open when the run was stopped. */
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
    // A request that still waited for its connection at the end of the drain was not sent, unless the run was stopped.
    unsent: outcomes.refused + (interrupted ? 0 : outcomes.unreached),
    failedStreams: streams.failed - (interrupted ? streams.stopped : 0),
    refusedStreams: streams.refused,
  };
}

/** Takes the causes on our side away one after the other, and says with which the violation disappears. */
function brokenByIn(threshold: Threshold, figures: RunFigures, unanswered: Unanswered): BrokenBy {
  const isBroken = (scope: Scope) => {
    const observed = observe(threshold, figures, unanswered, scope);
    return observed !== null && !holds(observed, threshold);
  };
  if (threshold.metric === 'achieved') return 'unsent';
  if (threshold.metric === 'makespan') return isLongWithoutLag(threshold, figures) ? 'target' : 'lag';
  if (isBroken(OF_TARGET)) return 'target';
  const { metric } = threshold;
  if ((metric === 'goodput' || STREAM_METRICS.has(metric)) && !isBroken({ ...EVERYTHING, streamless: false }))
    return 'streams';
  return isBroken({ ...EVERYTHING, unsent: false }) ? 'lag' : 'unsent';
}

/** Our lag makes the run longer by at most the greatest lag plus the longest wait for a connection. */
function isLongWithoutLag(threshold: Threshold, { makespanNs, latency }: RunFigures): boolean {
  const lateNs = (latency.lag.max ?? 0) + (latency.connectionWait.max ?? 0);
  return !holds(((makespanNs ?? 0) - lateNs) / NS_PER_MS, threshold);
}

/** What an objective is read of. */
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

/** An objective holds where every series of its name keeps it: the worst of them, null where one is not known. */
function worstMonitored({ series = '', aggregation, operator }: Threshold, figures: Observable) {
  const each = (figures.monitored?.get(series) ?? []).map((values) => monitoredValue(values, aggregation));
  const known = each.filter((value) => value !== null);
  if (known.length === 0 || known.length < each.length) return null;
  return operator.startsWith('<') ? Math.max(...known) : Math.min(...known);
}

/** Times of answers, and how many took infinitely long. */
interface Times {
  readonly histogram: Histogram;
  readonly infinite: number;
}

/** @param censored times after which we left */
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

/** The share of good requests. Who failed, was refused or turned away kept no limit. */
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

/** Requests that limits are held against, the cancelled ones aside. */
export function judgedByLimits(counts: GoodputFigures, interrupted: boolean): number {
  return counts.served + missedIn(counts, interrupted, EVERYTHING);
}

/** Requests that were not served, as far as they count. */
function missedIn(counts: GoodputFigures, interrupted: boolean, scope: Scope): number {
  const { failed, stopped, refused, unreached, unserved } = counts;
  const unsent = refused + (interrupted ? 0 : unreached);
  return (
    failed - (interrupted ? stopped : 0) + (scope.unsent ? unsent : 0) + (scope.streamless ? unserved : 0)
  );
}

/** Null of no answers, so that nothing can be said. */
function mismatches({ aggregation }: Threshold, mismatched: number, answers: number): number | null {
  if (answers === 0) return null;
  return aggregation.kind === 'count' ? mismatched : mismatched / answers;
}

/**
 * A request that was turned away, or answered whole, is an infinitely slow stream, so that its absence hides no tail.
 * That alone does not break an objective: a quick refusal is not slow.
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

/** The mean over streams with a token; at least one, for runs in which every stream failed. */
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
