import type { ComparedMetric, ComparisonBounds } from '../../documents/comparison.ts';
import { lowerShare } from '../stats/percentiles.ts';
import { normalQuantile } from '../stats/replays.ts';
import {
  type Cut,
  cutOf,
  endsAmong,
  halfWidth,
  jointQuantile,
  type Points,
  sameQuantile,
  spreadsOver,
} from './intervals.ts';
import {
  AGREES,
  ANSWERED,
  CHECKED,
  DIFFERS,
  type PairedAnswers,
  runEndsOf,
  type SideAnswers,
} from './pairs.ts';

const LEAST_PAIRS = 30;
/** SAME needs times of streams and checked answers if at least this share of all pairs has them. */
export const SMALL_PART = 0.1;

/** Whether the request at a position counts. */
type Counts = (at: number) => boolean;
/** Which requests count, on each side. */
interface Counted {
  readonly name: 'failed' | 'turned_away' | 'mismatched';
  readonly a: Counts;
  readonly b: Counts;
}

/**
 * The difference between the shares of counted requests, over windows or runs. Failures come in bursts, so the largest possible
 * increase is estimated over windows and over single requests. For SAME, the larger estimate must be below the floor.
 * @param judged number of metrics that share the error, including this one
 */
export function shareMetric(
  { name, a, b }: Counted,
  runEnds: readonly number[],
  bounds: ComparisonBounds,
  judged: number,
): ComparedMetric {
  const pairs = runEnds.at(-1) ?? 0;
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
    ratioLessLag: null,
    blindWindows: 0,
    doubt: null,
  };
  const cut = cutOf(runEnds, LEAST_PAIRS);
  if (cut === null) {
    const none = { interval: null, interval90: null, noise: null, windows: 0, verdict: 'undecided' as const };
    return { ...base, ...none, pairsNeeded: LEAST_PAIRS * Math.max(5, runEnds.length) };
  }
  const spreads = spreadsOver(cut, sharePoints(b, a));
  const half = halfWidth(cut, spreads, jointQuantile(judged, bounds));
  const most = mostBeyond(b, a, pairs, cut, bounds);
  const verdict = verdictOf(difference, half, most, bounds);
  return {
    ...base,
    interval: [difference - half, difference + half],
    interval90: [-mostBeyond(a, b, pairs, cut, bounds), most],
    noise: spreads[0]!.noise,
    windows: cut.ends.length,
    verdict,
    pairsNeeded: verdict === 'undecided' ? neededFor(shares, pairs, most - difference, bounds) : null,
  };
}

/** A change must exceed chance and the floor. The absence of a change must be proven too. */
function verdictOf(
  difference: number,
  half: number,
  most: number,
  { failureFloor }: ComparisonBounds,
): ComparedMetric['verdict'] {
  if (difference >= failureFloor && difference - half > 0) return 'worse';
  if (difference <= -failureFloor && difference + half < 0) return 'better';
  return most < failureFloor ? 'same' : 'undecided';
}

/**
 * The largest possible excess of one side, at 95 %. It cannot exceed the share of requests that count on that side
 * alone. If that share is near zero, failures and bursts of the other side do not matter. The bound of this share is
 * exact (Clopper and Pearson). If no request counts it is 3 requests at 95 %, and 4.4 if four looks share the error.
 */
function mostBeyond(one: Counts, other: Counts, pairs: number, cut: Cut, bounds: ComparisonBounds): number {
  const never = () => false;
  const alone = (at: number) => one(at) && !other(at);
  const otherAlone = (at: number) => other(at) && !one(at);
  const confidence = sameQuantile(bounds);
  const [more, less] = [numberOf(alone, 0, pairs), numberOf(otherAlone, 0, pairs)];
  const overWindows = (others: Counts) => {
    const spreads = spreadsOver(cut, sharePoints(alone, others));
    return spreads[0]!.mean + halfWidth(cut, spreads, confidence);
  };
  const ofAlone = 1 - lowerShare(1 - more / pairs, confidence, pairs);
  const ofBoth = more + less === 0 ? ofAlone : mostDifference({ pairs, more, less }, confidence);
  return Math.min(Math.max(overWindows(otherAlone), ofBoth), Math.max(overWindows(never), ofAlone));
}

/**
 * The pairs needed: the width falls with the square root of the number. Two thirds of the floor leave room for chance.
 * If nothing counts on either side, it falls with the number itself.
 */
function neededFor(
  { a, b }: { readonly a: number; readonly b: number },
  pairs: number,
  width: number,
  bounds: ComparisonBounds,
): number {
  const { failureFloor } = bounds;
  if (a + b === 0) return Math.ceil(Math.log(1 - sameQuantile(bounds)) / Math.log1p(-failureFloor));
  return Math.ceil(pairs * Math.max(1.5, (width / ((2 / 3) * failureFloor)) ** 2));
}

/** The shares of each part of a cut, the greater as B. */
function sharePoints(more: Counts, less: Counts): (ends: readonly number[]) => Points {
  return (ends) => {
    const sharesOf = (counts: Counts) => ends.map((end, at) => shareOf(counts, ends[at - 1] ?? 0, end));
    return { a: sharesOf(less), b: sharesOf(more) };
  };
}

function numberOf(counts: Counts, from: number, to: number): number {
  let sum = 0;
  for (let at = from; at < to; at++) if (counts(at)) sum += 1;
  return sum;
}

function shareOf(counts: Counts, from: number, to: number): number {
  return to === from ? 0 : numberOf(counts, from, to) / (to - from);
}

const STEPS = 50;

