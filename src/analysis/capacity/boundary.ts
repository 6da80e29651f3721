/** The windows at one load: how many kept a goal, and how many were judged. */
export interface JudgedLoad {
  readonly multiplier: number;
  readonly good: number;
  readonly judged: number;
}

/** Where the target's capacity ends, as multipliers of the recorded traffic. */
export interface BoundaryFit {
  /** The load at which half of the windows pass. */
  readonly multiplier: number;
  /** The 95 % interval of the boundary. */
  readonly low: number;
  readonly high: number;
  /** `(high − low) / multiplier`. */
  readonly width: number;
  /** Distance from the load at which 90 % of windows pass to that at which 10 % pass, as a share of the boundary. */
  readonly transition: number;
  /** `cliff` if all windows pass up to a load and none above it, so that only the bracket is known. */
  readonly shape: 'smooth' | 'cliff';
}

/**
 * Posterior probability of an interval that must hold with 95 %. It is larger than 0.95, because a search ends when the
 * interval is narrow, which favours intervals that are narrow by chance.
 */
const CONFIDENCE = 0.975;
/** Cells of the logarithm of the boundary. */
const CELLS = 240;
/**
 * Spreads of the logistic curve, in the logarithm of the multiplier, from a cliff to a long slope. All are equally
 * likely a priori, so that a few windows that are in order by chance do not look like a cliff.
 */
const SPREADS = Array.from({ length: 20 }, (_, at) => 0.005 + 0.015 * at);
/** How far beyond the tested loads the boundary is searched, as a factor. */
const BEYOND = 1.5;
/** A logistic curve falls from 0.9 to 0.1 within this many spreads. */
const TRANSITION_SPREADS = 2 * Math.log(9);

/**
 * Fits the share of passing windows as a falling logistic curve of the logarithm of the multiplier. The boundary is the
 * load at which the curve is one half. Its interval is from the posterior over all spreads, computed on a grid with
 * flat priors of both logarithms. So it needs no window on the other side of a slope, and a cliff stays as uncertain as
 * its bracket. This is the fit of PLRsearch (Internet-Draft draft-vpolak-bmwg-plrsearch), with windows as trials.
 * @returns null if no window passed or none failed: then only one side is known
 */
export function fitBoundary(loads: readonly JudgedLoad[]): BoundaryFit | null {
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

/** Share of the windows that pass at a load, by the fitted curve. */
export function passingShare(
  { multiplier, transition }: Pick<BoundaryFit, 'multiplier' | 'transition'>,
  load: number,
): number {
  const spread = (2 * Math.asinh(transition / 2)) / TRANSITION_SPREADS;
  return Math.exp(logLogistic(Math.log(multiplier / load) / spread));
}

/**
 * How far above its capacity a target may be while its windows still pass, as a share of the capacity. At `1 + share`,
 * waits grow by `share` of a second each second, and break the limit only at the end of a step.
 * @param limitS the largest limit of a time; null without one
 */
export function unseenOverload(limitS: number | null, settlingS: number, windowS: number): number {
  return (limitS ?? 0) / (settlingS + windowS);
}

function logLikelihood(loads: readonly JudgedLoad[], centre: number, spread: number): number {
  return loads.reduce((sum, { multiplier, good, judged }) => {
    const odds = (centre - Math.log(multiplier)) / spread;
    return sum + judged * logLogistic(odds) - (judged - good) * odds;
  }, 0);
}

/** Logarithm of 1 / (1 + e^−x), exact for very small and very large x. */
function logLogistic(x: number): number {
  return x > 0 ? -Math.log1p(Math.exp(-x)) : x - Math.log1p(Math.exp(x));
}

/** The position below which this share of all weight lies, in cells from the edge of the first. */
function quantileCell(weights: readonly number[], share: number): number {
  let left = share * weights.reduce((sum, each) => sum + each, 0);
  for (const [at, weight] of weights.entries()) {
    if (weight > 0 && left <= weight) return Math.min(at + left / weight, weights.length - 1e-9);
    left -= weight;
  }
  return weights.length - 1e-9;
}

/** Whether there is a load below which all windows pass and above which none does. */
function isSeparated(loads: readonly JudgedLoad[]): boolean {
  const passing = loads.filter(({ good }) => good > 0).map(({ multiplier }) => multiplier);
  const failing = loads.filter(({ good, judged }) => good < judged).map(({ multiplier }) => multiplier);
  return Math.max(...passing) < Math.min(...failing);
}
