import { type Send, type Stretch, unchecked } from '../core/run.ts';
import { type ArrivalFigures, ArrivalStatistics } from './arrival-statistics.ts';
import { CheckStatistics, checkedSendOf } from './check-statistics.ts';
import { ErrorExampleKeeper } from './error-examples.ts';
import { excusedTogether } from './excused.ts';
import { cameInTime, type Fidelity, resolvedOffsetNs, type WaitsFor } from './fidelity.ts';
import { gapDistance } from './gap-distance.ts';
import { InstantOrder } from './instant-order.ts';
import { type LatencyFigures, LatencyStatistics } from './latency-statistics.ts';
import { MixDistance } from './mix-distance.ts';
import { OutcomeCounts, type OutcomeFigures } from './outcome-counts.ts';
import type { RunFigures, UnreadPart } from './run-statistics.ts';
import type { WholePlan } from './shard-document.ts';
import { type RecordedFailures, StatusMix } from './status-mix.ts';
import { mergedStreams, StreamStatistics } from './stream-statistics.ts';
import { StretchSet } from './stretch-set.ts';
import { WarmupStatistics } from './warmup-statistics.ts';

const NS_PER_S = 1e9;
const PLANNED = 0;
const SENT = 1;

/** What the rows of shards do not say. */
export interface MergedParts {
  /** The plan that all of them had; of the shard that came farthest. */
  readonly whole: WholePlan;
  readonly unfiltered: ArrivalFigures | null;
  /** What put requests off beyond their planned instants; null or left out where nothing did. */
  readonly waitsFor?: WaitsFor | null;
  /** By shard: where it stood still, on the common time, and how it was answered when recorded. */
  readonly shards: readonly {
    readonly stalls: readonly Stretch[];
    readonly recordedStatuses: Readonly<Record<string, number>>;
    readonly recordedFailures: RecordedFailures;
    /** Whether it was stopped before its end. */
    readonly interrupted: boolean;
    /** Whether it compared answers; left out where none of them did. */
    readonly checks?: boolean;
  }[];
}

/**
 * The figures of shards as one run, from their rows: counts are summed, distributions merged value by value, and
 * arrivals counted anew over all hosts. No percentile is made of percentiles.
 */
export class MergedStatistics {
  readonly #parts: MergedParts;
  readonly #latency: readonly LatencyStatistics[];
  readonly #streams: readonly StreamStatistics[];
  readonly #errorExamples = new ErrorExampleKeeper();
  readonly #checks = new CheckStatistics();
  readonly #outcomes = new OutcomeCounts();
  readonly #outcomesOfShards: readonly OutcomeCounts[];
  readonly #statusMix = new StatusMix();
  readonly #mix = new MixDistance(2);
  readonly #planned = new ArrivalStatistics(NS_PER_S);
  readonly #sent = new ArrivalStatistics(NS_PER_S);
  readonly #resolved = new ArrivalStatistics(NS_PER_S);
  /** Where requests wait they overtake each other. */
  readonly #sentOrder = new InstantOrder((offsetNs) => this.#sent.add(offsetNs));
  readonly #resolvedOrder = new InstantOrder((offsetNs) => this.#resolved.add(offsetNs));
  readonly #waitsFor: WaitsFor | null;
  #firstIntendedNs: number | null = null;
  #lastIntendedNs = 0;
  #endOffsetNs = 0;
  #unordered = 0;
  #dueInTime = 0;

  constructor(parts: MergedParts) {
    this.#parts = parts;
    this.#waitsFor = parts.waitsFor ?? null;
    // Where nothing stood still, nothing has to wait aside until that is known.
    const isStill = parts.shards.some(({ stalls }) => stalls.length > 0);
    this.#latency = parts.shards.map(() => new LatencyStatistics(...(isStill ? [] : [0])));
    this.#streams = parts.shards.map(() => new StreamStatistics());
    this.#outcomesOfShards = parts.shards.map(() => new OutcomeCounts());
    for (const { recordedStatuses, recordedFailures } of parts.shards) {
      this.#statusMix.addRecordedFailures(recordedFailures);
      for (const [status, count] of Object.entries(recordedStatuses)) {
        this.#statusMix.addRecorded(Number(status), count);
      }
    }
  }

  /**
   * Takes a send of one shard, in the order of the intended instants over all shards.
   * @param send on the common time of all shards
   */
  addSend(shard: number, send: Send): void {
    if (this.#firstIntendedNs === null) {
      this.#sent.layWindowsFrom(send.intendedOffsetNs);
      this.#resolved.layWindowsFrom(send.intendedOffsetNs);
    }
    this.#firstIntendedNs ??= send.intendedOffsetNs;
    this.#lastIntendedNs = send.intendedOffsetNs;
    this.#planned.add(send.intendedOffsetNs);
    this.#mix.add(PLANNED, send);
    const outcome = this.#outcomes.add(send);
    this.#outcomesOfShards[shard]?.add(send);
    this.#streams[shard]?.add(send, outcome);
    if (outcome === 'failed') this.#errorExamples.add(send);
    this.#addCheck(shard, send);
    const { actualOffsetNs } = send;
    if (actualOffsetNs === null) return;
    this.#mix.add(SENT, send);
    if (this.#waitsFor !== null) {
      this.#sentOrder.add(actualOffsetNs);
      this.#resolvedOrder.add(resolvedOffsetNs(send));
    }
    this.#endOffsetNs = Math.max(this.#endOffsetNs, send.lastByteOffsetNs ?? actualOffsetNs);
    this.#latency[shard]?.add({ ...send, actualOffsetNs }, outcome === 'completed');
    if (send.error === null) this.#statusMix.addSent(send.status);
  }

