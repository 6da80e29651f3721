/**
 * How the answer to a replayed request compares with the recorded one. Spoken by who compares, who keeps and who
 * counts; never holds anything of a payload but the place of a difference.
 */

/** How far answers are compared, each level with what the one before it compares. */
export const CHECK_LEVELS = ['status', 'shape', 'values'] as const;
export type CheckLevel = (typeof CHECK_LEVELS)[number];

/** In what two answers differ. A closed list: reports group by it. */
export const MISMATCH_KINDS = ['status', 'shape', 'values', 'length', 'finish'] as const;
export type MismatchKind = (typeof MISMATCH_KINDS)[number];

/** Why an answer could not be compared as far as was asked. A closed list: reports group by it. */
export const UNCHECKED_REASONS = [
  'no_answer',
  'no_recorded_answer',
  'recorded_incomplete',
  'no_recorded_body',
  'recorded_truncated',
  'redacted',
  'request_changed',
  'answer_too_large',
  'unreadable',
  'backlog',
  'recording_unreadable',
  'checker_failed',
  'not_asked',
] as const;
export type UncheckedReason = (typeof UNCHECKED_REASONS)[number];

export const UNCHECKED_TEXTS: Readonly<Record<UncheckedReason, string>> = {
  no_answer: 'no answer came',
  no_recorded_answer: 'none was recorded',
  recorded_incomplete: 'the recorded one was not complete',
  no_recorded_body: 'its body was not recorded (record with --bodies all)',
  recorded_truncated: 'the recorded one was cut by the cap on bodies',
  redacted: 'what was masked in the recorded one cannot be compared',
  request_changed: 'its request was not sent as it was received',
  answer_too_large: 'it is larger than what is compared',
  unreadable: 'its coding or form cannot be read',
  backlog: 'comparing fell behind',
  recording_unreadable: 'the capture could not be read',
  checker_failed: 'comparing it failed',
  not_asked: 'its shard did not compare',
};

/** What comparing one answer came to. */
export type AnswerCheck =
  | { readonly result: 'same' }
  | {
      readonly result: 'mismatch';
      readonly kind: MismatchKind;
      /** JSON pointer of the first difference, with names that are no plain words as `*`; null where there is none. */
      readonly pointer: string | null;
    }
  | { readonly result: 'unchecked'; readonly reason: UncheckedReason };

export const SAME: AnswerCheck = Object.freeze({ result: 'same' });

export function mismatch(kind: MismatchKind, pointer: string | null = null): AnswerCheck {
  return { result: 'mismatch', kind, pointer };
}

export function unchecked(reason: UncheckedReason): AnswerCheck {
  return { result: 'unchecked', reason };
}

/** The result as one word: `same`, `mismatch:values`, `unchecked:backlog`. */
export function checkWord(check: AnswerCheck): string {
  if (check.result === 'same') return 'same';
  return check.result === 'mismatch' ? `mismatch:${check.kind}` : `unchecked:${check.reason}`;
}

/** The way back; null for a word that is none of these. */
export function checkOfWord(word: string, pointer: string | null): AnswerCheck | null {
  if (word === 'same') return SAME;
  const [result, detail] = word.split(':');
  const kind = MISMATCH_KINDS.find((known) => known === detail);
  if (result === 'mismatch' && kind !== undefined) return mismatch(kind, pointer);
  const reason = UNCHECKED_REASONS.find((known) => known === detail);
  return result === 'unchecked' && reason !== undefined ? unchecked(reason) : null;
}

/** Which send was compared: its row in the run and the recorded exchange. */
export interface CheckedSend {
  readonly index: number;
  readonly segment: string;
  readonly exchangeId: number;
  readonly check: AnswerCheck;
}
