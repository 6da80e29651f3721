import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { runView } from '../analysis/report/view.ts';
import { type RunFigures, totalsOf } from '../analysis/run/run-statistics.ts';
import type { ShardRun, ShardSet } from '../analysis/run/shards.ts';
import { ciReportOfRun } from '../analysis/verdict/ci-report.ts';
import { isStoppedByFailures } from '../analysis/verdict/run-context.ts';
import { type ReplaySummaryInput, summariseReplay } from '../analysis/verdict/summary.ts';
import { systemClock } from '../core/clock.ts';
import { AppError, Problems } from '../core/errors.ts';
import { type Asked, list, type ResolvedOptions, readOptions, text, value } from '../core/options.ts';
import { picked } from '../core/picked.ts';
import type { Run } from '../core/run.ts';
import type { LogCommand } from '../core/text.ts';
import { formatInstantUs, formatMs, parseDurationMs } from '../core/units.ts';
import { namesBesideOurs, type Objective, parseObjectives } from '../documents/metrics/objectives.ts';
import { NO_CAPS } from '../documents/parts.ts';
import type { HealthDocument, JudgementBounds, MergedDocument, ReplayDocument } from '../documents/replay.ts';
import { joinedDetails } from '../documents/server-details.ts';
import { RUN_SUMMARY } from '../storage/runs/schema.ts';
import { SqliteRunStore } from '../storage/runs/store.ts';
import { commonLabels } from './labels.ts';
import { farthestOf, OpenShards } from './merge-shards.ts';
import { withOpenSlo } from './open-slo.ts';
import { VERSION } from './package.ts';
import { mergedCheck } from './replay/document.ts';
import { serverNotes } from './replay/tested-server.ts';
import { newRunId } from './run-files.ts';
import { StagedDirectory } from './staged-output.ts';
import { deliverVerdict } from './verdict/delivery.ts';
import { makeReady, VERDICT_OPTIONS } from './verdict/options.ts';

export const MERGE_OPTIONS = {
  out: text('-o, --out <directory>', 'directory of the merged run (default: runs/<run id>)'),
  slo: list('--slo <objective>', 'objective to judge by (default: those of the shards)'),
  wait: value(
    '--wait <time>',
    'wait this long for all runs to be sealed; runs not sealed by then count as missing',
    parseDurationMs,
  ),
  ...VERDICT_OPTIONS,
};

/** Options of a merge. Without objectives, those of the shards apply. Without a wait, unsealed runs are an error. */
type MergeOptions = ResolvedOptions<typeof MERGE_OPTIONS>;

/** @throws AppError OPTION_INVALID listing every problem at once */
export function resolveMergeOptions(asked: Asked<typeof MERGE_OPTIONS>): MergeOptions {
  const problems = new Problems();
  const read = readOptions(MERGE_OPTIONS, asked, problems);
  const options = { ...read, slo: problems.attempt(() => withOpenSlo(read.slo), []) };
  // Names of monitored series are checked later, because they are known only after the shards are read.
  problems.attempt(() => parseObjectives(options.slo, namesBesideOurs(options.slo)), []);
  problems.throwIfAny();
  return options;
}

/** Callbacks of a merge while it waits. */
interface MergeDeps {
  /** Called with the runs that are not sealed yet. @param of the number of all runs */
  readonly onWaiting?: (open: readonly string[], of: number) => void;
  /** Called with the runs that were not sealed in time. */
  readonly onLeftOut?: (open: readonly string[]) => void;
}

interface MergedRun {
  readonly directory: string;
  readonly document: MergedReplayDocument;
  /** Whether the guard stopped a shard. As in a single replay, this counts for any verdict. */
  readonly stoppedByFailures: boolean;
  /** Lines for the log: the files and the history that received the verdict. */
  readonly told: readonly (string | LogCommand)[];
}
type MergedReplayDocument = ReturnType<typeof mergeInto>;

/** Pause between two checks whether the last shard is sealed. */
const LOOK_MS = 500;

/**
 * Merges the runs of all shards of a replay, judges them as one run and stores it.
 * @throws AppError INPUT_INVALID for runs that do not belong together or are damaged; OPTION_INVALID if the objectives
 *   are unclear; OUTPUT_EXISTS, OUTPUT_UNWRITABLE
 */
