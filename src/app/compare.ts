import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ComparisonReason, comparisonReason } from '../analysis/compare/comparison-reasons.ts';
import {
  answerDoubts,
  COMPARISON_BOUNDS,
  comparePairs,
  isLateness,
  leftOutDoubts,
  moreNeededS,
  recordingFactDifferences,
  runDoubts,
  runFactDifferences,
  uncheckedNotes,
} from '../analysis/compare/judge.ts';
import { joinedPairs, type PairCounts, PairTable } from '../analysis/compare/pairs.ts';
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
import { sumOf as hitsOf } from '../analysis/stats/cache-hits.ts';
import { isStoppedByFailures } from '../analysis/verdict/run-context.ts';
import { AppError, Problems } from '../core/errors.ts';
import { type Asked, isOnCommandLine, listOf, readOptions, toggle, value } from '../core/options.ts';
import { picked } from '../core/picked.ts';
import { parseShare, refused } from '../core/units.ts';
import type {
  ComparedSide,
  ComparisonBounds,
  ComparisonDocument,
  FactDifference,
} from '../documents/comparison.ts';
import type { CacheFigures, TestedDocument } from '../documents/parts.ts';
import { BUILD_FACTS, serverDifferences } from '../documents/server-details.ts';
import { COMPARISON_FILE } from '../storage/capture/directory.ts';
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
import { passesIn } from './run-files.ts';

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
 * Compares two runs, captures or profiles by their names; or several runs of each side.
 * @throws AppError INPUT_INVALID for sides that cannot be compared, and for different facts unless they are allowed
 */
export async function compareNamed(
  a: string | readonly string[],
  b: string | readonly string[],
  options: CompareOptions,
): Promise<ComparisonDocument> {
  const opened: Side[] = [];
  const openAll = (names: string | readonly string[]) =>
    [names].flat().map((name) => {
      const side = openSide(name);
      opened.push(side);
      return side;
    });
  try {
    return await compareSides(openAll(a), openAll(b), options);
  } finally {
    for (const side of opened) side.close();
  }
}

/**
 * Compares the runs of both sides of a directory that `replay` with two targets wrote.
 * @param looks how often they may be compared until it is decided; by default, as their comparison says
 * @throws as `compareNamed`
 */
export function comparePasses(
  directory: string,
  options: CompareOptions,
  looks = looksIn(directory),
): Promise<ComparisonDocument> {
  const { a, b } = passesIn(directory);
  return compareNamed(a, b, looks > 1 ? { ...options, bounds: { ...options.bounds, looks } } : options);
}

function looksIn(directory: string): number {
  const file = join(directory, COMPARISON_FILE);
  if (!existsSync(file)) return 1;
  const { bounds } = JSON.parse(readFileSync(file, 'utf8')) as Partial<ComparisonDocument>;
  return bounds?.['looks'] ?? 1;
}

async function compareSides(
  allA: readonly Side[],
  allB: readonly Side[],
  options: CompareOptions,
): Promise<ComparisonDocument> {
  const [a, b] = [allA[0], allB[0]];
  if (allA.length !== allB.length || a === undefined || b === undefined) {
    throw new AppError('INPUT_INVALID', `A has ${allA.length} runs and B has ${allB.length}`, {
      hint: 'Give as many runs of B as of A: reprise compare A1 A2 A3 --with B1 B2 B3.',
    });
  }
  const isRun = (side: Side): side is RunSide => side.kind === 'run';
  if (allA.length > 1) {
    if (allA.every(isRun) && allB.every(isRun))
      return compareRows(
        allA.map((each, at) => ({ a: each, b: allB[at]! })),
        options,
      );
    throw new AppError('INPUT_INVALID', 'only runs can be repeated, and not all of these are runs', {
      hint: 'Give runs of both builds: reprise compare A1 A2 --with B1 B2.',
    });
  }
  if (b.kind === 'run' && a.kind !== 'profile') return compareRows([{ a, b }], options);
  // The recording is always the baseline, in either order of the names.
  if (a.kind === 'run' && b.kind === 'recording') return compareRows([{ a: b, b: a }], options);
  if (a.kind !== 'run' && b.kind !== 'run') return compareTraffic(a, b, options);
  throw new AppError(
    'INPUT_INVALID',
    `${a.name} is a ${a.kind} and ${b.name} a ${b.kind}: they have no requests in common`,
    {
      hint: 'Give two runs, a run and the capture it replayed, or two profiles or captures.',
    },
  );
}

