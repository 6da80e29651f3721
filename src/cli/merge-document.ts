import { isDeepStrictEqual } from 'node:util';
import type { ShardRun, ShardSet } from '../analysis/run/shards.ts';
import { isStoppedByFailures, type SenderHealth } from '../analysis/verdict/run-context.ts';
import { formatInstantUs } from '../core/units.ts';
import type { MergedDocument, ReplayDocument } from '../documents/replay.ts';

type Counts = Readonly<Record<string, number>>;

type ShardRunDocument = ShardRun['document'];
type ScalingCounts = NonNullable<NonNullable<ReplayDocument['scalingPlan']>['counts']>;

export function mergedDocument({
  runs,
  count,
  missing,
  startSpreadUs,
  startedAtUs,
}: ShardSet): MergedDocument {
  const kernels = new Set(runs.map(({ document }) => document.shard.clock.kernel));
  const drifts = runs.map(({ document }) => Math.abs(document.shard.clock.driftUs));
  return {
    planDigest: runs[0].document.shard.planDigest,
    count,
    missing,
    shards: runs.map((run) => {
      const { document } = run;
      const { verdict, valid, planned, sent, failed, refused, lagUs, health, shard } = document;
      return {
        index: shard.index,
        run: document.run,
        host: shard.host,
        startedAt: formatInstantUs(run.startedAtUs),
        startedLateUs: run.startedAtUs - startedAtUs,
        clockDriftUs: shard.clock.driftUs,
        ...{ verdict, valid, planned, sent, failed, refused, lagUs, busyShare: health.busyShare },
      };
    }),
    clockSkew: {
      startSpreadUs,
      driftMaxUs: Math.max(...drifts),
      betweenHostsUs: kernels.size === 1 && !kernels.has(null) ? 0 : null,
    },
  };
}

/** How all senders did: the busiest, and the stalls of all. Unknown where it is for one. */
export function mergedHealth(documents: readonly ReplayDocument[]): SenderHealth {
  const health = documents.map((document) => document.health);
  const busy = known(health.map(({ busyShare }) => busyShare));
  const starved = known(health.map((each) => each.starved));
  return {
    busyShare: busy === null ? null : Math.max(...busy),
    throttled: throttledOf(health.map(({ throttled }) => throttled)),
    stalls: {
      count: health.reduce((sum, { stalls }) => sum + stalls, 0),
      totalNs: health.reduce((sum, { stalledMs }) => sum + stalledMs * 1e6, 0),
      longestNs: Math.max(...health.map(({ longestStallMs }) => longestStallMs * 1e6)),
    },
    refusedForBytes: health.reduce((sum, each) => sum + (each.refusedForBytes ?? 0), 0),
    starved: starved === null ? null : starved.reduce((sum, each) => sum + each, 0),
  };
}

/** Null where it is for one of them. */
function known(values: readonly (number | null)[]): number[] | null {
  const numbers = values.filter((value) => value !== null);
  return numbers.length < values.length ? null : numbers;
}

function throttledOf(each: readonly (boolean | null)[]): boolean | null {
  if (each.includes(true)) return true;
  return each.includes(null) ? null : false;
}

/** Skipped requests over all shards; what filters left out was counted by each for the whole window. */
export function mergedSkipped(documents: readonly ReplayDocument[]): { skipped: Counts; filtered: number } {
  const each = documents.map(({ skipped }) => new Map(Object.entries(skipped)));
  const skipped = summed(
    each.map((counts) => Object.fromEntries([...counts].filter(([name]) => name !== 'filtered'))),
  );
  return { skipped, filtered: Math.max(...each.map((counts) => counts.get('filtered') ?? 0)) };
}

/**
 * Why the schedule was not played to its end, by the first shard that was stopped; null where none was. What failures
 * stopped stands behind what somebody did: only where all shards were stopped by failures were they the cause.
 */
export function mergedInterruption(runs: ShardSet['runs']): string | null {
  const ended = runs.filter(({ document }) => document.interrupted !== null);
  const stopped = ended.find(({ document }) => !isStoppedByFailures(document.interrupted)) ?? ended[0];
  return stopped === undefined
    ? null
    : `shard ${stopped.document.shard.index}: ${stopped.document.interrupted}`;
}