export async function mergeRuns(
  directories: readonly string[],
  { out, slo, wait: waitMs, ...verdict }: MergeOptions,
  deps: MergeDeps = {},
): Promise<MergedRun> {
  makeReady(verdict);
  const sealed = waitMs === null ? directories : await sealedWithin(directories, waitMs, deps);
  const shards = new OpenShards(sealed);
  try {
    const expressions = slo.length > 0 ? slo : commonObjectives(shards.set);
    const runId = newRunId();
    const directory = out ?? join('runs', runId);
    // A merge can be repeated, so it leaves a complete run or none. A replay cannot, so it leaves an unsealed run.
    const staged = new StagedDirectory(directory, 'merging');
    try {
      const document = mergeInto(staged.path, runId, shards, expressions, verdict.name);
      staged.publish();
      return {
        directory,
        document,
        told: deliverVerdict(ciReportOfRun(document, runView(document, directory)), directory, verdict),
        stoppedByFailures: shards.set.runs.some(({ document }) => isStoppedByFailures(document.interrupted)),
      };
    } catch (thrown) {
      staged.discard();
      throw thrown;
    }
  } finally {
    shards.close();
  }
}

/** Writes the merged run into an empty directory and seals it. */
function mergeInto(
  directory: string,
  runId: string,
  shards: OpenShards,
  expressions: readonly string[],
  name: string | null,
) {
  const store = new SqliteRunStore(directory);
  try {
    const objectives = parseObjectives(expressions, shards.monitoredNames);
    const merged = shards.mergeInto(store, objectives);
    const monitored = shards.mergeMonitors(store, merged);
    const figures = { ...merged, monitored: monitored.byName };
    const { options, ...facts } = runOf(runId, shards.set, figures, expressions);
    const run = { ...facts, options: name === null ? options : { ...options, name } };
    const document = {
      ...documentOf(run, shards.set, figures, objectives),
      monitors: monitored.document,
      // Shards have no faults and no `--confidence until-sure`. Autoscaling is judged only for single runs. The telemetry of each
      // shard is in its own document.
      faults: null,
      autoscaling: null,
      telemetry: null,
      untilSure: null,
    };
    store.seal(run, totalsOf(figures), document);
    return document;
  } catch (thrown) {
    store.close();
    throw thrown;
  }
}

/** The objectives of all shards. @throws AppError OPTION_INVALID if they differ */
function commonObjectives({ runs }: ShardSet): readonly string[] {
  const [first, ...others] = runs.map(({ document }) => asked(document.options).slo);
  if (others.some((each) => JSON.stringify(each) !== JSON.stringify(first))) {
    throw new AppError('OPTION_INVALID', 'The shards were given different objectives', {
      hint: 'Give the objectives to judge the run by with --slo.',
    });
  }
  return first ?? [];
}

/** The options of a run that decide how a merged run is judged. */
function asked(options: Readonly<Record<string, unknown>>): { slo: readonly string[]; targetShare: number } {
  const { slo = [], targetShare = 1 } = options as { slo?: readonly string[]; targetShare?: number };
  return { slo, targetShare };
}

function runOf(id: string, set: ShardSet, figures: RunFigures, slo: readonly string[]): Run {
  const [{ document }] = set.runs;
  return {
    id,
    version: VERSION,
    capture: document.capture,
    target: document.target,
    startedAtUs: set.startedAtUs,
    endedAtUs: set.startedAtUs + Math.round(figures.endOffsetNs / 1e3),
    options: {
      ...mergedOptions(set.runs),
      shard: null,
      slo,
      mergedFrom: set.runs.map((each) => each.document.run),
    },
  };
}

function documentOf(run: Run, set: ShardSet, figures: RunFigures, objectives: readonly Objective[]) {
  const documents = set.runs.map(({ document }) => document);
  const farthest = farthestOf(documents);
  const { multiplier, scaling, coverage, coverageUnexplained, options, shard } = farthest;
  const input: ReplaySummaryInput = {
    run,
    figures,
    objectives,
    multiplier,
    scaling,
    pace: shard.pace,
    targetShare: asked(options).targetShare,
    ...mergedSkipped(documents),
    unreplayable: documents.reduce((sum, { unreplayable }) => sum + unreplayable, 0),
    // If shards are missing, fewer requests were planned than the window has. These are the counts of the part read.
    ...(set.missing.length === 0
      ? {}
      : { played: { recorded: shard.whole.recorded.count, planned: figures.fidelity.planned.count } }),
    coverage: { share: coverage, unexplained: coverageUnexplained },
    health: mergedHealth(documents),
    interrupted: mergedInterruption(set.runs),
    liveValues: summed(documents.map(({ sessionOrder }) => sessionOrder?.values ?? undefined)),
    bounds: { ...farthest.bounds, ...strictestOf(documents) },
    check: mergedCheck(documents, figures.check ?? null),
    shards: { count: set.count, missing: set.missing, startSpreadUs: set.startSpreadUs },
  };
  const summary = summariseReplay(input);
  const tested = {
    labels: commonLabels(documents.map((document) => document.labels)),
    ...mergedServers(documents),
  };
  return {
    ...summary,
    ...carriedOver(farthest, documents),
    ...tested,
    notes: [...summary.notes, ...serverNotes(tested)],
    shard: null,
    merged: mergedDocument(set),
  };
}

