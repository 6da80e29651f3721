import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { type RunFigures, totalsOf } from '../analysis/run/run-statistics.ts';
import type { ShardSet } from '../analysis/run/shards.ts';
import { type ReplaySummaryInput, summariseReplay } from '../analysis/run/summary.ts';
import { isStoppedByFailures } from '../analysis/verdict/run-context.ts';
import { parseSlo } from '../analysis/verdict/slo.ts';
import { mergedCheck } from '../app/replay/document.ts';
import { newRunId } from '../app/run-id.ts';
import { StagedDirectory } from '../app/staged-output.ts';
import { VERSION } from '../app/version.ts';
import { systemClock } from '../core/clock.ts';
import { AppError, Problems } from '../core/errors.ts';
import { type Asked, list, readOptions, text, value } from '../core/options.ts';
import type { Run } from '../core/run.ts';
import { formatMs, parseDurationMs } from '../core/units.ts';
import { RUN_SUMMARY } from '../storage/runs/schema.ts';
import { SqliteRunStore } from '../storage/runs/store.ts';
import {
  carriedOver,
  mergedDocument,
  mergedHealth,
  mergedInterruption,
  mergedOptions,
  mergedSkipped,
} from './merge-document.ts';
import { farthestOf, OpenShards } from './merge-runs.ts';

export const MERGE_OPTIONS = {
  out: text('--out <directory>', 'where the merged run is kept (default: runs/<run id>)'),
  slo: list('--slo <objective>', 'judge by this (default: by what the shards were given)'),
  wait: value(
    '--wait <time>',
    'wait so long for all runs to be sealed; those that are not then are missing',
    parseDurationMs,
  ),
};

export interface MergeOptions {
  /** Null for a new directory in `runs`. */
  readonly out: string | null;
  /** Null for the objectives that the shards were given. */
  readonly slo: readonly string[] | null;
  /** Null does not wait for runs that are not sealed. */
  readonly waitMs: number | null;
}

/** @throws AppError OPTION_INVALID listing every problem at once */
export function resolveMergeOptions(asked: Asked<typeof MERGE_OPTIONS>): MergeOptions {
  const problems = new Problems();
  const { out, slo, wait } = readOptions(MERGE_OPTIONS, asked, problems);
  problems.attempt(() => parseSlo(slo), []);
  problems.throwIfAny();
  return { out, slo: slo.length === 0 ? null : slo, waitMs: wait };
}

/** What a merge tells while it waits. */
export interface MergeDeps {
  /** Runs that are not sealed yet, of so many. */
  readonly onWaiting: (open: readonly string[], of: number) => void;
  /** Runs that were not sealed in time. */
  readonly onLeftOut: (open: readonly string[]) => void;
}

/** A merged run that is kept. */
export interface MergedRun {
  readonly directory: string;
  readonly document: MergedReplayDocument;
  /** As of each replay, whatever its verdict: a target that fails so much is no question of objectives. */
  readonly stoppedByFailures: boolean;
}
export type MergedReplayDocument = ReturnType<typeof documentOf>;

/** Between two looks at whether the last shard is sealed. */
const LOOK_MS = 500;

/**
 * Puts the runs of all shards of a replay together, judges them as one run and keeps that.
 * @throws AppError INPUT_INVALID for runs that do not belong together or are damaged; OPTION_INVALID where it is not
 *   plain by what the run is to be judged; OUTPUT_EXISTS, OUTPUT_UNWRITABLE
 */
export async function mergeRuns(
  directories: readonly string[],
  { out, slo, waitMs }: MergeOptions,
  deps: MergeDeps,
): Promise<MergedRun> {
  const sealed = waitMs === null ? directories : await sealedWithin(directories, waitMs, deps);
  const shards = new OpenShards(sealed);
  try {
    const objectives = slo ?? commonObjectives(shards.set);
    const runId = newRunId();
    const directory = out ?? join('runs', runId);
    // What a replay sent cannot be had again, so that stays unsealed; a merge can, and leaves a whole run or none.
    const staged = new StagedDirectory(directory, 'merging');
    try {
      const document = mergeInto(staged.path, runId, shards, objectives);
      staged.publish();
      return { directory, document, stoppedByFailures: wasStoppedByFailures(shards.set) };
    } catch (thrown) {
      staged.discard();
      throw thrown;
    }
  } finally {
    shards.close();
  }
}

function wasStoppedByFailures({ runs }: ShardSet): boolean {
  return runs.some(({ document }) => isStoppedByFailures(document.interrupted));
}

/** Keeps the merged run, sealed, in an empty directory. */
function mergeInto(directory: string, runId: string, shards: OpenShards, objectives: readonly string[]) {
  const store = new SqliteRunStore(directory);
  try {
    const figures = shards.mergeInto(store);
    const run = runOf(runId, shards.set, figures, objectives);
    const document = documentOf(run, shards.set, figures, objectives);
    store.seal(run, totalsOf(figures), document);
    return document;
  } catch (thrown) {
    store.close();
    throw thrown;
  }
}

/** @throws AppError OPTION_INVALID where it is not plain by what the run is to be judged */
function commonObjectives({ runs }: ShardSet): readonly string[] {
  const [first, ...others] = runs.map(({ document }) => asked(document.options).slo);
  if (others.some((each) => JSON.stringify(each) !== JSON.stringify(first))) {
    throw new AppError('OPTION_INVALID', 'The shards were given different objectives', {
      hint: 'Say by --slo what the run is to be judged by.',
    });
  }
  return first ?? [];
}

/** Of what a run was asked for: what a merged one is judged by. */
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

function documentOf(run: Run, set: ShardSet, figures: RunFigures, slo: readonly string[]) {
  const documents = set.runs.map(({ document }) => document);
  const farthest = farthestOf(documents);
  const { multiplier, scaling, coverage, coverageUnexplained, options, shard } = farthest;
  const input: ReplaySummaryInput = {
    run,
    figures,
    thresholds: parseSlo(slo),
    multiplier,
    scaling,
    pace: shard.pace,
    targetShare: asked(options).targetShare,
    ...mergedSkipped(documents),
    unreplayable: documents.reduce((sum, { unreplayable }) => sum + unreplayable, 0),
    // Where shards are missing, what was planned is less than the window asks for; of that, as far as it was read.
    ...(set.missing.length === 0
      ? {}
      : { played: { recorded: shard.whole.recorded.count, planned: figures.fidelity.planned.count } }),
    coverage: { share: coverage, unexplained: coverageUnexplained },
    health: mergedHealth(documents),
    interrupted: mergedInterruption(set.runs),
    bounds: farthest.bounds,
    check: mergedCheck(documents, figures.check ?? null),
    shards: { count: set.count, missing: set.missing, startSpreadUs: set.startSpreadUs },
  };
  return {
    ...summariseReplay(input),
    ...carriedOver(farthest, documents),
    shard: null,
    merged: mergedDocument(set),
  };
}

/** Waits until every run is sealed, or the time is over: those that are not by then count as missing. */
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
      onLeftOut(open);
      return sealed;
    }
    onWaiting(open, directories.length);
    await setTimeout(LOOK_MS);
  }
}

function noneSealed(directories: readonly string[], waitMs: number): AppError {
  return new AppError(
    'INPUT_INVALID',
    `None of ${directories.length} runs was sealed within ${formatMs(waitMs)}: ${directories.join(', ')}`,
    { hint: 'See what the shards said: a run that is refused before its start leaves no directory.' },
  );
}
