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

/** How sure the interval is. */
const CONFIDENCE = 0.95;
/** Cells of the logarithm of the boundary, and of the logarithm of the spread. */
const BOUNDARY_CELLS = 400;
const SPREAD_CELLS = 24;
/** Spreads of the logistic curve, in the logarithm of the multiplier: from a cliff to a long slope. */
const LEAST_SPREAD = 0.004;
const MOST_SPREAD = 0.2;
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
  const step = (Math.max(...logs) + Math.log(BEYOND) - from) / BOUNDARY_CELLS;
  const centres = Array.from({ length: BOUNDARY_CELLS }, (_, at) => from + (at + 0.5) * step);
  const spreads = Array.from(
    { length: SPREAD_CELLS },
    (_, at) => LEAST_SPREAD * (MOST_SPREAD / LEAST_SPREAD) ** (at / (SPREAD_CELLS - 1)),
  );
  const likelihoods = spreads.map((spread) => centres.map((centre) => logLikelihood(judged, centre, spread)));
  const most = likelihoods.reduce((max, row) => Math.max(max, ...row), Number.NEGATIVE_INFINITY);
  const weights = likelihoods.map((row) => row.map((each) => Math.exp(each - most)));
  const ofBoundary = centres.map((_, at) => weights.reduce((sum, row) => sum + row[at]!, 0));
  const ofSpread = weights.map((row) => row.reduce((sum, each) => sum + each, 0));
  const quantile = (share: number) => Math.exp(from + quantileCell(ofBoundary, share) * step);
  const [low, multiplier, high] = [(1 - CONFIDENCE) / 2, 0.5, (1 + CONFIDENCE) / 2].map(quantile) as [
    number,
    number,
    number,
  ];
  const spread = spreads[Math.floor(quantileCell(ofSpread, 0.5))]!;
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
    return sum + good * logLogistic(odds) + (judged - good) * logLogistic(-odds);
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
