/** Windows at one load: how many kept a goal, and how many were judged. */
export interface LoadOutcome {
  readonly multiplier: number;
  readonly good: number;
  readonly judged: number;
}

/** Where the target's capacity ends, as multipliers of the recorded traffic. */
export interface BoundaryFit {
  /** Half of the windows pass here. */
  readonly multiplier: number;
  /** Holds the boundary with 95 %. */
  readonly low: number;
  readonly high: number;
  /** `(high − low) / multiplier`. */
  readonly width: number;
  /** From a load at which nine of ten windows pass to one at which one does, as a share of the boundary. */
  readonly transition: number;
  /** `cliff` where all windows pass up to a load and none beyond, so that only the bracket is known. */
  readonly shape: 'smooth' | 'cliff';
}

/**
 * How sure the posterior is of an interval that is to hold with 95 %: a search ends once it is narrow, which favours
 * those that happen to be.
 */
const CONFIDENCE = 0.975;
/** Cells of the logarithm of the boundary. */
const CELLS = 240;
/**
 * Spreads of the logistic curve, in the logarithm of the multiplier: from a cliff to a long slope. All count as equally
 * likely, so that a few windows that happen to fall into place are not taken for a cliff.
 */
const SPREADS = Array.from({ length: 20 }, (_, at) => 0.005 + 0.015 * at);
/** How far beyond the loads that were played the boundary is looked for. */
const BEYOND = 1.5;
/** A logistic curve falls from 0.9 to 0.1 within so many spreads. */
const TRANSITION_SPREADS = 2 * Math.log(9);

/**
 * Fits the share of windows that pass as a falling logistic curve of the logarithm of the multiplier, and gives the
 * load at which it is a half. The interval is that of the posterior of the boundary over all spreads, on a grid and
 * with flat priors of both logarithms: it needs no window on the other side of a slope, and says what a cliff leaves
 * open. This is the fit of PLRsearch (Internet-Draft draft-vpolak-bmwg-plrsearch) with windows for trials.
 * @returns null where no window passed or none failed: then only one side is known
 */
export function fitBoundary(loads: readonly LoadOutcome[]): BoundaryFit | null {
  const judged = loads.filter((load) => load.judged > 0);
  if (!judged.some(({ good }) => good > 0) || !judged.some((load) => load.good < load.judged)) return null;
  const logs = judged.map(({ multiplier }) => Math.log(multiplier));
  const from = Math.min(...logs) - Math.log(BEYOND);
  const step = (Math.max(...logs) + Math.log(BEYOND) - from) / CELLS;
  const likelihoods = SPREADS.map((spread) =>
    Float64Array.from({ length: CELLS }, (_, at) => logLikelihood(judged, from + (at + 0.5) * step, spread)),
  );
  const most = likelihoods.reduce((max, row) => Math.max(max, ...row), Number.NEGATIVE_INFINITY);
  const weights = likelihoods.map((row) => row.map((each) => Math.exp(each - most)));
  const ofBoundary = Array.from({ length: CELLS }, (_, at) =>
    weights.reduce((sum, row) => sum + row[at]!, 0),
  );
  const ofSpread = weights.map((row) => row.reduce((sum, each) => sum + each, 0));
  const boundaryAt = (share: number) => Math.exp(from + quantileCell(ofBoundary, share) * step);
  const [low, multiplier, high] = [
    boundaryAt((1 - CONFIDENCE) / 2),
    boundaryAt(0.5),
    boundaryAt((1 + CONFIDENCE) / 2),
  ];
  const spread = SPREADS[Math.floor(quantileCell(ofSpread, 0.5))]!;
  return {
    multiplier,
    low,
    high,
    width: (high - low) / multiplier,
    transition: 2 * Math.sinh((TRANSITION_SPREADS * spread) / 2),
    shape: isSeparated(judged) ? 'cliff' : 'smooth',
  };
}

function logLikelihood(loads: readonly LoadOutcome[], centre: number, spread: number): number {
  return loads.reduce((sum, { multiplier, good, judged }) => {
    const odds = (centre - Math.log(multiplier)) / spread;
    return sum + judged * logLogistic(odds) - (judged - good) * odds;
  }, 0);
}

/** Logarithm of 1 / (1 + e^−x), exact at both ends. */
function logLogistic(x: number): number {
  return x > 0 ? -Math.log1p(Math.exp(-x)) : x - Math.log1p(Math.exp(x));
}

/** Where this share of all weight lies below, in cells from the first one's edge. */
function quantileCell(weights: readonly number[], share: number): number {
  let left = share * weights.reduce((sum, each) => sum + each, 0);
  for (const [at, weight] of weights.entries()) {
    if (weight > 0 && left <= weight) return Math.min(at + left / weight, weights.length - 1e-9);
    left -= weight;
  }
  return weights.length - 1e-9;
}

/** Whether every load below one passes always, and every other never. */
function isSeparated(loads: readonly LoadOutcome[]): boolean {
  const passing = loads.filter(({ good }) => good > 0).map(({ multiplier }) => multiplier);
  const failing = loads.filter(({ good, judged }) => good < judged).map(({ multiplier }) => multiplier);
  return Math.max(...passing) < Math.min(...failing);
}
