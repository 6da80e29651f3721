import { COMPARISON_BOUNDS, type ComparisonBounds } from '../analysis/compare/comparison-bounds.ts';
import { SHIFT_BOUNDS, type ShiftBounds, type ShiftGroup } from '../analysis/compare/profile-figures.ts';
import { AppError, Problems } from '../core/errors.ts';
import { parseShare } from '../core/units.ts';
import { type DocumentOutput, outputsOf, type RawOutputs } from './document-outputs.ts';

/** What was asked for, as it stands on the command line. */
export interface RawCompareOptions extends RawOutputs<CompareForm> {
  readonly floor?: string | undefined;
  readonly detect?: string | undefined;
  readonly failureFloor?: string | undefined;
  readonly shiftBound?: readonly string[] | undefined;
  readonly allowDifferences?: boolean | undefined;
}

const COMPARE_FORMS = ['html', 'md'] as const;
export type CompareForm = (typeof COMPARE_FORMS)[number];

export interface CompareOptions {
  readonly bounds: ComparisonBounds;
  readonly shiftBounds: ShiftBounds;
  /** Marks facts that differ instead of refusing them. */
  readonly allowsDifferences: boolean;
  readonly outputs: readonly DocumentOutput<CompareForm>[];
  /** Flags that were given and that one kind of comparison alone looks at. */
  readonly given: { readonly ofRequests: readonly string[]; readonly ofProfiles: readonly string[] };
}

const OF_REQUESTS = { floor: '--floor', detect: '--detect', failureFloor: '--failure-floor' } as const;
const OF_PROFILES = { shiftBound: '--shift-bound' } as const;

/**
 * @param isGiven whether a flag stands on the command line: a configuration is for every comparison
 * @throws AppError OPTION_INVALID listing every problem at once
 */
export function resolveCompareOptions(
  raw: RawCompareOptions,
  isGiven: (name: keyof RawCompareOptions) => boolean = (name) => raw[name] !== undefined,
): CompareOptions {
  const problems = new Problems();
  const share = (text: string | undefined, flag: string, otherwise: number) =>
    problems.optional(text, (given) => parseShare(given, flag)) ?? otherwise;
  const bounds = {
    floor: share(raw.floor, '--floor', COMPARISON_BOUNDS.floor),
    detect: share(raw.detect, '--detect', COMPARISON_BOUNDS.detect),
    failureFloor: share(raw.failureFloor, '--failure-floor', COMPARISON_BOUNDS.failureFloor),
  };
  if (bounds.detect < bounds.floor) {
    problems.add(`--detect ${bounds.detect} is below --floor ${bounds.floor}: what is to be seen must count`);
  }
  const shiftBounds: Record<ShiftGroup, number> = { ...SHIFT_BOUNDS };
  for (const text of raw.shiftBound ?? []) {
    const asked = problems.attempt(() => parseShiftBound(text), null);
    if (asked !== null) shiftBounds[asked.group] = asked.bound;
  }
  const outputs = outputsOf(raw, COMPARE_FORMS, problems);
  problems.throwIfAny();
  const given = {
    ofRequests: flagsIn(OF_REQUESTS, isGiven),
    ofProfiles: flagsIn(OF_PROFILES, isGiven),
  };
  return { bounds, shiftBounds, allowsDifferences: raw.allowDifferences ?? false, outputs, given };
}

function flagsIn(
  flags: Partial<Readonly<Record<keyof RawCompareOptions, string>>>,
  isGiven: (name: keyof RawCompareOptions) => boolean,
): string[] {
  return Object.entries(flags).flatMap(([name, flag]) =>
    isGiven(name as keyof RawCompareOptions) ? [flag] : [],
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
