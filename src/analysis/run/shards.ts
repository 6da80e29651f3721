import { AppError } from '../../core/errors.ts';
import { parseInstantUs } from '../../core/units.ts';
import type { ShardRunDocument } from '../../documents/replay.ts';

/** A sealed run that was a shard. */
export interface ShardRun {
  /** Where it lies, for messages. */
  readonly directory: string;
  readonly document: ShardRunDocument;
  readonly startedAtUs: number;
}

/** Shards of one plan, each once, in order, and which of them are not there. */
export interface ShardSet {
  readonly runs: readonly [ShardRun, ...ShardRun[]];
  readonly count: number;
  readonly missing: readonly number[];
  /** Zero of the common time, epoch microseconds: the start that was set, else the first start. */
  readonly startedAtUs: number;
  /** From the first start to the last, by the clocks of the hosts. */
  readonly startSpreadUs: number;
}

/**
 * Puts shards of one plan together.
 * @throws AppError INPUT_INVALID where they are of different plans, or one is there twice
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
  throw new AppError(
    'INPUT_INVALID',
    `${first.directory} and ${other.directory} are shards of different plans (${a.planDigest.slice(0, 12)} of ${a.count}, ${b.planDigest.slice(0, 12)} of ${b.count})`,
    {
      hint: 'Shards need the same version, capture, target and options, --start-at included; --shard alone differs.',
    },
  );
}

/** One that compared nothing says so of its answers; what was compared otherwise is no part of one figure. */
function assertOneCheck(runs: readonly ShardRun[]): void {
  const asked = runs.flatMap(({ directory, document }) => {
    const check = document.options['check'] ?? null;
    return check === null ? [] : [{ directory, text: JSON.stringify(check) }];
  });
  const [first] = asked;
  const other = asked.find(({ text }) => text !== first?.text);
  if (first === undefined || other === undefined) return;
  throw new AppError(
    'INPUT_INVALID',
    `${first.directory} and ${other.directory} compared answers by different bounds: ${first.text}, ${other.text}`,
    { hint: 'Give all shards the same --check, --check-tolerance and --check-ignore.' },
  );
}

function assertDistinct(run: ShardRun, next: ShardRun): void {
  if (indexOf(run) !== indexOf(next)) return;
  throw new AppError(
    'INPUT_INVALID',
    `${run.directory} and ${next.directory} are both shard ${indexOf(run)}: its requests were sent twice, or one run is given twice`,
    { hint: 'Give each shard once. Where both were sent, the target had more load than was planned.' },
  );
}
