import { comparisonReason } from '../analysis/compare/comparison-reasons.ts';
import {
  answerDoubts,
  COMPARISON_BOUNDS,
  comparePairs,
  leftOutDoubts,
  recordingFactDifferences,
  runDoubts,
  runFactDifferences,
  uncheckedNotes,
} from '../analysis/compare/judge.ts';
import { type PairCounts, PairTable } from '../analysis/compare/pairs.ts';
import {
  compareProfiles,
  profileFactDifferences,
  SHIFT_BOUNDS,
  type ShiftBounds,
  type ShiftGroup,
} from '../analysis/compare/profiles.ts';
import { checkedPairs } from '../analysis/compare/shares.ts';
import { windowLines } from '../analysis/compare/times.ts';
import { undecidedOf } from '../analysis/compare/view.ts';
import { isStoppedByFailures } from '../analysis/verdict/run-context.ts';
import { AppError, Problems } from '../core/errors.ts';
import { type Asked, isOnCommandLine, listOf, readOptions, toggle, value } from '../core/options.ts';
import { parseShare, refused } from '../core/units.ts';
import type {
  ComparedSide,
  ComparisonBounds,
  ComparisonDocument,
  FactDifference,
} from '../documents/comparison.ts';
import type { Labels } from '../documents/parts.ts';
import { inspectCapture } from '../storage/capture/inspect.ts';
import {
  type CaptureSide,
  openSide,
  type ProfileSide,
  profileOfCapture,
  type RunSide,
  type Side,
} from './compare-sides.ts';
import { commonLabels } from './labels.ts';

const percent = (share: number) => `${share * 100}%`;

export const COMPARE_OPTIONS = {
  floor: value('--floor <share>', 'latency changes smaller than this count as the same', parseShare, {
    default: percent(COMPARISON_BOUNDS.floor),
  }),
  detect: value(
    '--detect <share>',
    'report SAME only if a change of this size would have been detected',
    parseShare,
    { default: percent(COMPARISON_BOUNDS.detect) },
  ),
  failureFloor: value(
    '--failure-floor <share>',
    'changes in the share of failed or rejected requests smaller than this count as the same',
    parseShare,
    { default: percent(COMPARISON_BOUNDS.failureFloor) },
  ),
  shiftBound: listOf(
    '--shift-bound <group=share>',
    'how much a group of figures may differ between two profiles, such as rate=30%',
    parseShiftBound,
  ),
  allowDifferences: toggle(
    '--allow-differences',
    'compare runs although their conditions differ, and mark the differences',
  ),
};

