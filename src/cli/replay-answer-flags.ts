import type { Command } from 'commander';
import { ANSWER_DEFAULTS } from '../replay/answer-options.ts';
import { PIN_MODES } from '../replay/body-changes.ts';
import { CANCEL_POLICIES } from '../replay/expected-answer.ts';

/** The flags that say how long answers are to be, and how long they are waited for. */
export function addAnswerFlags(command: Command): Command {
  return command
    .option(
      '--cancels <how>',
      `where recorded clients left: ${CANCEL_POLICIES.join(' or ')}`,
      ANSWER_DEFAULTS.cancels,
    )
    .option(
      '--pin-output-length [how]',
      `ask for answers as long as recorded: ${PIN_MODES.join(' or ')} (alone: ${ANSWER_DEFAULTS.pinOutputLength})`,
    )
    .option('--request-usage', 'ask streams for their counts of tokens');
}
