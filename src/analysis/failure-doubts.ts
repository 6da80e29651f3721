import { excusedOf } from './excused.ts';
import { commonestFailure, type Reason } from './findings.ts';
import type { JudgementBounds } from './judgement-bounds.ts';
import type { RunContext } from './run-context.ts';
import { percent } from './share-text.ts';
import type { Threshold } from './slo.ts';

/**
 * Where no objective says what may fail, the recording does: each request that failed then explains one that fails
 * now. What fails beyond that was not served, and a run of it says nothing of the target's latency.
 */
export function failureDoubts(
  thresholds: readonly Threshold[],
  { figures, interrupted }: RunContext,
  bounds: JudgementBounds,
): Reason[] {
  if (thresholds.length > 0) return [];
  const { outcomes, statusMix } = figures;
  const { stopped } = figures.excused ?? excusedOf({ ...figures, interrupted: interrupted !== null });
  const sent = outcomes.sent - outcomes.cancelled - stopped;
  if (sent === 0) return [];
  const { recordedFailed, recordedKnown } = statusMix;
  const failed = outcomes.failed - stopped;
  const explained = recordedFailed * (sent / Math.max(recordedKnown, sent));
  if ((failed - explained) / sent <= bounds.statusShare) return [];
  const production = recordedKnown === 0 ? 'unknown' : percent(recordedFailed / recordedKnown);
  return [
    {
      code: 'not_comparable',
      text: `${percent(failed / sent)} of the requests failed (5xx, or no answer), most often with ${commonestFailure(outcomes)}; production ${production}`,
      advice:
        "Mend what the target answers (see the errors by kind); where its answers take longer than a run waits at its end, give a longer --drain-deadline. Where so much may fail, say so by an objective: --slo 'errors: rate<0.1'.",
    },
  ];
}
