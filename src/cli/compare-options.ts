import { COMPARISON_BOUNDS } from '../analysis/compare/comparison-bounds.ts';
import { SHIFT_BOUNDS, type ShiftBounds, type ShiftGroup } from '../analysis/compare/profile-figures.ts';
import { AppError, Problems } from '../core/errors.ts';
import { type Asked, isOnCommandLine, listOf, readOptions, toggle, value } from '../core/options.ts';
import { parseShare } from '../core/units.ts';
import type { ComparisonBounds } from '../documents/comparison.ts';

const percent = (share: number) => `${share * 100}%`;

export const COMPARE_OPTIONS = {
  floor: value('--floor <share>', 'a latency that changes by less is the same', parseShare, {
    default: percent(COMPARISON_BOUNDS.floor),
  }),
  detect: value(
    '--detect <share>',
    'SAME is only said where a change by so much would have been seen',
    parseShare,
    { default: percent(COMPARISON_BOUNDS.detect) },
  ),
  failureFloor: value(
    '--failure-floor <share>',
    'a share of failed or turned-away requests that changes by less is the same',
    parseShare,
    { default: percent(COMPARISON_BOUNDS.failureFloor) },
  ),
  shiftBound: listOf(
    '--shift-bound <group=share>',
    'how far a group of figures of two profiles may lie apart, such as rate=30%',
    parseShiftBound,
  ),
  allowDifferences: toggle(
    '--allow-differences',
    'compare runs of different facts nevertheless, and mark them',
  ),
};

export interface CompareOptions {
  readonly bounds: ComparisonBounds;
  readonly shiftBounds: ShiftBounds;
  /** Marks facts that differ instead of refusing them. */
  readonly allowsDifferences: boolean;
  /** Flags that were given and that one kind of comparison alone looks at. */
  readonly given: { readonly ofRequests: readonly string[]; readonly ofProfiles: readonly string[] };
}

const OF_REQUESTS = { floor: '--floor', detect: '--detect', failureFloor: '--failure-floor' } as const;
const OF_PROFILES = { shiftBound: '--shift-bound' } as const;

/** @throws AppError OPTION_INVALID listing every problem at once */
export function resolveCompareOptions(
  asked: Asked<typeof COMPARE_OPTIONS>,
  problems = new Problems(),
): CompareOptions {
  const read = readOptions(COMPARE_OPTIONS, asked, problems);
  const { floor, detect, failureFloor, shiftBound, allowDifferences } = read;
  if (detect < floor) {
    problems.add(`--detect ${detect} is below --floor ${floor}: what is to be seen must count`);
  }
  const shiftBounds: Record<ShiftGroup, number> = { ...SHIFT_BOUNDS };
  for (const { group, bound } of shiftBound) shiftBounds[group] = bound;
  problems.throwIfAny();
  return {
    bounds: { floor, detect, failureFloor },
    shiftBounds,
    allowsDifferences: allowDifferences,
    // A configuration is for every comparison.
    given: { ofRequests: flagsGiven(OF_REQUESTS, asked), ofProfiles: flagsGiven(OF_PROFILES, asked) },
  };
}

function flagsGiven(
  flags: Partial<Readonly<Record<keyof typeof COMPARE_OPTIONS, string>>>,
  asked: Asked<typeof COMPARE_OPTIONS>,
): string[] {
  return Object.entries(flags).flatMap(([name, flag]) =>
    isOnCommandLine(asked, name as keyof typeof COMPARE_OPTIONS) ? [flag] : [],
  );
}

/** `rate=30%`. */
function parseShiftBound(text: string): { readonly group: ShiftGroup; readonly bound: number } {
  const at = text.indexOf('=');
  const group = Object.keys(SHIFT_BOUNDS).find((known) => known === text.slice(0, at).trim());
  if (group === undefined) {
    throw new AppError('OPTION_INVALID', `--shift-bound: ${JSON.stringify(text)} names no group of figures`, {
      hint: `Give GROUP=SHARE, such as rate=30%. Groups: ${Object.keys(SHIFT_BOUNDS).join(', ')}.`,
    });
  }
  return { group: group as ShiftGroup, bound: parseShare(text.slice(at + 1), `--shift-bound ${group}`) };
}