/** Pairs, and how many of them count only on the one side (`more`) or only on the other (`less`). */
interface Discordant {
  readonly pairs: number;
  readonly more: number;
  readonly less: number;
}

/**
 * The largest possible excess of one share, at 95 %, for independent pairs: the score interval of Tango (Statistics in
 * Medicine 17, 1998). Pairs that count on both sides or on neither add no uncertainty. If no pair differs, it is too
 * narrow: 2.7 pairs, where three are needed.
 */
export function mostDifference(discordant: Discordant, quantile = 0.95): number {
  const { pairs, more, less } = discordant;
  const z = normalQuantile(quantile);
  let low = (more - less) / pairs;
  let high = 1;
  for (let step = 0; step < STEPS; step++) {
    const middle = (low + high) / 2;
    if (scoreOf(discordant, middle) > -z) low = middle;
    else high = middle;
  }
  return high;
}

/** How many standard errors the observed difference is above the given one, if the given one is true. */
function scoreOf({ pairs, more, less }: Discordant, difference: number): number {
  const linear = (2 * pairs - more + less) * difference - more - less;
  const constant = -less * difference * (1 - difference);
  const shareLess = (Math.sqrt(Math.max(0, linear ** 2 - 8 * pairs * constant)) - linear) / (4 * pairs);
  const variance = pairs * (2 * shareLess + difference * (1 - difference));
  const distance = more - less - pairs * difference;
  return distance === 0 ? 0 : distance / Math.sqrt(Math.max(0, variance));
}

/**
 * Total variation between the statuses of pairs that both sides answered, 0 to 1: the share of answers that would
 * need another status. Failures and requests turned away have metrics of their own.
 */
export function statusDistance({ count, a, b }: PairedAnswers): number {
  const differences = new Map<number, number>();
  let answered = 0;
  for (let at = 0; at < count; at++) {
    if (!isAnswered(a, b, at)) continue;
    answered += 1;
    differences.set(a.status[at]!, (differences.get(a.status[at]!) ?? 0) + 1);
    differences.set(b.status[at]!, (differences.get(b.status[at]!) ?? 0) - 1);
  }
  let sum = 0;
  for (const difference of differences.values()) sum += Math.abs(difference);
  return answered === 0 ? 0 : sum / 2 / answered;
}

/** Significance level for requests where only one side differs from the recording. */
const CLEAR_CHANCE = 0.01;

/** Positions of the pairs with both answers compared to the recorded one. */
export function checkedPairs({ count, a, b }: PairedAnswers): Uint32Array {
  const found = new Uint32Array(count);
  let kept = 0;
  for (let at = 0; at < count; at++) {
    if (!isAnswered(a, b, at)) continue;
    if ((a.traits[at]! & CHECKED) === 0 || (b.traits[at]! & CHECKED) === 0) continue;
    found[kept] = at;
    kept += 1;
  }
  return found.subarray(0, kept);
}

function isAnswered(a: SideAnswers, b: SideAnswers, at: number): boolean {
  return a.outcome[at] === ANSWERED && b.outcome[at] === ANSWERED;
}

/**
 * Shares of answers that differ from the recorded ones, among pairs with both compared. The result is never SAME if B
 * differs on requests that A answered as recorded, and this happens more often than by chance or A never differs. A has
 * shown that these answers can be repeated.
 */
export function mismatchMetric(
  pairs: PairedAnswers,
  checked: Uint32Array,
  bounds: ComparisonBounds,
  judged: number,
): ComparedMetric {
  const { a, b } = pairs;
  const differsOn =
    ({ traits }: SideAnswers) =>
    (at: number) =>
      (traits[checked[at]!]! & DIFFERS) > 0;
  const counted = { name: 'mismatched', a: differsOn(a), b: differsOn(b) } as const;
  const required = checked.length >= SMALL_PART * pairs.count;
  const runEnds = endsAmong(checked, runEndsOf(pairs));
  const metric = { ...shareMetric(counted, runEnds, bounds, judged), required };
  let [inA, onlyA, onlyB] = [0, 0, 0];
  for (const at of checked) {
    const [one, other] = [a.traits[at]!, b.traits[at]!];
    if ((one & DIFFERS) > 0) inA += 1;
    if ((one & DIFFERS) > 0 && (other & AGREES) > 0) onlyA += 1;
    if ((one & AGREES) > 0 && (other & DIFFERS) > 0) onlyB += 1;
  }
  const differs = inA === 0 ? onlyB > 0 : chanceOfHeads(onlyB, onlyA + onlyB) <= CLEAR_CHANCE;
  if (metric.verdict === 'worse') return metric;
  // Models that answer differently each time differ on both sides, so the interval of the share is too wide. Then the
  // requests that differ on only one side show whether the change is chance.
  if (!differs) {
    const isTold = metric.verdict !== 'undecided' || metric.windows === 0;
    return isTold ? metric : { ...metric, verdict: 'same', pairsNeeded: null };
  }
  return { ...metric, verdict: 'undecided', required: true, pairsNeeded: checked.length * 2 };
}

/** The probability of at least this many heads in this many throws, as a sum of logarithms. */
export function chanceOfHeads(heads: number, throws: number): number {
  let chance = 0;
  let logChoose = 0;
  // Starts with all heads. Each term is computed from the previous one.
  for (let tails = 0; tails <= throws - heads; tails++) {
    if (tails > 0) logChoose += Math.log(throws - tails + 1) - Math.log(tails);
    chance += Math.exp(logChoose - throws * Math.LN2);
  }
  return Math.min(1, chance);
}
