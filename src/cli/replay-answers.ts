import type { AnswerOptions } from '../replay/answer-options.ts';
import type { BodyChangeCounts } from '../replay/body-changes.ts';
import type { CancelPolicy } from '../replay/expected-answer.ts';
import type { ReplayOutcome } from '../replay/replay.ts';

/** What was done to requests and with recorded cancels, as a run's document has it. */
export interface AnswersDocument {
  readonly cancels: {
    readonly policy: CancelPolicy;
    /** Waited for, because the recording does not say when the client left. */
    readonly untimed: number;
  };
  /** Bodies that were sent otherwise than recorded. */
  readonly changes: BodyChangeCounts;
}

export function answersDocument({ cancels }: AnswerOptions, outcome: ReplayOutcome): AnswersDocument {
  return { cancels: { policy: cancels, untimed: outcome.untimedCancels }, changes: outcome.changes };
}

/** The same for people; nothing where nothing was asked for. */
export function answerLines({ changes, untimedCancels }: ReplayOutcome): string[] {
  const { pinOutputLength, pinned, unpinned, requestUsage, usageRequested } = changes;
  return [
    ...(untimedCancels === 0
      ? []
      : [`  ${untimedCancels} recorded clients left no sign of when: their answers were waited for`]),
    ...(pinOutputLength === null
      ? []
      : [`  output length pinned (${pinOutputLength}): ${pinned}; not pinned: ${unpinned}`]),
    ...(requestUsage ? [`  streams asked for their counts of tokens by us: ${usageRequested}`] : []),
  ];
}
