import { monitoredPartOf, monitoredValues } from '../analysis/metrics/monitored.ts';
import { OutcomeCounts } from '../analysis/run/outcomes.ts';
import { type RunFigures, RunStatistics, rowDifferences } from '../analysis/run/run-statistics.ts';
import { type ShardRun, type ShardSet, shardSetOf } from '../analysis/run/shards.ts';
import { AppError } from '../core/errors.ts';
import { type Send, unchecked } from '../core/run.ts';
import type { Objective } from '../documents/metrics/objectives.ts';
import { readShardDocument } from '../documents/replay.ts';
import { GENERATOR } from '../monitors/source.ts';
import { parseStages, type Stage, stageEndsOf } from '../replay/plan/stages.ts';
import { mergeInOrder } from '../storage/capture/reader.ts';
import { RunReader } from '../storage/runs/reader.ts';
import type { SqliteRunStore } from '../storage/runs/store.ts';
import { type Monitored, monitoredOf } from './replay/monitors.ts';
import { assertOwnRows, sendsOf } from './run-files.ts';

/** Rows per write to the merged run. */
const BATCH = 1_024;

/** Opened runs of shards, and the facts that they share. */
export class OpenShards {
  readonly set: ShardSet;
  /** In the order of `set.runs`. */
  readonly #readers: readonly RunReader[];

