import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../core/clock.ts';
import { AppError, Problems } from '../../core/errors.ts';
import { type Asked, byProgram, deciding, grouped, list, part, partsOf, value } from '../../core/options.ts';
import { parseCount, parsePositiveMs } from '../../core/units.ts';
import type { ComparisonDocument } from '../../documents/comparison.ts';
import type { AlternationFacts, ReplayPlanDocument } from '../../documents/replay-plan.ts';
import type { ReplayEnd } from '../../replay/run.ts';
import { COMPARISON_FILE } from '../../storage/capture/directory.ts';
import { encryptionKeyOf, openForReplay } from '../open-capture.ts';
import { newRunId, passName } from '../run-files.ts';
import { writeWhole } from '../staged-output.ts';
import { makeReady } from '../verdict/options.ts';
import { RUN_OPTIONS, type RunOptions, resolveRunOptions } from './options.ts';
import { beyondSenders } from './plan.ts';
import type { PlannedReplay } from './planned-replay.ts';
import { planOpened, type ReplayWatch, replayCapture, sharedStop } from './replay.ts';
import type { StopSource } from './run.ts';

const REPEAT_PARTS = { n: part(parseCount), budget: part(parsePositiveMs) };

/** The options of a replay that has one target or two. */
export const REPLAYED_OPTIONS = {
  ...RUN_OPTIONS,
  ...deciding('plan', {
    target: list(
      '--target <url>',
      'the server to test, such as staging:8000 or https://staging/base; two are replayed in turn and compared',
    ),
  }),
  ...grouped('The build that serves', {
    build: list('--build <label>', 'the build that serves, such as v1.4.2; with two targets one for each'),
  }),
  ...deciding('plan', {
    repeat: value(
      '--repeat <n|parts>',
      'with two targets: replay n times A, B, B, A, to know the noise between runs (default: A, B once), and go on for budget=TIME while it hides the answer',
      partsOf(REPEAT_PARTS, 'n'),
    ),
  }),
};

/** A replay against two targets in turn. */
export interface Alternation {
  readonly sides: Readonly<Record<Letter, RunOptions>>;
  /** Of the runs before the first comparison. */
  readonly order: readonly Letter[];
  /** How long to go on if they leave it undecided. */
  readonly budgetMs: number;
}
type Letter = 'A' | 'B';

/** Each repeat begins and ends with A. So a machine that steadily gets slower is equally slow for both. */
const BALANCED = ['A', 'B', 'B', 'A'] as const;
/** Passes of one replay. */
const MOST_REPEATS = 250;

/**
 * The options of a replay: of one target, or of two.
 * @throws AppError OPTION_INVALID listing every problem
 */
export function resolveReplayed(asked: Asked<typeof REPLAYED_OPTIONS>): RunOptions | Alternation {
  const targets = textsOf(asked.stated.target);
  const builds = textsOf(asked.stated.build);
  const { repeat, target: _target, build: _build, ...stated } = asked.stated;
  const ofSide = (at: number): RunOptions =>
    resolveRunOptions({
      stated: {
        ...stated,
        ...(targets[at] === undefined ? {} : { target: targets[at] }),
        ...(builds[at] === undefined ? {} : { build: builds[at] }),
      },
      originOf: asked.originOf,
    });
  const problems = new Problems();
  if (targets.length > 2) problems.add(`--target: ${targets.length} targets are more than two`);
  if (builds.length > Math.max(1, targets.length)) {
    problems.add(
      `--build: ${builds.length} builds for ${targets.length} targets`,
      'Give one for each --target.',
    );
  }
  const { n: times, budget } =
    repeat === undefined ? { n: null, budget: null } : partsOf(REPEAT_PARTS, 'n')(String(repeat), '--repeat');
  if (times !== null && times > MOST_REPEATS) problems.add(`--repeat ${times} is more than ${MOST_REPEATS}`);
  if ((times ?? budget) !== null && targets.length < 2) {
    problems.add(
      '--repeat needs two targets',
      'Give both builds: --target http://old:8000 --target http://new:8000.',
    );
  }
  problems.throwIfAny();
  if (targets.length < 2) return ofSide(0);
  const sides = { A: ofSide(0), B: ofSide(1) };
  checkSides(sides, problems);
  return { sides, order: orderOf(times === null ? 2 : 4 * times), budgetMs: budget ?? 0 };
}

function orderOf(runs: number): Letter[] {
  return Array.from({ length: runs }, (_, at) => BALANCED[at % BALANCED.length]!);
}

/** Looks without the last, shorter step. With more, each would get too small a part of the error. */
const FEW_LOOKS = 2;

/**
 * Numbers of runs after which both targets are compared. Each has twice as many as the one before it, as the budget
 * allows. If it allows only two looks, a third one may have half as many runs more.
 */
