import type { JudgementBounds } from './judgement-bounds.ts';
import type { RunFigures } from './run-statistics.ts';

/** The lag our side may have, nanoseconds: 2 ms, or 5 % of the median service latency where that is more. */
export function lagBoundNs({ latency }: Pick<RunFigures, 'latency'>, bounds: JudgementBounds): number {
  return Math.max(bounds.lagNs, bounds.lagOfServiceShare * (latency.service.percentile(50) ?? 0));
}