  /** Of a shard that did not compare, beside others that did, every answer is one that was not. */
  #addCheck(shard: number, send: Send): void {
    const checked = checkedSendOf(send);
    if (checked !== null) this.#checks.add(checked);
    else if (this.#parts.shards[shard]?.checks === false && isAnswer(send))
      this.#checks.add({ ...send, check: unchecked('not_asked') });
  }

  /** Takes the instants at which anything was ready to be sent, by whichever shard, in order; after all sends. */
  addSent(readyOffsetNs: number): void {
    if (this.#waitsFor === null) this.#sent.add(readyOffsetNs);
  }

  /** Takes every send once more, when the last planned instant of all shards is known. */
  addOffered(send: Send): void {
    if ((send.actualOffsetNs !== null || send.refused) && cameInTime(send, this.#lastIntendedNs))
      this.#dueInTime += 1;
  }

  /** Sends that left before an earlier one of their own shard. */
  addUnordered(count: number): void {
    this.#unordered += count;
  }

  /** What became of the sends of one shard, of those that were added. */
  outcomesOf(shard: number): OutcomeFigures {
    return (this.#outcomesOfShards[shard] ?? new OutcomeCounts()).figures();
  }

  /**
   * To be called once.
   * @param selected exchanges of the window, over all shards
   * @param unread what of these those that were stopped had not read; its sends are none that were added
   */
  figures(selected: number, unread: UnreadPart): RunFigures {
    const outcomes = this.#outcomes.figures();
    const first = this.#firstIntendedNs;
    const { shards } = this.#parts;
    const still = new StretchSet(shards.flatMap(({ stalls }) => stalls));
    const ended = shards.map(({ stalls, interrupted }, shard) => ({
      outcomes: this.outcomesOf(shard),
      latency: (this.#latency[shard] as LatencyStatistics).finish(stalls, still.stretches[0]?.fromOffsetNs),
      streams: (this.#streams[shard] as StreamStatistics).finish(stalls),
      interrupted,
    }));
    return {
      recorded: selected,
      planned: this.#planned.count + unread.planned,
      unread,
      outcomes,
      // Hosts that stand still at once keep their parts of one load from the target.
      latency: { ...mergedLatency(ended.map(({ latency }) => latency)), stalledNs: still.totalNs },
      streams: mergedStreams(ended.map(({ streams }) => streams)),
      excused: excusedTogether(ended),
      fidelity: this.#fidelity(),
      statusMix: this.#statusMix.figures(),
      errorExamples: this.#errorExamples.examples(),
      check: this.#checks.figures(),
      // Shards have none.
      warmup: new WarmupStatistics(0).figures(),
      plannedSpanNs: this.#lastIntendedNs,
      endOffsetNs: this.#endOffsetNs,
      makespanNs: first === null || outcomes.sent === 0 ? null : this.#endOffsetNs - first,
    };
  }

  #fidelity(): Fidelity {
    const { whole, unfiltered } = this.#parts;
    this.#sentOrder.flush();
    this.#resolvedOrder.flush();
    const due = this.#waitsFor === null ? this.#planned : this.#resolved;
    return {
      waitsFor: this.#waitsFor,
      resolved: this.#waitsFor === null ? null : this.#resolved.figures(),
      dueInTime: this.#waitsFor === null ? null : this.#dueInTime,
      recorded: whole.recorded,
      planned: this.#planned.figures(),
      unfiltered,
      sent: this.#sent.figures(),
      recordedToPlanned: whole.recordedToPlanned,
      plannedToSent: {
        ksGaps: gapDistance(due.gaps, this.#sent.gaps),
        mixDistance: this.#mix.between(PLANNED, SENT),
      },
      duplicates: whole.duplicates,
      unordered: this.#unordered + this.#sentOrder.disordered,
    };
  }
}

function isAnswer({ actualOffsetNs, cancelled, error }: Send): boolean {
  return actualOffsetNs !== null && !cancelled && error !== 'stopped';
}

function mergedLatency(shards: readonly LatencyFigures[]): LatencyFigures {
  // Made by statistics that nothing was added to: empty distributions.
  const merged = new LatencyStatistics().finish([]);
  let { lagMaxNs, failed, stopped, leftOut } = merged;
  for (const each of shards) {
    merged.scheduled.merge(each.scheduled);
    merged.service.merge(each.service);
    // Shards lie on one time and count their stretches from its zero.
    merged.byWindow.scheduled.merge(each.byWindow.scheduled);
    merged.byWindow.service.merge(each.byWindow.service);
    merged.beforeStalls.scheduled.merge(each.beforeStalls.scheduled);
    merged.beforeStalls.service.merge(each.beforeStalls.service);
    merged.lag.merge(each.lag);
    merged.connect.merge(each.connect);
    merged.connectionWait.merge(each.connectionWait);
    if (each.lagMaxNs !== null) lagMaxNs = Math.max(lagMaxNs ?? 0, each.lagMaxNs);
    failed += each.failed;
    stopped += each.stopped;
    leftOut += each.leftOut;
  }
  return { ...merged, lagMaxNs, failed, stopped, leftOut };
}