/** What any shard saw of the servers. Runs of earlier versions say nothing of them. */
function mergedServers(
  documents: readonly ShardRunDocument[],
): Pick<ReplayDocument, 'serverDetails' | 'recordedServer'> {
  const tested = documents.map(({ serverDetails }) => serverDetails).filter((each) => each !== undefined);
  const recorded = documents.map((each) => each.recordedServer).filter((each) => each !== undefined);
  if (tested.length === 0) return {};
  return {
    serverDetails: tested.reduce(joinedDetails),
    recordedServer: {
      ...recorded[0],
      serverDetails: recorded.map((each) => each.serverDetails ?? {}).reduce(joinedDetails, {}),
    },
  };
}

/** Shards may be judged by different bounds. A merged PASS must satisfy all of them. */
function strictestOf(documents: readonly ReplayDocument[]): Partial<JudgementBounds> {
  const bounds = documents.map((each) => each.bounds);
  const sure = bounds.flatMap(({ confidence }) => confidence ?? []);
  return {
    confidence: sure.length === 0 ? null : Math.max(...sure),
    lagNs: Math.min(...bounds.map(({ lagNs }) => lagNs)),
    lagShare: Math.min(...bounds.map(({ lagShare }) => lagShare)),
  };
}

/** Waits until every run is sealed or the time is over. Runs that are unsealed by then count as missing. */
async function sealedWithin(
  directories: readonly string[],
  waitMs: number,
  { onLeftOut, onWaiting }: MergeDeps,
): Promise<readonly string[]> {
  const isSealed = (directory: string) => existsSync(join(directory, RUN_SUMMARY));
  const untilNs = systemClock.nowNs() + waitMs * 1e6;
  for (;;) {
    const open = directories.filter((directory) => !isSealed(directory));
    const sealed = directories.filter((directory) => !open.includes(directory));
    if (open.length === 0) return sealed;
    if (systemClock.nowNs() >= untilNs) {
      if (sealed.length === 0) throw noneSealed(directories, waitMs);
      onLeftOut?.(open);
      return sealed;
    }
    onWaiting?.(open, directories.length);
    await setTimeout(LOOK_MS);
  }
}

function noneSealed(directories: readonly string[], waitMs: number): AppError {
  return new AppError(
    'INPUT_INVALID',
    `None of ${directories.length} runs was sealed within ${formatMs(waitMs)}: ${directories.join(', ')}`,
    { hint: 'See the output of the shards: a run refused before its start leaves no directory.' },
  );
}

type ShardRunDocument = ShardRun['document'];
type ScalingCounts = NonNullable<NonNullable<ReplayDocument['scalingPlan']>['counts']>;

function mergedDocument({ runs, count, missing, startSpreadUs, startedAtUs }: ShardSet): MergedDocument {
  const kernels = new Set(runs.map(({ document }) => document.shard.clock.kernel));
  const drifts = runs.map(({ document }) => Math.abs(document.shard.clock.driftUs));
  return {
    planDigest: runs[0].document.shard.planDigest,
    count,
    missing,
    shards: runs.map((run) => {
      const { document } = run;
      const { health, shard } = document;
      return {
        index: shard.index,
        run: document.run,
        host: shard.host,
        startedAt: formatInstantUs(run.startedAtUs),
        startedLateUs: run.startedAtUs - startedAtUs,
        clockDriftUs: shard.clock.driftUs,
        ...picked(document, 'verdict', 'valid', 'planned', 'sent', 'failed', 'refused', 'lagUs'),
        busyShare: health.busyShare,
      };
    }),
    clockSkew: {
      startSpreadUs,
      driftMaxUs: Math.max(...drifts),
      betweenHostsUs: kernels.size === 1 && !kernels.has(null) ? 0 : null,
    },
  };
}

/** The health of all shards: the busiest sender, and the stalls of all. Unknown if it is unknown for one shard. */
function mergedHealth(documents: readonly ReplayDocument[]): HealthDocument {
  const health = documents.map((document) => document.health);
  const busy = known(health.map(({ busyShare }) => busyShare));
  const starved = known(health.map((each) => each.starved));
  const niceness = known(health.map((each) => each.niceness ?? null));
  return {
    busyShare: busy === null ? null : Math.max(...busy),
    niceness: niceness === null ? null : Math.max(...niceness),
    throttled: throttledOf(health.map(({ throttled }) => throttled)),
    stalls: health.reduce((sum, { stalls }) => sum + stalls, 0),
    stalledMs: health.reduce((sum, { stalledMs }) => sum + stalledMs, 0),
    longestStallMs: Math.max(...health.map(({ longestStallMs }) => longestStallMs)),
    refusedForBytes: health.reduce((sum, each) => sum + (each.refusedForBytes ?? 0), 0),
    caps: {
      ...(documents[0]?.health.caps ?? NO_CAPS),
      refusedForRate: health.reduce((sum, { caps }) => sum + caps.refusedForRate, 0),
    },
    starved: starved === null ? null : starved.reduce((sum, each) => sum + each, 0),
  };
}