interface CompareOptions {
  readonly bounds: ComparisonBounds;
  readonly shiftBounds: ShiftBounds;
  /** Marks different facts instead of refusing the comparison. */
  readonly allowsDifferences: boolean;
  /** Flags on the command line that only one kind of comparison uses. */
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
    problems.add(
      `--detect ${detect} is below --floor ${floor}: a change to detect must be at least the floor`,
    );
  }
  const shiftBounds: Record<ShiftGroup, number> = { ...SHIFT_BOUNDS };
  for (const { group, bound } of shiftBound) shiftBounds[group] = bound;
  problems.throwIfAny();
  return {
    bounds: { floor, detect, failureFloor },
    shiftBounds,
    allowsDifferences: allowDifferences,
    // Only flags of the command line count, because a configuration applies to every comparison.
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

/** Parses `rate=30%`. */
function parseShiftBound(text: string): { readonly group: ShiftGroup; readonly bound: number } {
  const at = text.indexOf('=');
  const group = Object.keys(SHIFT_BOUNDS).find((known) => known === text.slice(0, at).trim());
  if (group === undefined) {
    const hint = `Give GROUP=SHARE, such as rate=30%. Groups: ${Object.keys(SHIFT_BOUNDS).join(', ')}.`;
    throw refused('--shift-bound', text, 'is not GROUP=SHARE with a known group', hint);
  }
  return { group: group as ShiftGroup, bound: parseShare(text.slice(at + 1), `--shift-bound ${group}`) };
}

/** If a smaller share of the requests is on both sides, these are not two runs of one window. */
const LEAST_PAIRED_SHARE = 0.9;
/** If both answers were checked in a smaller share of the pairs, the checks do not represent all answers. */
const WELL_CHECKED_SHARE = 0.9;

/**
 * Compares two runs, captures or profiles by their names.
 * @throws AppError INPUT_INVALID for sides that cannot be compared, and for different facts unless they are allowed
 */
export async function compareNamed(
  a: string,
  b: string,
  options: CompareOptions,
): Promise<ComparisonDocument> {
  const sideA = openSide(a);
  try {
    const sideB = openSide(b);
    try {
      return await compareSides(sideA, sideB, options);
    } finally {
      sideB.close();
    }
  } finally {
    sideA.close();
  }
}

async function compareSides(a: Side, b: Side, options: CompareOptions): Promise<ComparisonDocument> {
  if (b.kind === 'run' && a.kind !== 'profile') return compareRows(a, b, options);
  // The recording is always the baseline, in either order of the names.
  if (a.kind === 'run' && b.kind === 'recording') return compareRows(b, a, options);
  if (a.kind !== 'run' && b.kind !== 'run') return compareTraffic(a, b, options);
  throw new AppError(
    'INPUT_INVALID',
    `${a.name} is a ${a.kind} and ${b.name} a ${b.kind}: they have no requests in common`,
    {
      hint: 'Give two runs, a run and the capture it replayed, or two profiles or captures.',
    },
  );
}

function compareRows(a: RunSide | CaptureSide, b: RunSide, options: CompareOptions): ComparisonDocument {
  assertUsed(options.given.ofProfiles, 'of two profiles or captures', 'of the requests of a run');
  const isOneRun = a.kind === 'run' && a.summary.run === b.summary.run;
  // A gate that compares a run with itself would pass every build.
  if (isOneRun && !options.allowsDifferences) {
    throw new AppError('INPUT_INVALID', `${a.name} and ${b.name} are the same run, ${b.summary.run}`, {
      hint: 'Give the run of the other build. --allow-differences compares a run with itself and says so.',
    });
  }
  const differences =
    a.kind === 'run' ? runFactDifferences(a.summary, b.summary) : recordingFactDifferences(b.summary);
  assertAlike(differences, options);
  const table = new PairTable();
  // Reads only the range of a recording that the run on the other side replayed.
  for (const row of a.kind === 'run' ? a.rows() : a.rows(b.range())) table.addA(row);
  for (const row of b.rows()) table.addB(row);
  const counts = table.counts();
  const { pairs: paired, onlyA, onlyB, leftOut } = counts;
  const lacking = pairingDifference(a, b, { paired: paired + leftOut, onlyA, onlyB });
  assertAlike(lacking, options);
  const pairs = table.pairs();
  const judgement = comparePairs(pairs, options.bounds, [
    // If nearly all answers were checked on both sides, the pairs are enough.
    ...(checkedPairs(pairs).length >= WELL_CHECKED_SHARE * pairs.count
      ? []
      : answerDoubts(a.kind === 'run' ? a.summary : null, b.summary, options.bounds.failureFloor)),
    ...leftOutDoubts(counts),
  ]);
  const doubts = [a, b].flatMap((side, at) =>
    side.kind === 'run' ? runDoubts(at === 0 ? 'A' : 'B', side.summary) : [],
  );
  const { stops, isWithheld } = stopsOf(a, b, judgement.verdict);
  const isDoubted = doubts.length > 0 || isWithheld;
  return {
    schemaVersion: 1,
    kind: 'comparison',
    compares: a.kind === b.kind ? 'runs' : 'recording',
    verdict: isDoubted ? 'INCONCLUSIVE' : judgement.verdict,
    reasons: isDoubted ? [...stops, ...doubts] : judgement.reasons,
    notes: [
      ...(isDoubted ? judgement.reasons : stops),
      ...judgement.notes,
      ...(a.kind === b.kind ? uncheckedNotes(pairs) : []),
      ...[...differences, ...lacking].map((each) => comparisonReason('facts_differ', each)),
      ...(isOneRun ? [comparisonReason('same_run', null)] : []),
    ],
    a: sideOf(a, b),
    b: sideOf(b, a),
    pairs: paired,
    unpaired: { onlyA: onlyA.all, onlyB: onlyB.all, leftOut },
    differences: [...differences, ...lacking],
    metrics: judgement.metrics,
    routes: judgement.routes,
    undecided: [...undecidedOf(judgement.metrics), ...judgement.unknown],
    windows: windowLines(pairs),
    bounds: options.bounds,
  };
}

/**
 * The reasons from stopped runs, and whether they withhold the verdict. The part that was not replayed may differ. If
 * the guard stopped a run, B may still be worse, or it may be better if only A was stopped.
 */
function stopsOf(a: RunSide | CaptureSide, b: RunSide, verdict: ComparisonDocument['verdict']) {
  const stops = [a, b].flatMap((side, at) => {
    const { stopped } = sideOf(side, at === 0 ? b : a);
    if (stopped == null) return [];
    const letter = at === 0 ? 'A' : 'B';
    const code = `run_${letter.toLowerCase()}_interrupted`;
    return [comparisonReason('stopped', { side: letter, ...stopped }, code)];
  });
  const causes = [a, b].map((side) => (side.kind === 'run' ? side.summary.interrupted : null));
  const isByUser = causes.some((cause) => cause !== null && !isStoppedByFailures(cause));
  const isShown = verdict === 'WORSE' || (verdict === 'BETTER' && b.summary.interrupted === null);
  return { stops, isWithheld: isByUser || (stops.length > 0 && !isShown) };
}

async function compareTraffic(
  a: ProfileSide | CaptureSide,
  b: ProfileSide | CaptureSide,
  options: CompareOptions,
): Promise<ComparisonDocument> {
  assertUsed(options.given.ofRequests, 'of the requests of a run', 'of two profiles or captures');
  const [one, other] = [await profileOf(a), await profileOf(b)];
  const differences = profileFactDifferences(one, other);
  assertAlike(differences, options);
  const judgement = compareProfiles(one, other, options.shiftBounds);
  return {
    schemaVersion: 1,
    kind: 'comparison',
    compares: 'profiles',
    ...judgement,
    undecided: undecidedOf(judgement.metrics),
    notes: [...judgement.notes, ...differences.map((each) => comparisonReason('facts_differ', each))],
    a: sideOf(a, b),
    b: sideOf(b, a),
    pairs: null,
    unpaired: null,
    differences,
    windows: [],
    bounds: options.shiftBounds,
  };
}

async function profileOf(side: ProfileSide | CaptureSide) {
  return side.kind === 'profile' ? side.document : await profileOfCapture(side);
}

/** Throws if a flag has no use here: its limit would seem to apply. */
function assertUsed(flags: readonly string[], theirs: string, these: string): void {
  if (flags.length === 0) return;
  throw new AppError(
    'OPTION_INVALID',
    `${flags.join(', ')}: only for comparisons ${theirs}; this one is ${these}`,
    { hint: 'Remove it, or give sides of that kind.' },
  );
}

/**
 * The difference if too many requests are on one side only. A recording may have more requests than a run, and a
 * complete run more than a stopped one.
 */
function pairingDifference(
  a: RunSide | CaptureSide,
  b: RunSide,
  counts: { readonly paired: number } & Pick<PairCounts, 'onlyA' | 'onlyB'>,
): FactDifference[] {
  const { paired } = counts;
  const isCutShort = (side: RunSide | CaptureSide) =>
    side.kind === 'run' && side.summary.interrupted !== null;
  const onlyA = isCutShort(b) ? counts.onlyA.within : counts.onlyA.all;
  const onlyB = isCutShort(a) ? counts.onlyB.within : counts.onlyB.all;
  const least = (only: number, side: RunSide | CaptureSide) =>
    side.kind === 'recording' || paired >= LEAST_PAIRED_SHARE * (paired + only);
  if (least(onlyA, a) && least(onlyB, b)) return [];
  const text = (only: number) => `${only} of ${paired + only} requests are on this side only`;
  return [{ fact: 'requests', a: text(onlyA), b: text(onlyB) }];
}

function assertAlike(differences: readonly FactDifference[], { allowsDifferences }: CompareOptions): void {
  if (differences.length === 0 || allowsDifferences) return;
  const list = differences.map(({ fact, a, b }) => `  ${fact}: ${a} | ${b}`);
  throw new AppError(
    'INPUT_INVALID',
    `A and B differ in conditions that affect their results:\n${list.join('\n')}`,
    {
      hint: 'Compare two runs of one plan, such as of two builds. --allow-differences compares these anyway and marks the differences.',
    },
  );
}

/** @param other has the same plan if it is a run as well */
function sideOf(side: Side, other: Side): ComparedSide {
  const { kind, name } = side;
  if (side.kind !== 'run') {
    const labels = side.kind === 'recording' ? recordedLabels(name) : undefined;
    const ofRun = { run: null, target: null, version: null, startedAt: null, verdict: null };
    return { kind, name, ...ofRun, labels };
  }
  const { run, target, version, startedAt, verdict, options } = side.summary;
  const { interrupted: cause, sent } = side.summary;
  const isKnown = side.summary.planCounted || other.kind !== 'run';
  const { planned, planCounted } = isKnown ? side.summary : other.summary;
  const { labels, captureDigest } = side.summary;
  const label = typeof options['name'] === 'string' ? options['name'] : null;
  const stopped = cause === null ? null : { cause, sent, planned, planCounted };
  return { kind, name, run, target, version, startedAt, verdict, label, labels, captureDigest, stopped };
}

/** Those of all builds that served while it was recorded. */
function recordedLabels(capture: string): Labels | undefined {
  const { origins } = inspectCapture(capture);
  return commonLabels(origins.map((origin) => (origin.kind === 'recorded' ? origin.labels : undefined)));
}
