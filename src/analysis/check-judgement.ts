import { UNCHECKED_REASONS, UNCHECKED_TEXTS } from '../core/run.ts';
import { type CheckFigures, uncheckedOf } from './check-statistics.ts';
import type { Reason } from './findings.ts';
import type { JudgementBounds } from './judgement-bounds.ts';
import type { RunFigures } from './run-statistics.ts';
import { percent } from './share-text.ts';
import type { Threshold } from './slo.ts';
import { isBrokenByChecked, type SloResult } from './slo-evaluation.ts';

/**
 * Whether too few answers were compared for an objective on mismatches to be kept: where the others are many, nobody
 * knows what they said.
 */
export function checkDoubts(
  thresholds: readonly Threshold[],
  { check = null }: RunFigures,
  bounds: JudgementBounds,
): Reason[] {
  if (!thresholds.some(({ metric }) => metric === 'mismatch') || isEnough(check, bounds)) return [];
  const known = check !== null && check.answers > 0;
  const text = known
    ? `${uncheckedOf(check)} of ${check.answers} answers could not be compared with the recorded ones, over ${percent(bounds.uncheckedShare)}: ${reasonsOf(check)}`
    : 'no answer was compared with a recorded one';
  return [{ code: 'answers_unchecked', text, advice: adviceOf(check) }];
}

/** Whether a broken objective on mismatches is broken for certain: the answers that were not compared may all be right. */
export function isProvenMismatch(
  { threshold }: SloResult,
  figures: RunFigures,
  bounds: JudgementBounds,
): boolean {
  return isEnough(figures.check ?? null, bounds) || isBrokenByChecked(threshold, figures);
}

function isEnough(check: CheckFigures | null, { uncheckedShare }: JudgementBounds): boolean {
  return check !== null && check.checked > 0 && uncheckedOf(check) <= uncheckedShare * check.answers;
}

function reasonsOf({ unchecked }: CheckFigures): string {
  return UNCHECKED_REASONS.filter((reason) => unchecked[reason] !== undefined)
    .map((reason) => `${reason} ${unchecked[reason]}`)
    .join(', ');
}

function adviceOf(check: CheckFigures | null): string {
  const reasons = Object.entries(check?.unchecked ?? {}).sort(([, a], [, b]) => b - a);
  switch (reasons[0]?.[0]) {
    case undefined:
      return 'Replay with --check.';
    case 'no_recorded_body':
      return 'Record with --bodies all, or compare by what was recorded: --check status.';
    case 'recorded_truncated':
      return 'Record with a higher cap on response bodies, or compare by --check status.';
    case 'redacted':
      return 'Leave what is masked out of it on purpose (--check-ignore /POINTER), or compare by --check status.';
    case 'backlog':
      return 'Give the generator idle cores of its own, or replay a smaller multiplier.';
    default:
      return `Most of them: ${UNCHECKED_TEXTS[reasons[0]?.[0] as keyof typeof UNCHECKED_TEXTS]}. Replay what was recorded whole, or compare by --check status.`;
  }
}