export function looksOf(
  { order, budgetMs }: Pick<Alternation, 'order' | 'budgetMs'>,
  runS: number,
): number[] {
  const isWithin = (runs: number) => (runs - order.length) * runS * 1e3 <= budgetMs;
  const looks = [order.length];
  for (let runs = Math.max(8, 2 * order.length); runs <= 4 * MOST_REPEATS; runs *= 2) {
    if (isWithin(runs)) {
      looks.push(runs);
      continue;
    }
    const fewer = (3 / 4) * runs;
    const isWhole = fewer % BALANCED.length === 0;
    if (looks.length === FEW_LOOKS && isWhole && isWithin(fewer)) looks.push(fewer);
    break;
  }
  return looks;
}

export function isAlternated(replayed: RunOptions | Alternation): replayed is Alternation {
  return 'sides' in replayed;
}

function checkSides({ A, B }: Alternation['sides'], problems: Problems): void {
  const { options, history } = A;
  const same = 'both targets are the same server, so every build would be the same';
  if (options.target?.url === B.options.target?.url) problems.add(`--target: ${same}`);
  const withoutSense = {
    'until-sure': options.untilSure && 'runs that end at different times have different requests',
    '--concurrency': options.concurrency !== null && 'a closed loop has no scheduled latency to compare',
    '--shard': options.shard !== null && 'one shard has not all requests',
    '--shard start': options.startAtUs !== null && 'only the first run could start then',
    '--retain-runs': options.retainRuns !== null && 'it would delete the runs that are compared',
    '--history': history !== null && 'the runs of two builds would be runs of one test',
  };
  for (const [flag, why] of Object.entries(withoutSense)) {
    if (why !== false) problems.add(`two targets cannot be combined with ${flag}: ${why}`);
  }
  problems.throwIfAny();
}

function textsOf(stated: unknown): string[] {
  return stated === undefined || stated === null ? [] : [stated].flat().map(String);
}

/** Who watches, and what stops it. The reporter gets one line for each run. */
interface AlternationWatch extends Pick<ReplayWatch, 'listen' | 'reporter' | 'logger'> {
  /** Called before anything is sent, when both targets have been checked. */
  readonly onPlan: (planned: PlannedReplay, facts: AlternationFacts) => void;
}

/** A plan that was counted; or the runs that ended, with their comparison. */
export type Alternated =
  | { readonly kind: 'planned'; readonly document: ReplayPlanDocument }
  | {
      readonly kind: 'sent';
      readonly directory: string;
      /** Null if a target has no run that ended. */
      readonly comparison: ComparisonDocument | null;
      /** Of the last run. */
      readonly end: ReplayEnd;
    };

/**
 * Replays a window against two targets in turn, each time as an ordinary run, and compares them. Both targets are
 * checked before anything is sent to either. A run that a guard or a signal ends is the last one.
 * @throws AppError before anything is sent
 */
export async function replayAlternately(
  capture: string,
  alternation: Alternation,
  watch: AlternationWatch,
): Promise<Alternated> {
  const { out, options, ciReport } = alternation.sides.A;
  const directory = out ?? join('runs', newRunId());
  if (!options.dryRun) {
    assertEmpty(directory);
    makeReady({ ciReport, history: null });
  }
  const document = await prepared(capture, alternation, watch);
  if (document !== null) return { kind: 'planned', document };
  const stop = watch.listen();
  try {
    return await playUntilDecided(capture, directory, alternation, watch, stop);
  } finally {
    stop.end();
  }
}

/** Replays both targets until a comparison decides, or the budget is spent. */
async function playUntilDecided(
  capture: string,
  directory: string,
  { sides, order, budgetMs }: Alternation,
  watch: AlternationWatch,
  stop: StopSource,
): Promise<Alternated> {
  const beganNs = systemClock.nowNs();
  let firstNs = 0;
  let looks = [order.length];
  for (let at = 0; ; at += 1) {
    const runs = looks[at]!;
    const end = await playAll(capture, directory, { sides, from: looks[at - 1] ?? 0, runs }, watch, stop);
    const tookNs = systemClock.nowNs() - beganNs;
    if (at === 0) {
      firstNs = tookNs;
      // A run takes longer than its plan. Looks that the budget cannot reach would get a part of the error in vain.
      looks = looksOf({ order, budgetMs }, tookNs / 1e9 / runs);
    }
    const { comparison, isNoise } = await compared(directory, looks.length);
    const next = looks[at + 1];
    const spentMs = (tookNs - firstNs + (tookNs / runs) * ((next ?? 0) - runs)) / 1e6;
    const goesOn = isNoise && end.kind === 'complete' && next !== undefined && spentMs <= budgetMs;
    if (!goesOn) {
      if (comparison !== null) await conclude(directory, comparison, sides.A, watch);
      return { kind: 'sent', directory, end, comparison };
    }
    watch.reporter.note(`Undecided after ${runs} runs: going on to ${next}`);
  }
}

function assertEmpty(directory: string): void {
  if (!existsSync(directory) || readdirSync(directory).length === 0) return;
  throw new AppError('OUTPUT_EXISTS', `${directory} is not empty: the runs of both targets are kept there`, {
    hint: 'Give a new directory with --out.',
  });
}

