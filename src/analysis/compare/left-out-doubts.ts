import { type ComparisonReason, percentText } from './compare-pairs.ts';
import type { PairCounts } from './pair-table.ts';

/** One in ten, as of requests that one side lacks altogether. */
const MOST_LEFT_OUT = 0.1;

/**
 * Requests that were left out of one side alone. Who cancels after the recorded patience cancels more of what is slow:
 * what is left would look faster for it.
 */
export function leftOutDoubts({ pairs, leftOut, leftOutOfA, leftOutOfB }: PairCounts): ComparisonReason[] {
  return [
    { side: 'A', share: leftOutOfA / Math.max(1, pairs + leftOut) },
    { side: 'B', share: leftOutOfB / Math.max(1, pairs + leftOut) },
  ]
    .filter(({ share }) => share > MOST_LEFT_OUT)
    .map(({ side, share }) => ({
      code: 'left_out',
      text: `${percentText(share)} of the requests were cancelled, not reached or late in ${side} alone: what is left may not stand for them`,
      advice: 'Replay both with --cancels wait, to their ends.',
    }));
}
