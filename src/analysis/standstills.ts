import { formatMs } from '../core/units.ts';
import type { Reason } from './findings.ts';
import type { JudgementBounds } from './judgement-bounds.ts';
import type { RunContext } from './run-context.ts';
import { percent } from './share-text.ts';
import { StretchSet } from './stretch-set.ts';

/** Whether we stood still for too long to be judged. */
export function stalled({ health, figures }: RunContext, bounds: JudgementBounds): Reason | null {
  const stalls = new StretchSet(health.stalls);
  const span = Math.max(figures.plannedSpanNs, figures.endOffsetNs);
  const share = span === 0 ? 0 : stalls.totalNs / span;
  if (stalls.longestNs <= bounds.stallNs && share <= bounds.stalledShare) return null;
  return {
    code: 'stalled',
    text: `the generator was late without a break for up to ${formatMs(stalls.longestNs / 1e6)}, catching up included, ${percent(share)} of the run in all`,
    advice: 'Give the generator idle cores of its own and enough memory; then replay again.',
  };
}