  /** @throws AppError INPUT_INVALID if one is no sealed run of a shard, or has another plan than the others */
  constructor(directories: readonly string[]) {
    const readers = new Map<string, RunReader>();
    try {
      const runs = directories.map((directory) => {
        // If a directory is given twice, its shard is in the list twice, and the set reports this.
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
   * Copies every row into `store`, as rows of one run, and returns the figures of that run. Facts that are not in the
   * rows come from the summaries of the shards.
   * @throws AppError INPUT_INVALID if rows are damaged, or do not match the summary beside them
   */
  mergeInto(store: SqliteRunStore, objectives: readonly Objective[] = []): RunFigures {
    const documents = this.set.runs.map(({ document }) => document);
    // All shards have the same plan, so they wait for the same events.
    const { fidelity: planned, options } = this.set.runs[0].document;
    const stageEndsNs = stageEndsOf(statedStages(options));
    const statistics = new RunStatistics(0, planned.waitsFor, { objectives, stageEndsNs });
    for (const { recordedStatuses, recordedFailures } of documents.map(({ shard }) => shard)) {
      statistics.statusMix.addRecorded(recordedStatuses, recordedFailures);
    }
    // As in a live run, planned sends are added before their results.
    for (const { send } of this.#sends()) statistics.addPlannedSend(send);
    this.#readSends(store, statistics);
    const figures = statistics.figures(documents.every(({ planCounted }) => planCounted));
    const { fidelity, shard } = farthestOf(documents);
    const { recorded, recordedToPlanned, duplicates } = shard.whole;
    // Rows have the instants at which sends came due, so only the shards know the planned ones of those that waited.
    const waited = planned.waitsFor === 'values' && {
      planned: shard.whole.planned,
      dueInTime: documents.reduce((sum, { fidelity: { dueInTime } }) => sum + (dueInTime ?? 0), 0),
    };
    return {
      ...figures,
      recorded: documents.reduce((sum, { selected }) => sum + selected, 0),
      fidelity: {
        ...figures.fidelity,
        recorded,
        recordedToPlanned,
        duplicates,
        unfiltered: fidelity.unfiltered,
        ...waited,
      },
    };
  }

  /** Names of the series from monitors of the shards. */
  get monitoredNames(): ReadonlySet<string> {
    const series = this.set.runs.flatMap(({ document }) => document.monitors?.series ?? []);
    return new Set(series.map(({ name }) => name).filter((name) => !name.startsWith(GENERATOR)));
  }

  /** Copies the monitored series of every shard into `store`, on their common time. */
  mergeMonitors(store: SqliteRunStore, figures: RunFigures): Monitored {
    const part = monitoredPartOf(0, figures.plannedSpanNs, figures);
    let next = 0;
    const read = this.set.runs.flatMap((run, shard) => {
      const reader = this.#readerOf(shard);
      return reader.monitorSeries().map((found) => {
        const stored = { ...found, series: next++, source: sourceOf(run, found.source) };
        const samples = reader.monitorSamples(found.series).map((sample) => ({
          ...sample,
          offsetNs: sample.offsetNs + this.#shiftNs(run),
        }));
        store.addMonitorSeries(stored);
        store.addMonitorSamples(samples.map((sample) => ({ ...sample, series: stored.series })));
        return { stored, values: monitoredValues(stored.kind, samples, part) };
      });
    });
    return monitoredOf(read, {
      sources: this.set.runs.flatMap((run) =>
        (run.document.monitors?.sources ?? []).map((source) => ({
          ...source,
          name: sourceOf(run, source.name),
          shard: run.document.shard.index,
        })),
      ),
      notes: this.set.runs.flatMap((run) =>
        (run.document.monitors?.notes ?? []).map((note) => sourceOf(run, note)),
      ),
      shardsWithout: this.#withoutMonitors(),
    });
  }

  /** Shards without monitors, if other shards had some. */
  #withoutMonitors(): number[] {
    const watched = this.set.runs.map(({ document }) =>
      (document.monitors?.series ?? []).some(({ name }) => !name.startsWith(GENERATOR)),
    );
    if (!watched.includes(true)) return [];
    return this.set.runs.filter((_, at) => watched[at] === false).map(({ document }) => document.shard.index);
  }

  close(): void {
    for (const reader of this.#readers) reader.close();
  }

  /** The delay of a shard's start after the common zero, in nanoseconds, on the clock of its host. */
  #shiftNs({ startedAtUs }: ShardRun): number {
    return (startedAtUs - this.set.startedAtUs) * 1e3;
  }

  /** The sends of all shards on their common time, in the order in which they were due, with their positions in it. */
  *#sends(): Generator<ShardSend> {
    // Only requests that waited were due in another order than planned. Rows lie in that of the plan.
    const waited = this.set.runs.some(({ document }) => (document.fidelity.waitsFor ?? null) !== null);
    const order = waited ? 'due' : 'plan';
    const sources = this.set.runs.map((run, shard) => ({
      firstKey: Number.NEGATIVE_INFINITY,
      open: () =>
        onCommonTime(shard, sendsOf(run.directory, this.#readerOf(shard), order), this.#shiftNs(run)),
    }));
    let index = 0;
    for (const { shard, send } of mergeInOrder(sources, (each) => each.send.intendedOffsetNs)) {
      yield { shard, send: { ...send, index } };
      index += 1;
    }
  }

  #readSends(store: SqliteRunStore, statistics: RunStatistics): void {
    const outcomes = this.set.runs.map(() => new OutcomeCounts());
    const compares = this.set.runs.map(({ document }) => document.check != null);
    const isCompared = compares.includes(true);
    let batch: Send[] = [];
    for (const { shard, send } of this.#sends()) {
      outcomes[shard]?.add(send);
      statistics.addSends([send]);
      // If other shards compared answers, the answers of a shard that did not count as unchecked.
      if (isCompared && compares[shard] === false && isAnswer(send)) {
        statistics.addChecks([{ ...send, check: unchecked('not_asked') }]);
      }
      batch.push(send);
      if (batch.length < BATCH) continue;
      store.append(batch);
      batch = [];
    }
    store.append(batch);
    for (const [shard, { directory, document }] of this.set.runs.entries()) {
      const counted = (outcomes[shard] ?? new OutcomeCounts()).figures();
      assertOwnRows(directory, rowDifferences(this.#readerOf(shard).run?.id ?? null, counted, document));
    }
  }

  #readerOf(shard: number): RunReader {
    return this.#readers[shard] as RunReader;
  }
}

/** The name of a source with its shard, because several shards may watch the same source. */
function sourceOf({ document }: ShardRun, name: string): string {
  return `shard ${document.shard.index}: ${name}`;
}

/** Parses the stages of a run, which are stored as texts. */
function statedStages({ stages }: Readonly<Record<string, unknown>>): readonly Stage[] | null {
  return Array.isArray(stages) ? parseStages(stages.join(',')) : null;
}

/** The shard that read most of the plan. A stopped shard has not read all of it. */
export function farthestOf<T extends ShardRun['document']>(documents: readonly T[]): T {
  return documents.reduce((best, each) =>
    each.shard.whole.recorded.count > best.shard.whole.recorded.count ? each : best,
  );
}

interface ShardSend {
  readonly shard: number;
  readonly send: Send;
}

function isAnswer({ actualOffsetNs, cancelled, error }: Send): boolean {
  return actualOffsetNs !== null && !cancelled && error !== 'stopped';
}

function* onCommonTime(shard: number, sends: Iterable<Send>, shiftNs: number): Generator<ShardSend> {
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

function shardRunOf(directory: string, reader: RunReader): ShardRun {
  if (reader.summary === null || reader.run === null) {
    throw new AppError('INPUT_INVALID', `The run ${directory} was never sealed: it did not finish`, {
      hint: 'Omit it to merge the others (the verdict is then inconclusive), or replay all shards again.',
    });
  }
  const document = readShardDocument(directory, reader.summary);
  return { directory, document, startedAtUs: reader.run.startedAtUs };
}
