import type { AnswerCheck } from '../../core/run.ts';
import type { AnswerToCheck } from './answer-to-check.ts';

/** To the checker: answers of one batch, in no order that matters. */
export interface ToChecker {
  readonly answers: readonly AnswerToCheck[];
}

export interface CheckedAnswer {
  readonly index: number;
  readonly check: AnswerCheck;
}

/** From the checker: of the same answers what they came to. */
export interface FromChecker {
  readonly checked: readonly CheckedAnswer[];
}
