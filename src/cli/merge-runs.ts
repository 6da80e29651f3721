import type { WaitsFor } from '../analysis/fidelity.ts';
import { MergedStatistics } from '../analysis/merged-statistics.ts';
import { rowDifferences } from '../analysis/row-agreement.ts';
import type { RunFigures, UnreadPart } from '../analysis/run-statistics.ts';
import { type ShardRun, type ShardSet, shardSetOf } from '../analysis/shard-set.ts';
import { AppError } from '../core/errors.ts';
import type { RunStore } from '../core/ports.ts';
import { readyOffsetNs, type Send, type Stretch } from '../core/run.ts';
import { mergeInOrder } from '../storage/merge.ts';
import { RunReader } from '../storage/run-reader.ts';
import { assertOwnRows, sendsOf } from './run-rows.ts';
import { readShardSummary } from './shard-summary.ts';

/** Rows of the merged run that are written at once. */
const BATCH = 1_024;

/** Runs of shards that are open, and what they are together. */
export class OpenShards {
  readonly set: ShardSet;
  /** In the order of `set.runs`. */
  readonly #readers: readonly RunReader[];

  /** @throws AppError INPUT_INVALID for what is no sealed run of a shard, or not of the same plan as the others */
  constructor(directories: readonly string[]) {
    const readers = new Map<string, RunReader>();
    try {
      const runs = directories.map((directory) => {
        // A directory given twice is a shard that is there twice, which is said in those words.
        const reader = readers.get(directory) ?? new RunReader(directory);
        readers.set(directory, reader);
        return shardRunOf(directory, reader);
      });
      this.set = shardSetOf(runs);
    } catch (thrown) {
      for (const reader of readers.values()) reader.close();
      throw thrown;
    }
    this.#readers = this.set.runs.map(({ directory }) => readers.get(directory) as RunReader);
  }

  /**
   * Reads every row into `store`, as rows of one run, and gives the figures of that run.
   * @throws AppError INPUT_INVALID for rows that are damaged, or are not those of the summary beside them
   */
  mergeInto(store: RunStore): RunFigures {
    const { runs } = this.set;
    const documents = runs.map(({ document }) => document);
    const farthest = farthestOf(documents);
    const checked = documents.some(({ check }) => check != null);
    const statistics = new MergedStatistics({
      whole: farthest.shard.whole,
      unfiltered: farthest.fidelity.unfiltered,
      waitsFor: waitsForOf(documents),
      shards: runs.map((run) => ({
        stalls: this.stallsOf(run),
        recordedStatuses: run.document.shard.recordedStatuses,
        recordedFailures: run.document.shard.recordedFailures,
        interrupted: run.document.interrupted !== null,
        ...(checked ? { checks: run.document.check != null } : {}),
      })),
    });
    this.#readSends(store, statistics);
    this.#assertOwnRows(statistics);
    this.#readInstants(statistics);
    return statistics.figures(
      documents.reduce((sum, { selected }) => sum + selected, 0),
      unreadOf(documents),
    );
  }

  /** Where a shard stood still, on the common time. */
  stallsOf(run: ShardRun): Stretch[] {
    const shiftNs = this.#shiftNs(run);
    return run.document.shard.stalls.map(({ fromOffsetNs, toOffsetNs }) => ({
      fromOffsetNs: fromOffsetNs + shiftNs,
      toOffsetNs: toOffsetNs + shiftNs,
    }));
  }

  close(): void {
    for (const reader of this.#readers) reader.close();
  }

  /** How much later than the common zero a shard began, by the clock of its host, nanoseconds. */
  #shiftNs({ startedAtUs }: ShardRun): number {
    return (startedAtUs - this.set.startedAtUs) * 1e3;
  }

  #readSends(store: RunStore, statistics: MergedStatistics): void {
    const sources = this.set.runs.map((run, shard) => ({
      firstKey: Number.NEGATIVE_INFINITY,
      open: () => onCommonTime(shard, this.#sendsOf(run, shard), this.#shiftNs(run)),
    }));
    let index = 0;
    let batch: Send[] = [];
    for (const { shard, send } of mergeInOrder(sources, (each) => each.send.intendedOffsetNs)) {
      // Its row of the merged run, for whoever looks an example up.
      const placed = { ...send, index };
      statistics.addSend(shard, placed);
      batch.push(placed);
      index += 1;
      if (batch.length < BATCH) continue;
      store.append(batch);
      batch = [];
    }
    store.append(batch);
  }

