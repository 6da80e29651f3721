import type { ComparedMetric, ComparisonBounds } from '../../documents/comparison.ts';
import { SMALL_PART } from './comparison-bounds.ts';
import { AGREES, ANSWERED, CHECKED, DIFFERS, type PairedAnswers } from './paired-answers.ts';
import { shareMetric } from './share-metrics.ts';

/** Of requests of which one side alone differs; chance alone makes it B's so often at most once in a hundred. */
const CLEAR_CHANCE = 0.01;

/**
 * Positions of the pairs of which both answers were held against the recorded one. What failed or was turned away
 * has metrics of its own.
 */
export function checkedPairs({ count, aOutcome, bOutcome, aTraits, bTraits }: PairedAnswers): Uint32Array {
  const found = new Uint32Array(count);
  let kept = 0;
  for (let at = 0; at < count; at++) {
    if (aOutcome[at] !== ANSWERED || bOutcome[at] !== ANSWERED) continue;
    if ((aTraits[at]! & CHECKED) === 0 || (bTraits[at]! & CHECKED) === 0) continue;
    found[kept] = at;
    kept += 1;
  }
  return found.subarray(0, kept);
}

/**
 * Shares of answers that differ from the recorded ones, of pairs of which both were compared. Where B differs on
 * requests that A answered as recorded, more than chance divides them or where A differs nowhere, it is never the
 * same: A has shown that these answers can be had again.
 */
export function mismatchMetric(
  pairs: PairedAnswers,
  checked: Uint32Array,
  bounds: ComparisonBounds,
  judged: number,
): ComparedMetric {
  const { aTraits, bTraits } = pairs;
  const differsOn = (traits: Uint8Array) => (at: number) => (traits[checked[at]!]! & DIFFERS) > 0;
  const counted = { name: 'mismatched', a: differsOn(aTraits), b: differsOn(bTraits) } as const;
  const required = checked.length >= SMALL_PART * pairs.count;
  const metric = { ...shareMetric(counted, checked.length, bounds, judged), required };
  let [inA, onlyA, onlyB] = [0, 0, 0];
  for (const at of checked) {
    const [one, other] = [aTraits[at]!, bTraits[at]!];
    if ((one & DIFFERS) > 0) inA += 1;
    if ((one & DIFFERS) > 0 && (other & AGREES) > 0) onlyA += 1;
    if ((one & AGREES) > 0 && (other & DIFFERS) > 0) onlyB += 1;
  }
  const differs = inA === 0 ? onlyB > 0 : chanceOfSoMany(onlyB, onlyA + onlyB) <= CLEAR_CHANCE;
  if (metric.verdict === 'worse') return metric;
  // Models that answer otherwise each time differ on both sides, too often for a share to be told to the floor: chance
  // between the two sides is what the requests say that differ on one alone.
  if (!differs) {
    const isTold = metric.verdict !== 'undecided' || metric.windows === 0;
    return isTold ? metric : { ...metric, verdict: 'same', pairsNeeded: null };
  }
  return { ...metric, verdict: 'undecided', required: true, pairsNeeded: checked.length * 2 };
}

/** Chance of at least so many heads in so many throws, summed from the most likely end by logarithms. */
export function chanceOfSoMany(heads: number, throws: number): number {
  let chance = 0;
  let logChoose = 0;
  // From all heads down: each term follows from the one before it.
  for (let tails = 0; tails <= throws - heads; tails++) {
    if (tails > 0) logChoose += Math.log(throws - tails + 1) - Math.log(tails);
    chance += Math.exp(logChoose - throws * Math.LN2);
  }
  return Math.min(1, chance);
}
