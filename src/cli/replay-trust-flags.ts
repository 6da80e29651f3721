import type { JudgementBounds } from '../documents/replay.ts';
import type { ReplayOptions } from '../replay/options.ts';

/** The bounds of the judgement that were stated; the others stay as they are. */
export function statedBounds({ lagBound }: Pick<ReplayOptions, 'lagBound'>): Partial<JudgementBounds> {
  return {
    ...(lagBound.lagMs === null ? {} : { lagNs: lagBound.lagMs * 1e6 }),
    ...(lagBound.ofServiceShare === null ? {} : { lagShare: lagBound.ofServiceShare }),
  };
}
