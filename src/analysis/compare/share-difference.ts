/** One side of an interval of 90 %. */
const Z = 1.6449;
const STEPS = 50;

/** Requests on both sides, and of how many the one side alone counts, and the other. */
export interface Discordant {
  readonly pairs: number;
  readonly more: number;
  readonly less: number;
}

/**
 * The most that the share of the one side may be greater by, with 95 %, of pairs that do not hang together: the score
 * interval of Tango (Statistics in Medicine 17, 1998). Pairs of which both count, or neither, leave no doubt, and
 * where no pair differs, it is 2.7 of them.
 */
export function mostDifference(discordant: Discordant): number {
  const { pairs, more, less } = discordant;
  let low = (more - less) / pairs;
  let high = 1;
  for (let step = 0; step < STEPS; step++) {
    const middle = (low + high) / 2;
    if (scoreOf(discordant, middle) > -Z) low = middle;
    else high = middle;
  }
  return high;
}

/** How many standard errors what was seen lies above such a difference, were it the true one. */
function scoreOf({ pairs, more, less }: Discordant, difference: number): number {
  const linear = (2 * pairs - more + less) * difference - more - less;
  const constant = -less * difference * (1 - difference);
  const shareLess = (Math.sqrt(Math.max(0, linear ** 2 - 8 * pairs * constant)) - linear) / (4 * pairs);
  const variance = pairs * (2 * shareLess + difference * (1 - difference));
  const distance = more - less - pairs * difference;
  return distance === 0 ? 0 : distance / Math.sqrt(Math.max(0, variance));
}