/** Plans the replay of both sides and checks both targets. @returns the counted plan of a dry run */
async function prepared(
  capture: string,
  alternation: Alternation,
  watch: AlternationWatch,
): Promise<ReplayPlanDocument | null> {
  const { sides } = alternation;
  for (const side of [sides.B, sides.A]) {
    const opened = openForReplay(capture, encryptionKeyOf(side), side.options.window.recorders);
    try {
      const planned = await planOpened(opened, side);
      const tooFast = beyondSenders(planned.plan, planned.source);
      if (tooFast !== null) throw tooFast;
      if (planned.target !== null) {
        const { replayMaker } = await import('./run.ts');
        const { plan, source, warmup, target } = planned;
        await replayMaker('check', { ...planned, target, logger: watch.logger })(
          plan,
          source,
          warmup,
        ).check();
      }
      if (side === sides.B) continue;
      const facts = factsOf(planned, alternation);
      watch.onPlan(planned, facts);
      if (planned.target === null) {
        const { countPlan } = await import('./planned-replay.ts');
        return { ...(await countPlan(planned)), alternation: facts };
      }
    } finally {
      opened.source.close();
    }
  }
  return null;
}

function factsOf(
  { plan, warmup, calibration }: PlannedReplay,
  { sides, order, budgetMs }: Alternation,
): AlternationFacts {
  const beforeNs = (warmup?.spanNs ?? 0) + (calibration?.plan.window.plannedSpanNs ?? 0);
  const runS = (beforeNs + plan.window.plannedSpanNs) / 1e9;
  return {
    targets: [sides.A, sides.B].map(({ options }) => options.target?.url ?? ''),
    order: order.join(''),
    atLeastS: order.length * runS,
    budgetS: budgetMs / 1e3,
    mostRuns: looksOf({ order, budgetMs }, runS).at(-1)!,
  };
}

/** @returns the end of the last run */
async function playAll(
  capture: string,
  directory: string,
  { sides, from, runs }: Pick<Alternation, 'sides'> & { readonly from: number; readonly runs: number },
  { logger, reporter }: AlternationWatch,
  stop: StopSource,
): Promise<ReplayEnd> {
  const listen = () => sharedStop(stop);
  for (const [at, letter] of orderOf(runs).entries()) {
    if (at < from) continue;
    if (stop.signal.aborted) return { kind: 'interrupted' };
    const side = sides[letter];
    const place = `run ${at + 1} of ${runs}: ${letter}`;
    reporter.note(`${place}, ${side.options.target?.url ?? ''}`);
    const ownReporter = {
      ...reporter,
      note: () => undefined,
      progress: (parts: readonly string[]) => reporter.progress([place, ...parts]),
    };
    const asked = { ...side, out: join(directory, passName(at + 1, letter)), ciReport: [] };
    try {
      const replayed = await replayCapture(capture, asked, { logger, listen, reporter: ownReporter });
      if (replayed.kind === 'sent' && replayed.end.kind !== 'complete') return replayed.end;
    } catch (error) {
      // A target that is gone before its run begins. Earlier runs are compared all the same.
      if (!(error instanceof AppError) || at === 0) throw error;
      return { kind: 'aborted', error };
    }
  }
  return { kind: 'complete' };
}

/**
 * @param looks how often the runs may be compared
 * @returns null if a target has no run; whether only noise leaves it undecided
 */
async function compared(
  directory: string,
  looks: number,
): Promise<{ readonly comparison: ComparisonDocument | null; readonly isNoise: boolean }> {
  const ended = new Set(readdirSync(directory).map((name) => name.at(-1)));
  if (!ended.has('A') || !ended.has('B')) return { comparison: null, isNoise: false };
  // Only a replay of two targets needs these modules, and it needs them after it has sent.
  const { COMPARE_OPTIONS, comparePasses, resolveCompareOptions } = await import('../compare.ts');
  const { isNoise } = await import('../../analysis/compare/judge.ts');
  const options = resolveCompareOptions(byProgram(COMPARE_OPTIONS, {}));
  const comparison = await comparePasses(directory, options, looks);
  return { comparison, isNoise: isNoise(comparison) };
}

/** Writes the comparison. */
async function conclude(
  directory: string,
  document: ComparisonDocument,
  { ciReport }: RunOptions,
  { reporter }: AlternationWatch,
): Promise<void> {
  const [{ comparisonView }, { ciReportOfComparison }, { writeVerdict }] = await Promise.all([
    import('../../analysis/compare/view.ts'),
    import('../../analysis/verdict/ci-report.ts'),
    import('../verdict/delivery.ts'),
  ]);
  const file = join(directory, COMPARISON_FILE);
  writeWhole(file, `${JSON.stringify(document, null, 2)}\n`);
  reporter.note(
    ...writeVerdict(ciReportOfComparison(document, comparisonView(document)), { ciReport }, process.env),
    `Comparison written to ${file}`,
  );
}