/** One run of each side, or a run and its recording. */
interface Pass {
  readonly a: RunSide | CaptureSide;
  readonly b: RunSide;
}
type Passes = readonly Pass[];

function compareRows(all: Passes, options: CompareOptions): ComparisonDocument {
  assertUsed(options.given.ofProfiles, 'of two profiles or captures', 'of the requests of a run');
  const isOneRun = assertDistinct(all, options);
  const differences = factDifferences(all);
  assertAlike(differences, options);
  const read = undisturbed(all, options);
  const passes = read.map(({ pass }) => pass);
  const { a, b } = passes[0]!;
  const lacking = read.flatMap(({ lacking }) => lacking).slice(0, 1);
  assertAlike(lacking, options);
  const counts = sumOf(read.map((each) => each.counts));
  const pairs = joinedPairs(read.map((each) => each.pairs));
  const judgement = comparePairs(pairs, options.bounds, [
    // If nearly all answers were checked on both sides, the pairs are enough.
    ...(checkedPairs(pairs).length >= WELL_CHECKED_SHARE * pairs.count
      ? []
      : ofFirst(
          passes.map((pass) =>
            answerDoubts(
              pass.a.kind === 'run' ? pass.a.summary : null,
              pass.b.summary,
              options.bounds.failureFloor,
            ),
          ),
        )),
    ...leftOutDoubts(counts),
  ]);
  const doubts = ofFirst(
    passes.map((pass) => [
      ...(pass.a.kind === 'run' ? runDoubts('A', pass.a.summary) : []),
      ...runDoubts('B', pass.b.summary),
    ]),
  );
  const ends = passes.map((pass) => stopsOf(pass.a, pass.b, judgement.verdict));
  const stops = ofFirst(ends.map((each) => each.stops));
  const isDoubted = doubts.length > 0 || ends.some(({ isWithheld }) => isWithheld);
  const runs = repeatedRuns(passes);
  const cacheHits = cacheHitsOf(passes);
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
      ...leftOutNotes(all.length - passes.length, all.length),
      ...serverNotes(a, b),
      ...cacheNotes(cacheHits),
      ...(isOneRun ? [comparisonReason('same_run', null)] : []),
      ...noiseNotes(runs),
    ],
    a: sideOf(a, b),
    b: sideOf(b, a),
    runs,
    pairs: counts.pairs,
    unpaired: { onlyA: counts.onlyA, onlyB: counts.onlyB, leftOut: counts.leftOut },
    differences: [...differences, ...lacking],
    metrics: judgement.metrics,
    routes: judgement.routes,
    undecided: [...undecidedOf(judgement.metrics), ...judgement.unknown],
    moreS: isDoubted ? null : moreNeededS(judgement, options.bounds, lengthsOf(passes)),
    cacheHits,
    windows: windowLines(pairs, startsOf(passes)),
    bounds: options.bounds,
  };
}

/**
 * Reads the runs. Who goes on while it is undecided may leave out what our own side disturbed, because that does not
 * depend on the answers. Anybody else has chosen the runs, and all of them count.
 */
function undisturbed(passes: Passes, { bounds }: CompareOptions) {
  const read = passes.map((pass) => ({ pass, ...readPass(pass) }));
  if (bounds.looks === undefined) return read;
  const isDisturbed = ({ pass: { a, b }, counts }: (typeof read)[number]) =>
    (a.kind === 'run' && runDoubts('A', a.summary).length > 0) ||
    runDoubts('B', b.summary).length > 0 ||
    leftOutDoubts(counts).some(isLateness);
  const left = read.filter((each) => !isDisturbed(each));
  return left.length === 0 ? read : left;
}

