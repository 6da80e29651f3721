import type { Histogram } from '../core/histogram.ts';
import type { RunFigures } from './run-statistics.ts';
import type { SloOperator, Threshold } from './slo.ts';

const NS_PER_MS = 1e6;

/** What one objective came to. */
export interface SloResult {
  readonly threshold: Threshold;
  /** In the unit of the limit; Infinity when too much failed, null when nothing was measured. */
  readonly observed: number | null;
  /** Null when nothing was measured. */
  readonly ok: boolean | null;
  /**
   * Of an objective for `latency`: whether service latency breaks it too, without what we refused, which has none.
   * Null for others.
   */
  readonly brokenByService: boolean | null;
}

/** Requests that count as infinitely slow, and those that do not count because we stopped them ourselves. */
interface Unanswered {
  readonly infinite: number;
  /** Of them, those that our own cap or ceiling refused. */
  readonly refused: number;
  readonly failed: number;
  readonly sent: number;
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
  const unanswered: Unanswered = {
    infinite: latency.failed + outcomes.refused - (interrupted ? latency.stopped : 0),
    refused: outcomes.refused,
    failed: outcomes.failed - (interrupted ? outcomes.stopped : 0),
    sent: outcomes.sent - (interrupted ? outcomes.stopped : 0),
  };
  return thresholds.map((threshold) => evaluate(threshold, figures, unanswered));
}

/** Answers and failures that stand behind the percentiles, stalled stretches left out. */
export function sampleCount(figures: RunFigures, interrupted: boolean): number {
  const { latency, outcomes } = figures;
  return latency.service.count + latency.failed + outcomes.refused - (interrupted ? latency.stopped : 0);
}

function evaluate(threshold: Threshold, figures: RunFigures, unanswered: Unanswered): SloResult {
  const observed = observe(threshold, figures, unanswered);
  const ok = observed === null ? null : holds(observed, threshold.operator, threshold.limit);
  let brokenByService: boolean | null = null;
  if (threshold.metric === 'latency') {
    const service = timeMs(threshold, figures.latency.service, unanswered.infinite - unanswered.refused);
    brokenByService = service !== null && !holds(service, threshold.operator, threshold.limit);
  }
  return { threshold, observed, ok, brokenByService };
}

function observe(threshold: Threshold, figures: RunFigures, unanswered: Unanswered): number | null {
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
    case 'itl':
    case 'tpot':
    case 'mismatch':
      return null;
  }
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