/** The values; null if one of them is null. */
function known(values: readonly (number | null)[]): number[] | null {
  const numbers = values.filter((value) => value !== null);
  return numbers.length < values.length ? null : numbers;
}

function throttledOf(each: readonly (boolean | null)[]): boolean | null {
  if (each.includes(true)) return true;
  return each.includes(null) ? null : false;
}

/** Sums of skipped requests. Filtered requests are not summed: each shard counted those of the whole window. */
function mergedSkipped(documents: readonly ReplayDocument[]) {
  const { filtered: _, ...skipped } = summed(documents.map((document) => document.skipped));
  return { skipped, filtered: Math.max(...documents.map((document) => document.skipped['filtered'] ?? 0)) };
}

/**
 * Why the schedule was not completed, from the first stopped shard; null if none was stopped. A stop by the user has
 * priority over a stop by failures.
 */
function mergedInterruption(runs: ShardSet['runs']): string | null {
  const ended = runs.filter(({ document }) => document.interrupted !== null);
  const stopped = ended.find(({ document }) => !isStoppedByFailures(document.interrupted)) ?? ended[0];
  return stopped === undefined
    ? null
    : `shard ${stopped.document.shard.index}: ${stopped.document.interrupted}`;
}

/** Options of all shards. One that differs between processes becomes a list, in the order of the shards. */
function mergedOptions(runs: ShardSet['runs']): Record<string, unknown> {
  const each = runs.map(({ document }) => document.options);
  const names = new Set(each.flatMap((options) => Object.keys(options)));
  return Object.fromEntries(
    [...names].map((name) => {
      const values = each.map((options) => options[name] ?? null);
      const isOne = values.every((value) => isDeepStrictEqual(value, values[0]));
      // Shards that compared answers did it in the same way. Those that did not have unchecked answers.
      if (name === 'check') return [name, values.find((value) => value !== null) ?? null];
      return [name, isOne ? values[0] : values];
    }),
  );
}

/** Parts of a run's document that are the same for the whole window, or sums over its shards. */
function carriedOver(
  farthest: ShardRunDocument,
  documents: readonly ShardRunDocument[],
): Partial<ReplayDocument> {
  const { scalingPlan } = farthest;
  const { opened = 0, failed = 0 } = summed(documents.map(({ connections }) => connections)) ?? {};
  return {
    ...picked(
      farthest,
      'captureDigest',
      'windows',
      'windowSearch',
      'loops',
      'passes',
      'seam',
      'maxDurationS',
    ),
    filters: farthest.filters,
    scalingPlan: scalingPlan && { ...scalingPlan, counts: scalingCounts(documents) },
    audit: summed(documents.map(({ audit }) => audit)),
    cancels: summed(documents.map(({ cancels }) => cancels)),
    changes: summed(documents.map(({ changes }) => changes)),
    timeShift: summed(documents.map(({ timeShift }) => timeShift)),
    sessionOrder: summed(documents.map(({ sessionOrder }) => sessionOrder)),
    connections: { opened, failed },
  };
}

/**
 * Sums of scaling counts. Forgotten sessions are not summed: each shard walks the whole schedule and forgets the same.
 */
function scalingCounts(documents: readonly ShardRunDocument[]): ScalingCounts | undefined {
  const counts = documents.map(({ scalingPlan }) => scalingPlan?.counts).filter((each) => each !== undefined);
  const sum = summed(counts);
  if (sum === undefined) return undefined;
  return {
    ...sum,
    forgottenSessions: Math.max(...counts.map(({ forgottenSessions }) => forgottenSessions)),
    openedBefore: sum.openedBefore && {
      ...sum.openedBefore,
      lookbackMs: counts[0]?.openedBefore?.lookbackMs ?? sum.openedBefore.lookbackMs,
    },
  };
}

/** Sums the numbers of trees with the same structure. Other values are equal in all of them. */
function summed<Tree>(trees: readonly Tree[]): Tree {
  const sumOf = (each: readonly unknown[]): unknown => {
    const present = each.filter((tree) => tree != null);
    const [first] = present;
    if (first === undefined) return each[0];
    if (typeof first === 'number') return present.reduce<number>((sum, one) => sum + Number(one), 0);
    if (typeof first !== 'object' || Array.isArray(first)) return first;
    const names = new Set(present.flatMap((tree) => Object.keys(tree as object)));
    const of = (name: string) => sumOf(present.map((tree) => (tree as Record<string, unknown>)[name]));
    return Object.fromEntries([...names].map((name) => [name, of(name)]));
  };
  return sumOf(trees) as Tree;
}
