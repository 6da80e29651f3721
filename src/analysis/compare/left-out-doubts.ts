import { type ComparisonReason, percentText } from './compare-pairs.ts';
import type { PairCounts } from './pair-table.ts';

/** Half of what lies beyond the 95th percentile, which SAME needs: were they all slow, it would still be seen. */
const MOST_LEFT_OUT = 0.025;

/**
 * Requests that were left out of one side alone. Who cancels after the recorded patience cancels more of what is slow:
 * what is left would look faster for it.
 */
export function leftOutDoubts({ pairs, leftOut, leftOutOfA, leftOutOfB }: PairCounts): ComparisonReason[] {
  const share = (count: number) => count / Math.max(1, pairs + leftOut);
  return [
    { side: 'A', ...leftOutOfA },
    { side: 'B', ...leftOutOfB },
  ]
    .filter(({ all }) => share(all) > MOST_LEFT_OUT)
    .map(({ side, all, late }) => ({
      code: 'left_out',
      text: `${percentText(share(all))} of the requests were left out of ${side} alone (${percentText(share(late))} sent late, ${percentText(share(all - late))} cancelled, not reached or open at the end): what is left may not stand for them`,
      advice:
        late > all / 2
          ? `Give the generator of ${side} idle cores of its own, or replay both at a smaller multiplier.`
          : 'Replay both with --cancels wait, to their ends, and with a --drain-deadline as long as answers take.',
    }));
}
