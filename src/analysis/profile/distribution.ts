import type { Histogram } from '../../core/histogram.ts';
import { type Distribution, SHAPE_PERCENTS } from '../../documents/parts.ts';
import { byPercent } from '../../documents/percentiles.ts';
import type { ShapeStep } from '../../documents/profile.ts';

/** Steps for each doubling. */
const STEPS_PER_DOUBLING = 2;

/** @param unit factor from the histogram's unit to the wanted unit: 0.001 for µs as ms */
export function distributionOf(histogram: Histogram, unit = 1): Distribution {
  const scaled = (value: number | null) => (value === null ? null : value * unit);
  return {
    count: histogram.count,
    mean: scaled(histogram.mean),
    ...byPercent(SHAPE_PERCENTS, (percent) => scaled(histogram.percentile(percent))),
    max: scaled(histogram.max),
  };
}

/** The distribution of each of several histograms. */
export function distributionsOf<Name extends string>(
  histograms: Readonly<Record<Name, Histogram>>,
): Record<Name, Distribution> {
  const entries = Object.entries<Histogram>(histograms);
  return Object.fromEntries(entries.map(([name, histogram]) => [name, distributionOf(histogram)])) as Record<
    Name,
    Distribution
  >;
}

/**
 * The distribution as a short list with two steps for each doubling; the first step is for 0. Steps below the smallest
 * and above the greatest value are left out.
 */
export function shapeOf(histogram: Histogram, unit = 1): ShapeStep[] {
  const steps: ShapeStep[] = [];
  const total = histogram.count;
  let seen = 0;
  let edge = 0;
  for (const { highest, count } of histogram.bins()) {
    while (highest > edge) {
      if (seen > 0) pushStep(steps, edge * unit, seen / total);
      edge = nextEdge(edge, highest);
    }
    seen += count;
  }
  if (total > 0) pushStep(steps, (histogram.max ?? 0) * unit, 1);
  return steps;
}

/** Adds a step unless the share is unchanged. The greatest value may be below the edge of its step. */
function pushStep(steps: ShapeStep[], upTo: number, share: number): void {
  if (steps.at(-1)?.share !== share) steps.push({ upTo, share });
}

/** The next edge; if the value is far away, the last edge below it. */
function nextEdge(edge: number, value: number): number {
  const after =
    edge === 0 ? 1 : 2 ** ((Math.round(Math.log2(edge) * STEPS_PER_DOUBLING) + 1) / STEPS_PER_DOUBLING);
  const near = 2 ** (Math.floor(Math.log2(Math.max(1, value)) * STEPS_PER_DOUBLING) / STEPS_PER_DOUBLING);
  return Math.max(after, near);
}