/** Options of all shards. Where they differ, which only those of one process do: a list, in the order of the shards. */
export function mergedOptions(runs: ShardSet['runs']): Record<string, unknown> {
  const each = runs.map(({ document }) => document.options);
  const names = new Set(each.flatMap((options) => Object.keys(options)));
  return Object.fromEntries(
    [...names].map((name) => {
      const values = each.map((options) => options[name] ?? null);
      const isOne = values.every((value) => isDeepStrictEqual(value, values[0]));
      // What a shard did not compare is said by its answers; those that did compare did so alike.
      if (name === 'check') return [name, values.find((value) => value !== null) ?? null];
      return [name, isOne ? values[0] : values];
    }),
  );
}

/** Parts of a run's document that are the same for the whole window, or sums over its shards. */
export function carriedOver(
  farthest: ShardRunDocument,
  documents: readonly ShardRunDocument[],
): Partial<ReplayDocument> {
  const { windows, windowSearch, loops, passes, seam, maxDurationS, filters } = farthest;
  const { scalingPlan, audit, cancels, changes, sessionOrder } = farthest;
  const sum = (count: (document: ShardRunDocument) => number | undefined) =>
    documents.reduce((total, document) => total + (count(document) ?? 0), 0);
  return {
    ...{ windows, windowSearch, loops, passes, seam, maxDurationS, filters },
    scalingPlan: scalingPlan && { ...scalingPlan, counts: scalingCounts(documents) },
    audit: audit && summedDeep(documents.map((document) => document.audit ?? audit)),
    cancels: cancels && { ...cancels, untimed: sum((document) => document.cancels?.untimed) },
    changes: changes && {
      ...changes,
      pinned: sum((document) => document.changes?.pinned),
      unpinned: sum((document) => document.changes?.unpinned),
      usageRequested: sum((document) => document.changes?.usageRequested),
    },
    timeShift: timeShiftOf(farthest, documents),
    sessionOrder: sessionOrder && {
      policy: sessionOrder.policy,
      heldBack: sum((document) => document.sessionOrder?.heldBack),
      notHeld: sum((document) => document.sessionOrder?.notHeld),
      counts: summedDeep(documents.map((document) => document.sessionOrder?.counts ?? null)),
    },
    connections: {
      opened: sum(({ connections }) => connections?.opened),
      failed: sum(({ connections }) => connections?.failed),
    },
  };
}

function timeShiftOf(
  { timeShift }: ShardRunDocument,
  documents: readonly ShardRunDocument[],
): ReplayDocument['timeShift'] {
  if (timeShift == null) return null;
  const each = documents.map((document) => document.timeShift).filter((counts) => counts != null);
  return {
    ...timeShift,
    shifted: each.reduce((sum, { shifted }) => sum + shifted, 0),
    unshifted: each.reduce((sum, { unshifted }) => sum + unshifted, 0),
  };
}

/** Forgotten sessions were forgotten by each shard alike, because each walks the whole schedule. */
function scalingCounts(documents: readonly ShardRunDocument[]): ScalingCounts | undefined {
  const counts = documents.map(({ scalingPlan }) => scalingPlan?.counts).filter((each) => each !== undefined);
  const [first] = counts;
  if (first === undefined) return undefined;
  const sum = summedDeep(counts);
  const { openedBefore } = first;
  return {
    ...sum,
    forgottenSessions: Math.max(...counts.map(({ forgottenSessions }) => forgottenSessions)),
    openedBefore: sum.openedBefore && {
      ...sum.openedBefore,
      lookbackMs: openedBefore?.lookbackMs ?? sum.openedBefore.lookbackMs,
    },
  };
}

function summed(each: readonly Counts[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const [name, count] of each.flatMap((counts) => Object.entries(counts))) {
    sums[name] = (sums[name] ?? 0) + count;
  }
  return sums;
}

/** Numbers summed at every place of trees of one form; what is null everywhere stays null. */
function summedDeep<Tree>(trees: readonly Tree[]): Tree {
  const sumOf = (each: readonly unknown[]): unknown => {
    const present = each.filter((tree) => tree != null);
    if (present.length === 0) return null;
    if (present.every((tree) => typeof tree === 'number')) return present.reduce((sum, one) => sum + one, 0);
    const names = new Set(present.flatMap((tree) => Object.keys(tree as object)));
    const of = (name: string) => sumOf(present.map((tree) => (tree as Record<string, unknown>)[name]));
    return Object.fromEntries([...names].map((name) => [name, of(name)]));
  };
  return sumOf(trees) as Tree;
}
