import type { ComparedMetric, ComparisonBounds } from '../../documents/comparison.ts';
import type { MetricVerdict } from './compared-metric.ts';
import { JOINT_CONFIDENCE, SAME_CONFIDENCE } from './comparison-bounds.ts';
import { mostDifference } from './share-difference.ts';
import { halfWidth, hodgesLehmann, spreadsOver, windowCount, windowEdges } from './window-interval.ts';

const LEAST_PAIRS = 30;

/** Whether the request at a position counts. */
type Counts = (at: number) => boolean;
/** Whether the request at a position counts, on either side. */
export interface Counted {
  readonly name: 'failed' | 'turned_away' | 'mismatched';
  readonly a: Counts;
  readonly b: Counts;
}

/**
 * Difference of the shares of requests that count, window by window. Failures come in bursts: what could be more of
 * them is by the windows and by single requests, whichever is more, and the same is only what is not.
 * @param judged metrics that share the error between them, this included
 */
export function shareMetric(
  { name, a, b }: Counted,
  pairs: number,
  bounds: ComparisonBounds,
  judged: number,
): ComparedMetric {
  const shares = { a: shareOf(a, 0, pairs), b: shareOf(b, 0, pairs) };
  const difference = shares.b - shares.a;
  const base = {
    name,
    unit: 'share' as const,
    ...(pairs === 0 ? { a: null, b: null } : shares),
    ratio: shares.a > 0 ? shares.b / shares.a : null,
    difference: pairs === 0 ? null : difference,
    pairs,
    required: true,
    ...{ ratioLessLag: null, blindWindows: 0, doubt: null },
  };
  const windows = windowCount(pairs, LEAST_PAIRS);
  if (windows === 0) {
    const none = { interval: null, interval90: null, shift: null, windows: 0, verdict: 'undecided' as const };
    return { ...base, ...none, pairsNeeded: LEAST_PAIRS * 5 };
  }
  const half = halfWidth(
    spreadsOver(windows, windowDifferences(b, a, pairs)),
    1 - (1 - JOINT_CONFIDENCE) / 2 / judged,
  );
  const most = mostBeyond(b, a, pairs, windows);
  const verdict = verdictOf(difference, half, most, bounds);
  return {
    ...base,
    interval: [difference - half, difference + half],
    interval90: [-mostBeyond(a, b, pairs, windows), most],
    shift: hodgesLehmann(windowDifferences(b, a, pairs)(windows)),
    windows,
    verdict,
    pairsNeeded: verdict === 'undecided' ? neededFor(pairs, most - difference, bounds) : null,
  };
}

/** A change must be more than chance and more than the floor; that there is none must be shown as well. */
function verdictOf(
  difference: number,
  half: number,
  most: number,
  { failureFloor }: ComparisonBounds,
): MetricVerdict {
  if (difference >= failureFloor && difference - half > 0) return 'worse';
  if (difference <= -failureFloor && difference + half < 0) return 'better';
  return most < failureFloor ? 'same' : 'undecided';
}

/**
 * The most, with 95 %, that the one side counts more often. It cannot be more than what counts there alone: where
 * that is next to nothing, it is no matter how often and in what bursts the other side counts.
 */
function mostBeyond(one: Counts, other: Counts, pairs: number, windows: number): number {
  const never = () => false;
  const alone = (at: number) => one(at) && !other(at);
  const mostOf = (less: Counts) => {
    const spreads = spreadsOver(windows, windowDifferences(alone, less, pairs));
    const ofWindows = spreads[0]!.mean + halfWidth(spreads, (1 + SAME_CONFIDENCE) / 2);
    return Math.max(
      ofWindows,
      mostDifference({ pairs, more: numberOf(alone, pairs), less: numberOf(less, pairs) }),
    );
  };
  return Math.min(
    mostOf((at) => other(at) && !one(at)),
    mostOf(never),
  );
}

/** The width falls with the root of the number; two thirds of the floor leave room for chance. */
function neededFor(pairs: number, width: number, { failureFloor }: ComparisonBounds): number {
  return Math.ceil(pairs * Math.max(1.5, (width / ((2 / 3) * failureFloor)) ** 2));
}

function windowDifferences(more: Counts, less: Counts, pairs: number): (windows: number) => number[] {
  return (windows) =>
    Array.from({ length: windows }, (_, at) => {
      const [from, to] = windowEdges(pairs, windows, at);
      return shareOf(more, from, to) - shareOf(less, from, to);
    });
}

function numberOf(counts: Counts, pairs: number): number {
  let sum = 0;
  for (let at = 0; at < pairs; at++) if (counts(at)) sum += 1;
  return sum;
}

function shareOf(counts: Counts, from: number, to: number): number {
  let sum = 0;
  for (let at = from; at < to; at++) if (counts(at)) sum += 1;
  return to === from ? 0 : sum / (to - from);
}
