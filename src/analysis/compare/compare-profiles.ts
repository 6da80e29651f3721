import type { ComparisonVerdict, FactDifference, ShiftedFigure } from '../../documents/comparison.ts';
import type { ProfileDocument } from '../../documents/profile.ts';
import { type ComparisonReason, percentText } from './compare-pairs.ts';
import { COMPARABLE_SPANS, type ProfileFigure, profileFigures, type ShiftBounds } from './profile-figures.ts';
import { differing } from './run-facts.ts';

/** A profile of fewer requests shifts by chance. */
const MIN_REQUESTS = 1_000;

export interface ProfilesJudgement {
  readonly verdict: ComparisonVerdict;
  readonly metrics: readonly ShiftedFigure[];
  readonly reasons: readonly ComparisonReason[];
  readonly notes: readonly ComparisonReason[];
}

/** What two profiles must have in common to be held against each other. */
export function profileFactDifferences(a: ProfileDocument, b: ProfileDocument): FactDifference[] {
  return differing([
    ['filters', a.filters, b.filters],
    ['timeZone', a.window?.timeZone ?? null, b.window?.timeZone ?? null],
    ['shared', a.privacy.shared, b.privacy.shared],
  ]);
}

/** WORSE where a figure has shifted beyond its bound, whichever way: what was tested is not what comes now. */
export function compareProfiles(
  a: ProfileDocument,
  b: ProfileDocument,
  bounds: ShiftBounds,
): ProfilesJudgement {
  const metrics = profileFigures(a, b).map((figure) => shiftOf(figure, bounds));
  const shifted = metrics.filter(({ verdict }) => verdict === 'worse').map(shiftReason);
  const few = [a, b].some(({ requests }) => requests < MIN_REQUESTS);
  const doubts: ComparisonReason[] = few
    ? [
        {
          code: 'too_few_requests',
          text: `the profiles have ${a.requests} and ${b.requests} requests: at least ${MIN_REQUESTS} are needed on both sides`,
          advice: 'Profile a longer window.',
        },
      ]
    : [];
  const notes = spanNotes(a, b);
  if (few) return { verdict: 'INCONCLUSIVE', metrics, reasons: doubts, notes: [...shifted, ...notes] };
  return { verdict: shifted.length > 0 ? 'WORSE' : 'SAME', metrics, reasons: shifted, notes };
}

function shiftOf(
  { name, group, kind, a, b, distance, chance }: ProfileFigure,
  bounds: ShiftBounds,
): ShiftedFigure {
  const bound = bounds[group];
  const base = { name, group, a, b, ratio: a !== null && b !== null && a > 0 ? b / a : null, interval: null };
  if (kind === 'mix') {
    const shift = distance ?? 0;
    return { ...base, shift, bound, verdict: shift - (chance ?? 0) > bound ? 'worse' : 'same' };
  }
  const shift = kind === 'difference' ? differenceOf(a, b) : ratioShift(a, b);
  const allowed = (1 + bound) * (1 + (chance ?? 0)) - 1;
  return {
    ...base,
    shift,
    bound,
    verdict: shift === null ? 'undecided' : shift > allowed ? 'worse' : 'same',
  };
}

function differenceOf(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : Math.abs(b - a);
}

/** How much more the greater is of the less; from nothing to something is a shift of all of it. */
function ratioShift(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return null;
  if (a === b) return 0;
  return Math.min(a, b) <= 0 ? 1 : Math.max(a, b) / Math.min(a, b) - 1;
}

function shiftReason({ name, a, b, shift, bound, ratio }: ShiftedFigure): ComparisonReason {
  const values = a === null || b === null ? '' : ` from ${figureText(a)} to ${figureText(b)}`;
  const times = ratio === null ? '' : ` (${ratio.toFixed(2)} times)`;
  return {
    code: `${name}_shifted`,
    text: `${name} went${values === '' ? ' elsewhere' : `${values}${times}`}: a shift of ${percentText(shift)}, over ${percentText(bound)}`,
    advice: 'Load tests of the older traffic no longer say what this traffic needs: record, and test again.',
  };
}

export function figureText(value: number | null): string {
  return value === null ? '–' : String(Number(value.toPrecision(4)));
}

function spanNotes(a: ProfileDocument, b: ProfileDocument): ComparisonReason[] {
  const spans = [a.window?.spanS ?? 0, b.window?.spanS ?? 0] as const;
  if (Math.max(...spans) <= COMPARABLE_SPANS * Math.min(...spans)) return [];
  return [
    {
      code: 'spans_differ',
      text: `the profiles are of ${Math.round(spans[0])} s and ${Math.round(spans[1])} s: peaks, concurrency and hours are not compared`,
      advice: 'Profile windows of like length.',
    },
  ];
}
