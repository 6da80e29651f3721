import type { Histogram, HistogramBin } from '../core/histogram.ts';

/**
 * Relative move of a gap that is not held against it: two steps of the histogram, which is what counting costs.
 */
const RELATIVE_TOLERANCE = 2 / 1024;

/** A bin on the scale where the mean is 1, with the share of all values up to its end. */
interface ShareBin {
  readonly lowest: number;
  readonly highest: number;
  readonly before: number;
  readonly through: number;
}

/**
 * Kolmogorov–Smirnov distance of two gap distributions, each scaled to a mean of 1 so that only shape counts:
 * the greatest difference between their distribution functions, 0 to 1. Differences that moving gaps by 0.2 %
 * or by one tick would explain are left out (counting and whole ticks make them), so it never exceeds the exact
 * distance. Null when either has no gaps, or only gaps of 0.
 */
export function gapDistance(a: Histogram, b: Histogram): number | null {
  const meanA = a.mean;
  const meanB = b.mean;
  if (!meanA || !meanB) return null;
  const tick = 1 / meanA + 1 / meanB;
  const binsA = shareBins(a, meanA);
  const binsB = shareBins(b, meanB);
  return Math.max(excess(binsA, binsB, tick), excess(binsB, binsA, tick));
}

function shareBins(histogram: Histogram, mean: number): ShareBin[] {
  const bins: ShareBin[] = [];
  let seen = 0;
  for (const bin of histogram.bins()) {
    bins.push(shareBin(bin, mean, seen, histogram.count));
    seen += bin.count;
  }
  return bins;
}

function shareBin(bin: HistogramBin, mean: number, seen: number, total: number): ShareBin {
  return {
    lowest: bin.lowest / mean,
    highest: bin.highest / mean,
    before: seen / total,
    through: (seen + bin.count) / total,
  };
}

/**
 * The most by which `ours` differs, at the ends of its bins, from every value the other distribution function
 * takes within the tolerance. `tick` is the absolute part of the tolerance on the scaled axis.
 */
function excess(ours: readonly ShareBin[], others: readonly ShareBin[], tick: number): number {
  let worst = 0;
  let surelyBelow = 0;
  let possiblyBelow = 0;
  for (const bin of ours) {
    const lowEdge = bin.highest * (1 - RELATIVE_TOLERANCE) - tick;
    const highEdge = bin.highest * (1 + RELATIVE_TOLERANCE) + tick;
    while (surelyBelow < others.length && others[surelyBelow]!.highest <= lowEdge) surelyBelow += 1;
    while (possiblyBelow < others.length && others[possiblyBelow]!.lowest <= highEdge) possiblyBelow += 1;
    const least = others[surelyBelow - 1]?.through ?? 0;
    const most = others[possiblyBelow - 1]?.through ?? 0;
    worst = Math.max(worst, bin.through - most, least - bin.through);
  }
  return worst;
}
