import { AppError } from '../../core/errors.ts';
import { parseInstantUs } from '../../core/units.ts';
import type { ShardRunDocument } from '../../documents/replay.ts';

/** A sealed run that was a shard. */
export interface ShardRun {
  /** Its path, for messages. */
  readonly directory: string;
  readonly document: ShardRunDocument;
  readonly startedAtUs: number;
}

/** Shards of one plan in order, each once, and the missing ones. */
export interface ShardSet {
  readonly runs: readonly [ShardRun, ...ShardRun[]];
  readonly count: number;
  readonly missing: readonly number[];
  /** Zero of the common time, epoch microseconds: the configured start, or the earliest actual start. */
  readonly startedAtUs: number;
  /** From the first to the last start, by the clocks of the hosts. */
  readonly startSpreadUs: number;
}

/**
 * Combines the shards of one plan.
 * @throws AppError INPUT_INVALID if their plans differ, or if a shard is given twice
 */
export function shardSetOf(given: readonly ShardRun[]): ShardSet {
  const [first, ...others] = [...given].sort((a, b) => indexOf(a) - indexOf(b));
  if (first === undefined) throw new AppError('INPUT_INVALID', 'There is no run to merge');
  const runs: [ShardRun, ...ShardRun[]] = [first, ...others];
  for (const run of others) assertOnePlan(first, run);
  assertOneCheck(runs);
  for (const [at, run] of others.entries()) assertDistinct(runs[at] ?? first, run);
  const { count, startAt } = first.document.shard;
  const present = new Set(runs.map(indexOf));
  const starts = runs.map(({ startedAtUs }) => startedAtUs);
  const earliestUs = Math.min(...starts);
  return {
    runs,
    count,
    missing: Array.from({ length: count }, (_, index) => index).filter((index) => !present.has(index)),
    startedAtUs: startAt === null ? earliestUs : Math.min(earliestUs, parseInstantUs(startAt, 'startAt')),
    startSpreadUs: Math.max(...starts) - earliestUs,
  };
}

function indexOf({ document }: ShardRun): number {
  return document.shard.index;
}

function assertOnePlan(first: ShardRun, other: ShardRun): void {
  const [a, b] = [first.document.shard, other.document.shard];
  if (a.planDigest === b.planDigest && a.count === b.count) return;
  throw refused(
    [first, other],
    `are shards of different plans (${a.planDigest.slice(0, 12)} of ${a.count}, ${b.planDigest.slice(0, 12)} of ${b.count})`,
    'Shards need the same version, capture, target, options and start; only the part of --shard differs.',
  );
}

/**
 * Runs that compared answers must have used the same settings. Answers of a run that compared nothing count as
 * unchecked.
 */
function assertOneCheck(runs: readonly ShardRun[]): void {
  const textOf = ({ document }: ShardRun) => JSON.stringify(document.options['check'] ?? null);
  const [first, ...others] = runs.filter((run) => textOf(run) !== 'null');
  const other = others.find((run) => first !== undefined && textOf(run) !== textOf(first));
  if (first === undefined || other === undefined) return;
  throw refused(
    [first, other],
    `compared answers by different bounds: ${textOf(first)}, ${textOf(other)}`,
    'Give all shards the same --check.',
  );
}

function assertDistinct(run: ShardRun, next: ShardRun): void {
  if (indexOf(run) !== indexOf(next)) return;
  throw refused(
    [run, next],
    `are both shard ${indexOf(run)}: its requests were sent twice, or one run is given twice`,
    'Give each shard once. Where both were sent, the target had more load than was planned.',
  );
}

function refused(runs: readonly ShardRun[], why: string, hint: string): AppError {
  const names = runs.map(({ directory }) => directory).join(' and ');
  return new AppError('INPUT_INVALID', `${names} ${why}`, { hint });
}