function leftOutNotes(runs: number, of: number): ComparisonReason[] {
  return runs === 0 ? [] : [comparisonReason('runs_left_out', { runs, of })];
}

/** Pairs the requests of one pass. Reads only the range of a recording that the run on the other side replayed. */
function readPass({ a, b }: Pass) {
  const table = new PairTable();
  for (const row of a.kind === 'run' ? a.rows() : a.rows(b.range())) table.addA(row);
  for (const row of b.rows()) table.addB(row);
  const counts = table.counts();
  const { pairs: paired, onlyA, onlyB, leftOut } = counts;
  const lacking = pairingDifference(a, b, { paired: paired + leftOut, onlyA, onlyB });
  return { counts, lacking, pairs: table.pairs() };
}

/** A recording has the hits of the requests that the run sent again. */
function cacheHitsOf(passes: Passes): NonNullable<ComparisonDocument['cacheHits']> {
  const sum = (parts: readonly (CacheFigures | null | undefined)[]) =>
    hitsOf(parts.filter((each) => each != null))?.share ?? null;
  const hits = passes.map(({ a, b }) => {
    const ofB = b.summary.cacheHits;
    if (a.kind === 'run') return { a: a.summary.cacheHits?.sent, b: ofB?.sent };
    const { recorded, sent } = ofB?.both ?? ofB ?? {};
    return { a: recorded, b: sent };
  });
  return { a: sum(hits.map((each) => each.a)), b: sum(hits.map((each) => each.b)) };
}

function cacheNotes({ a, b }: NonNullable<ComparisonDocument['cacheHits']>): ComparisonReason[] {
  if (a === null || b === null || Math.abs(a - b) <= SHIFT_BOUNDS.cache) return [];
  return [comparisonReason('cache_hits_differ', { a, b })];
}

/** What differs between both servers beside the build. A run knows the server that was recorded in its windows. */
function serverNotes(a: RunSide | CaptureSide, b: RunSide): ComparisonReason[] {
  const { recordedServer = {} } = b.summary;
  const all = serverDifferences(a.kind === 'run' ? a.summary : recordedServer, b.summary);
  const differences = all.filter(({ fact }) => !BUILD_FACTS.has(fact));
  return differences.length === 0 ? [] : [comparisonReason('server_differs', { differences })];
}

function sumOf(counts: readonly PairCounts[]) {
  const sum = (of: (each: PairCounts) => number) => counts.reduce((total, each) => total + of(each), 0);
  return {
    pairs: sum(({ pairs }) => pairs),
    onlyA: sum(({ onlyA }) => onlyA.all),
    onlyB: sum(({ onlyB }) => onlyB.all),
    leftOut: sum(({ leftOut }) => leftOut),
    leftOutOfA: { all: sum((each) => each.leftOutOfA.all), late: sum((each) => each.leftOutOfA.late) },
    leftOutOfB: { all: sum((each) => each.leftOutOfB.all), late: sum((each) => each.leftOutOfB.late) },
  };
}

/** The reasons of all passes, each code once. */
function ofFirst(reasons: readonly (readonly ComparisonReason[])[]): ComparisonReason[] {
  const byCode = new Map<string, ComparisonReason>();
  for (const each of reasons.flat()) if (!byCode.has(each.code)) byCode.set(each.code, each);
  return [...byCode.values()];
}

/**
 * A gate that compares a run with itself would pass every build.
 * @returns whether a run is compared with itself, which is only so if differences are allowed
 */
function assertDistinct(passes: Passes, { allowsDifferences }: CompareOptions): boolean {
  const seen = new Map<string, string>();
  for (const side of passes.flatMap(({ a, b }) => [a, b])) {
    if (side.kind !== 'run') continue;
    const before = seen.get(side.summary.run);
    seen.set(side.summary.run, side.name);
    if (before === undefined) continue;
    if (allowsDifferences) return true;
    throw new AppError('INPUT_INVALID', `${before} and ${side.name} are the same run, ${side.summary.run}`, {
      hint: 'Give the run of the other build. --allow-differences compares a run with itself and says so.',
    });
  }
  return false;
}

