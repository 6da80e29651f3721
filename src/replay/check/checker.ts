import { AppError } from '../../core/errors.ts';
import { type ExchangePayload, wholePayload } from '../../core/exchange.ts';
import { type AnswerCheck, unchecked } from '../../core/run.ts';
import type { AnswerArena } from './answer-arena.ts';
import type { AnswerToCheck, KeptAnswer } from './answer-to-check.ts';
import type { FromChecker } from './checker-messages.ts';
import type { AnswerComparer } from './comparer.ts';

/** Reads what was recorded of an exchange. @throws AppError where the capture cannot be read */
export type RecordedPayload = (segment: string, exchangeId: number) => ExchangePayload | null;

/** Compares a batch of answers, each for itself: what one of them does is no other one's matter. */
export function checkAnswers(
  answers: readonly AnswerToCheck[],
  arena: AnswerArena,
  payloadOf: RecordedPayload,
  comparer: AnswerComparer,
): FromChecker {
  return {
    checked: answers.map((answer) => ({
      index: answer.index,
      check: checkOne(answer, arena, payloadOf, comparer),
    })),
  };
}

function checkOne(
  answer: AnswerToCheck,
  arena: AnswerArena,
  payloadOf: RecordedPayload,
  comparer: AnswerComparer,
): AnswerCheck {
  let payload: ExchangePayload | null;
  try {
    const read = payloadOf(answer.segment, answer.exchangeId);
    // The answer is read when it is asked for, and what cannot be read must not pass for a fault of comparing.
    payload = read === null ? null : wholePayload(read);
  } catch (thrown) {
    // Retention may have taken the segment meanwhile, and a damaged block ends no replay.
    if (thrown instanceof AppError) return unchecked('recording_unreadable');
    throw thrown;
  }
  try {
    return comparer.check(payload, { ...answer, kept: keptOf(answer, arena) });
  } catch {
    // What it was may be anybody's text. The answer counts as not compared, which is shown with its reason.
    return unchecked('checker_failed');
  }
}

function keptOf({ kept }: AnswerToCheck, arena: AnswerArena): KeptAnswer | null {
  return kept === null ? null : { ...kept, bytes: arena.read(kept.slabs, kept.length) };
}
