import type { ComparedMetric, MetricVerdict } from './compared-metric.ts';
import { type ComparisonBounds, JOINT_CONFIDENCE, SAME_CONFIDENCE } from './comparison-bounds.ts';
import { halfWidth, hodgesLehmann, spreadsOver, windowCount, windowEdges } from './window-interval.ts';

const LEAST_PAIRS = 30;
/** A difference that requests taken one by one would show only once in a hundred by chance. */
const CLEAR_Z = 2.576;

/** Whether the request at a position counts, on either side. */
export interface Counted {
  readonly name: 'failed' | 'turned_away' | 'mismatched';
  readonly a: (at: number) => boolean;
  readonly b: (at: number) => boolean;
}

/**
 * Difference of the shares of requests that count, window by window. Failures come in bursts: more of them than
 * requests alone would show by chance, in too few windows to be sure, is undecided and not the same.
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
  const differencesOf = (count: number) =>
    Array.from({ length: count }, (_, at) => {
      const [from, to] = windowEdges(pairs, count, at);
      return shareOf(b, from, to) - shareOf(a, from, to);
    });
  const spreads = spreadsOver(windows, differencesOf);
  const half = halfWidth(spreads, 1 - (1 - JOINT_CONFIDENCE) / 2 / judged);
  const half90 = halfWidth(spreads, (1 + SAME_CONFIDENCE) / 2);
  const verdict = verdictOf(difference, half, standardError(shares, pairs), bounds);
  return {
    ...base,
    interval: [difference - half, difference + half],
    interval90: [difference - half90, difference + half90],
    shift: hodgesLehmann(differencesOf(windows)),
    windows,
    verdict,
    pairsNeeded: verdict === 'undecided' ? pairs * 2 : null,
  };
}

function verdictOf(
  difference: number,
  half: number,
  error: number,
  { failureFloor }: ComparisonBounds,
): MetricVerdict {
  if (Math.abs(difference) < failureFloor) return 'same';
  if (difference - half > 0) return 'worse';
  if (difference + half < 0) return 'better';
  return difference > CLEAR_Z * error ? 'undecided' : 'same';
}

/** Of a difference of two shares of requests that do not hang together. */
function standardError({ a, b }: { readonly a: number; readonly b: number }, pairs: number): number {
  return Math.sqrt((a * (1 - a) + b * (1 - b)) / Math.max(1, pairs));
}

function shareOf(counts: (at: number) => boolean, from: number, to: number): number {
  let sum = 0;
  for (let at = from; at < to; at++) if (counts(at)) sum += 1;
  return to === from ? 0 : sum / (to - from);
}
