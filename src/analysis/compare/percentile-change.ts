import { nearestRank } from '../../core/histogram.ts';
import type { ComparisonBounds } from '../../documents/comparison.ts';
import type { Bounds, MetricVerdict } from './compared-metric.ts';
import { JOINT_CONFIDENCE, SAME_CONFIDENCE } from './comparison-bounds.ts';
import type { PairedTimes } from './paired-answers.ts';
import { halfWidth, hodgesLehmann, spreadsOver, windowEdges } from './window-interval.ts';

/** A window in which one side has no answer at the percentile differs by this, and by no more. */
const MOST_DIFFERENCE = Math.log(100);
/** Where neither side has an answer at the percentile in more of the windows than this, the others do not stand for them. */
const MOST_BLIND_SHARE = 0.1;

/** How a percentile of B differs from that of A over windows of the same requests: ratios, B ÷ A. */
export interface PercentileChange {
  /** Over the windows in which a side has an answer there; null where none has, as is what follows. */
  readonly ratio: number | null;
  readonly interval: Bounds | null;
  readonly interval90: Bounds | null;
  readonly shift: number | null;
  /** Windows that say nothing, for neither side has an answer at the percentile. */
  readonly blindWindows: number;
  readonly verdict: MetricVerdict;
  /** Undecided for windows that say nothing: more pairs would be no help. */
  readonly isBlind: boolean;
  /** How wide the interval of 90 % is to either side, as a logarithm. */
  readonly halfLog90: number;
}

/**
 * A window that says nothing counts as no difference, which makes no change sure; and it shows none to be absent.
 * @param judged metrics that share the error between them, this included
 */
export function percentileChange(
  { a, b }: PairedTimes,
  percent: number,
  windows: number,
  judged: number,
  bounds: ComparisonBounds,
): PercentileChange {
  const differencesOf = (count: number) => windowDifferences(a, b, percent, count);
  const known = differencesOf(windows).filter((each) => !Number.isNaN(each));
  const blindWindows = windows - known.length;
  if (known.length === 0) {
    const none = { ratio: null, interval: null, interval90: null, shift: null, halfLog90: 0 };
    return { ...none, blindWindows, verdict: 'undecided', isBlind: true };
  }
  const spreads = spreadsOver(windows, (count) =>
    differencesOf(count).map((each) => (Number.isNaN(each) ? 0 : each)),
  );
  // What is known, without the windows that are not.
  const scale = windows / known.length;
  const mean = spreads[0]!.mean * scale;
  const half = halfWidth(spreads, 1 - (1 - JOINT_CONFIDENCE) / 2 / judged) * scale;
  const half90 = halfWidth(spreads, (1 + SAME_CONFIDENCE) / 2) * scale;
  const told = verdictOf(mean, half, half90, bounds);
  const isBlind = (told === 'same' || told === 'undecided') && blindWindows > MOST_BLIND_SHARE * windows;
  return {
    ratio: Math.exp(mean),
    interval: [Math.exp(mean - half), Math.exp(mean + half)],
    interval90: [Math.exp(mean - half90), Math.exp(mean + half90)],
    shift: Math.exp(hodgesLehmann(known)),
    blindWindows,
    verdict: isBlind ? 'undecided' : told,
    isBlind,
    halfLog90: half90,
  };
}

/** All in logarithms. A change must be more than chance and more than the floor; no change must be shown as well. */
function verdictOf(mean: number, half: number, half90: number, bounds: ComparisonBounds): MetricVerdict {
  const floor = Math.log1p(bounds.floor);
  if (mean - half > 0 && mean >= floor) return 'worse';
  if (mean + half < 0 && mean <= -floor) return 'better';
  return mean + half90 < Math.log1p(bounds.detect) ? 'same' : 'undecided';
}

function windowDifferences(a: Float64Array, b: Float64Array, percent: number, windows: number): number[] {
  return Array.from({ length: windows }, (_, at) => {
    const [from, to] = windowEdges(a.length, windows, at);
    return differenceOf(
      percentileOf(a.subarray(from, to), percent),
      percentileOf(b.subarray(from, to), percent),
    );
  });
}

/** NaN where neither side has an answer. */
function differenceOf(a: number, b: number): number {
  if (a === Number.POSITIVE_INFINITY && b === Number.POSITIVE_INFINITY) return Number.NaN;
  const difference = Math.log(Math.max(1, b)) - Math.log(Math.max(1, a));
  return Math.max(-MOST_DIFFERENCE, Math.min(MOST_DIFFERENCE, difference));
}

/** Nearest rank. NaN where there is none. */
export function percentileOf(values: Float64Array, percent: number): number {
  if (values.length === 0) return Number.NaN;
  return Float64Array.from(values).sort()[nearestRank(percent, values.length) - 1]!;
}