  /** The instants of all sends in order. Within a shard that is the order of its rows, as it is while it runs. */
  #readInstants(statistics: MergedStatistics): void {
    let unordered = 0;
    const sources = this.set.runs.map((run, shard) => ({
      firstKey: Number.NEGATIVE_INFINITY,
      open: () =>
        instantsOf(
          this.#sendsOf(run, shard),
          this.#shiftNs(run),
          (send) => statistics.addOffered(send),
          () => {
            unordered += 1;
          },
        ),
    }));
    for (const atNs of mergeInOrder(sources, (each) => each)) statistics.addSent(atNs);
    statistics.addUnordered(unordered);
  }

  #assertOwnRows(statistics: MergedStatistics): void {
    for (const [shard, { directory, document }] of this.set.runs.entries()) {
      const { run } = this.#readerOf(shard);
      assertOwnRows(directory, rowDifferences(run?.id ?? null, statistics.outcomesOf(shard), document));
    }
  }

  #sendsOf({ directory }: ShardRun, shard: number): Iterable<Send> {
    return sendsOf(directory, this.#readerOf(shard));
  }

  #readerOf(shard: number): RunReader {
    return this.#readers[shard] as RunReader;
  }
}

/** The one that knows most of the plan: a shard that was stopped has not read all of it. */
export function farthestOf<T extends ShardRun['document']>(documents: readonly T[]): T {
  return documents.reduce((best, each) =>
    each.shard.whole.recorded.count > best.shard.whole.recorded.count ? each : best,
  );
}

/** What of their plans shards that were stopped had not read, together. */
/** What all of them waited for, being of one plan. Older ones do not say; that they could wait at all shows all the same. */
function waitsForOf(documents: readonly ShardRun['document'][]): WaitsFor | null {
  const said = documents.map(({ fidelity }) => fidelity.waitsFor ?? null).find((each) => each !== null);
  if (said !== undefined) return said;
  return documents.some(({ connectionWaitMs }) => connectionWaitMs.p50 !== null) ? 'connections' : null;
}

function unreadOf(documents: readonly ShardRun['document'][]): UnreadPart {
  return {
    recorded: documents.reduce((sum, { unread }) => sum + unread.recorded, 0),
    planned: documents.reduce((sum, { unread }) => sum + unread.planned, 0),
    // An older one that was stopped does not know.
    toTheEnd: documents.every(({ planCounted, interrupted }) => planCounted ?? interrupted === null),
  };
}

function* onCommonTime(
  shard: number,
  sends: Iterable<Send>,
  shiftNs: number,
): Generator<{ readonly shard: number; readonly send: Send }> {
  const shifted = (offsetNs: number | null) => (offsetNs === null ? null : offsetNs + shiftNs);
  for (const send of sends) {
    yield {
      shard,
      send: {
        ...send,
        actualOffsetNs: shifted(send.actualOffsetNs),
        startOffsetNs: shifted(send.startOffsetNs),
        firstByteOffsetNs: shifted(send.firstByteOffsetNs),
        lastByteOffsetNs: shifted(send.lastByteOffsetNs),
        answer: send.answer && {
          ...send.answer,
          firstTokenOffsetNs: shifted(send.answer.firstTokenOffsetNs),
          lastTokenOffsetNs: shifted(send.answer.lastTokenOffsetNs),
        },
      },
    };
  }
}

function* instantsOf(
  sends: Iterable<Send>,
  shiftNs: number,
  onSend: (send: Send) => void,
  onDisorder: () => void,
): Generator<number> {
  let lastNs = 0;
  for (const send of sends) {
    onSend(send);
    const { actualOffsetNs, connectionWaitNs } = send;
    if (actualOffsetNs === null) continue;
    const readyNs = readyOffsetNs({ actualOffsetNs, connectionWaitNs });
    if (readyNs < lastNs) onDisorder();
    lastNs = Math.max(lastNs, readyNs);
    yield lastNs + shiftNs;
  }
}

function shardRunOf(directory: string, reader: RunReader): ShardRun {
  if (reader.summary === null || reader.run === null) {
    throw new AppError('INPUT_INVALID', `The run ${directory} was never sealed: it did not come to its end`, {
      hint: 'Leave it out to merge the others (then inconclusive), or replay all shards again.',
    });
  }
  const document = readShardSummary(directory, reader.summary);
  return { directory, document, startedAtUs: reader.run.startedAtUs };
}
