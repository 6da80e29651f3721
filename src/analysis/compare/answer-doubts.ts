import type { CheckDocument, ReplayDocument } from '../../documents/replay.ts';
import { type ComparisonReason, percentText } from './compare-pairs.ts';
import { CHECKED, type PairedAnswers } from './paired-answers.ts';

/** A difference that requests taken one by one would show only once in a hundred by chance. */
const CLEAR_Z = 2.576;

/** What a side is known to have answered: a recording agrees with itself, and so is a run that was not checked taken. */
export type CheckedSide = Pick<ReplayDocument, 'check'> | null;

/**
 * Answers of B that differ from the recorded ones more often than those of A: what answers something else may be
 * faster for that alone.
 * @param floor a share that changes by less is the same
 */
export function answerDoubts(a: CheckedSide, b: CheckedSide, floor: number): ComparisonReason[] {
  const [before, after] = [shareOf(a?.check), shareOf(b?.check)];
  const difference = after.share - before.share;
  if (difference < floor || difference <= CLEAR_Z * Math.sqrt(before.variance + after.variance)) return [];
  const known = a === null || a.check != null ? `, of A ${percentText(before.share)}` : '; A was not checked';
  return [
    {
      code: 'answers_differ',
      text: `${percentText(after.share)} of the answers of B differ from the recorded ones${known}`,
      advice:
        'See the mismatches of B by kind: reprise report. What is answered differently cannot be compared by its time.',
    },
  ];
}

/** Of two runs: where A was checked and B was not, nobody knows what B answers. */
export function uncheckedNotes({ aTraits, bTraits }: PairedAnswers): ComparisonReason[] {
  const isChecked = (traits: Uint8Array) => traits.some((each) => (each & CHECKED) > 0);
  if (!isChecked(aTraits) || isChecked(bTraits)) return [];
  return [
    {
      code: 'answers_unchecked',
      text: 'the answers of A were held against the recorded ones, and those of B were not',
      advice: 'Replay B with --check as well: a build that answers otherwise may be faster for that alone.',
    },
  ];
}

function shareOf(check: CheckDocument | null | undefined): {
  readonly share: number;
  readonly variance: number;
} {
  const share = check?.rate ?? 0;
  return { share, variance: (share * (1 - share)) / Math.max(1, check?.checked ?? 0) };
}