/** What the first run of A does not share with the others. The runs of one side have one target. */
function factDifferences(passes: Passes): FactDifference[] {
  const { a, b } = passes[0]!;
  if (a.kind !== 'run') return recordingFactDifferences(b.summary);
  const others = passes.flatMap((pass) => [pass.a, pass.b]).filter((side) => side !== a);
  const found = others.flatMap((side) =>
    side.kind === 'run' ? runFactDifferences(a.summary, side.summary) : [],
  );
  const ofOneSide = (side: 'a' | 'b') => {
    const targets = passes.flatMap((pass) => (pass[side].kind === 'run' ? [pass[side].summary.target] : []));
    const other = targets.find((target) => target !== targets[0]);
    const fact = `the target of ${side.toUpperCase()}`;
    return other === undefined ? [] : [{ fact, a: targets[0] ?? '', b: other }];
  };
  const all = [...found, ...ofOneSide('a'), ...ofOneSide('b')];
  return all.filter(({ fact }, at) => all.findIndex((each) => each.fact === fact) === at);
}

/** All runs in the order in which they started; null with one of each side. */
function repeatedRuns(passes: Passes): ComparisonDocument['runs'] {
  if (passes.length === 1) return null;
  return passes
    .flatMap(({ a, b }) => [
      { side: 'A' as const, of: a },
      { side: 'B' as const, of: b },
    ])
    .flatMap(({ side, of }) =>
      of.kind === 'run'
        ? [
            {
              side,
              name: of.name,
              run: of.summary.run,
              startedAt: of.summary.startedAt,
              verdict: of.summary.verdict,
            },
          ]
        : [],
    )
    .sort((one, other) => Date.parse(one.startedAt) - Date.parse(other.startedAt));
}

/** One run of each side cannot show how runs vary. If one side came first, a drift of the machine is in the result. */
function noiseNotes(runs: ComparisonDocument['runs']): ComparisonReason[] {
  if (runs == null) return [comparisonReason('noise_unknown', null)];
  const order = runs.map(({ side }) => side).join('');
  return /^(?:A+B+|B+A+)$/.test(order) ? [comparisonReason('not_alternated', { order })] : [];
}

/** How long the runs of each side were, seconds. */
function lengthsOf(passes: Passes): number[] {
  return passes.flatMap(({ a, b }) => (a.kind === 'run' ? [a.summary.durationS + b.summary.durationS] : []));
}

/** When each run of A started, seconds from the first one. */
function startsOf(passes: Passes): number[] {
  const starts = passes.map(({ a }) => (a.kind === 'run' ? Date.parse(a.summary.startedAt) / 1e3 : 0));
  return starts.map((each) => each - starts[0]!);
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
    const recorded = side.kind === 'recording' ? recordedServer(name) : {};
    const ofRun = { run: null, target: null, version: null, startedAt: null, verdict: null };
    return { kind, name, ...ofRun, ...recorded };
  }
  const { run, target, version, startedAt, verdict, options } = side.summary;
  const { interrupted: cause, sent } = side.summary;
  const isKnown = side.summary.planCounted || other.kind !== 'run';
  const { planned, planCounted } = isKnown ? side.summary : other.summary;
  const tested = picked(side.summary, 'labels', 'captureDigest', 'serverDetails');
  const label = typeof options['name'] === 'string' ? options['name'] : null;
  const stopped = cause === null ? null : { cause, sent, planned, planCounted };
  return { kind, name, run, target, version, startedAt, verdict, label, ...tested, stopped };
}

/** Of all builds that served while it was recorded. */
function recordedServer(capture: string): Pick<TestedDocument, 'labels' | 'serverDetails'> {
  const { origins, serverDetails } = inspectCapture(capture);
  const labels = commonLabels(
    origins.map((origin) => (origin.kind === 'recorded' ? origin.labels : undefined)),
  );
  return { labels, serverDetails };
}
