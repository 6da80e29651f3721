import type { ExchangeRow } from '../../core/exchange.ts';
import type { Send } from '../../core/run.ts';
import { NS_PER_S, US_PER_S } from '../../core/units.ts';
import type { DuplicateFigures, FidelityDocument, WaitsFor, WholePlan } from '../../documents/replay.ts';
import { ArrivalStatistics } from '../stats/arrivals.ts';
import { gapDistance, MixDistance, type MixEntry, TIMER_ERROR_NS } from '../stats/distance.ts';
import { DuplicateRatio } from '../stats/distinct.ts';

/**
 * Most instants in the buffer: 2 MiB. At 1,000 sends/s, an answer that is two minutes late is still sorted correctly.
 */
const MAX_WAITING = 2 ** 18;

/**
 * Sorts instants in bounded memory. A send is reported at its end, so a slow answer may be reported minutes after later
 * sends. A full buffer releases its earlier half. An instant earlier than the last released one is too late: it gets
 * the value of that one and counts as disordered.
 */
export class InstantOrder {
  readonly #release: (instantNs: number) => void;
  readonly #limit: number;
  #waiting: number[] = [];
  #last = Number.NEGATIVE_INFINITY;
  #disordered = 0;

  /** @param release gets the instants in ascending order */
  constructor(release: (instantNs: number) => void, limit: number = MAX_WAITING) {
    this.#release = release;
    this.#limit = limit;
  }

  /** Number of instants that came too late. */
  get disordered(): number {
    return this.#disordered;
  }

  add(instantNs: number): void {
    this.#waiting.push(instantNs);
    if (this.#waiting.length >= this.#limit) this.#releaseFirst(Math.ceil(this.#limit / 2));
  }

  /** Call it at the end of the run. */
  flush(): void {
    this.#releaseFirst(this.#waiting.length);
  }

  #releaseFirst(count: number): void {
    const sorted = Float64Array.from(this.#waiting).sort();
    for (const instant of sorted.subarray(0, count)) {
      if (instant < this.#last) this.#disordered += 1;
      this.#last = Math.max(this.#last, instant);
      this.#release(this.#last);
    }
    this.#waiting = [...sorted.subarray(count)];
  }
}

/** A part of a plan has as many requests, lasts as long and is no smaller share of what was planned before it. */
const PART_REQUESTS = 500;
const PART_NS = 10 * NS_PER_S;
const PART_SHARE = 1 / 512;

/**
 * Counts the planned requests that were due in time, part by part of the plan. What is late for a part and comes in the
 * next is load only as far as the next has room for it: otherwise a target that cannot take a peak would have taken it
 * by the end of a quiet evening. The parts are so large that their number is small and chance hardly matters.
 */
class PlanParts {
  readonly #parts: { readonly fromNs: number; planned: number; due: number }[] = [];
  #planned = 0;

  /** Adds a planned instant, in order. */
  plan(atNs: number): void {
    const last = this.#parts.at(-1);
    const isFull =
      last === undefined ||
      (last.planned >= Math.max(PART_REQUESTS, this.#planned * PART_SHARE) && atNs - last.fromNs >= PART_NS);
    if (isFull) this.#parts.push({ fromNs: atNs, planned: 1, due: 0 });
    else last.planned += 1;
    this.#planned += 1;
  }

  /** Adds the instant at which a request was due, in any order. */
  due(atNs: number): void {
    let [from, to] = [0, this.#parts.length];
    while (to - from > 1) {
      const middle = (from + to) >> 1;
      if ((this.#parts[middle]?.fromNs ?? 0) <= atNs) from = middle;
      else to = middle;
    }
    const part = this.#parts[from];
    if (part !== undefined) part.due += 1;
  }

  get inTime(): number {
    return this.#parts.reduce((sum, { planned, due }) => sum + Math.min(planned, due), 0);
  }
}

/** A shorter wait does not count as a delay. */
const UNNOTICED_NS = 2e6;
const RECORDED = 0;
const PLANNED = 1;
const SENT = 2;

/** The facts of a recorded exchange that the statistics need. Every ExchangeRow has them. */
export type RecordedRequest = Pick<
  ExchangeRow,
  | 'arrivalUs'
  | 'route'
  | 'model'
  | 'requestBytes'
  | 'requestStored'
  | 'requestHash'
  | 'status'
  | 'outcome'
  | 'lastByteOffsetUs'
>;

/** The part of a run's fidelity that depends on arrivals. `sent` is empty if nothing was sent, as in a dry run. */
export interface Fidelity
  extends Omit<
    FidelityDocument,
    'duplicateRatio' | 'duplicateRatioExact' | 'recordedRejected' | 'recordedRetries'
  > {
  /** Planned requests that repeat an earlier planned one. */
  readonly duplicates: DuplicateFigures;
}

/** Compares the three streams of arrivals of one replay, with constant memory. */
export class FidelityStatistics {
  readonly #recorded = new ArrivalStatistics(US_PER_S);
  readonly #inWindow = new ArrivalStatistics(US_PER_S);
  readonly #planned = new ArrivalStatistics(NS_PER_S);
  readonly #sent = new ArrivalStatistics(NS_PER_S);
  readonly #sentOrder = new InstantOrder((offsetNs) => this.#sent.add(offsetNs));
  readonly #resolved = new ArrivalStatistics(NS_PER_S);
  readonly #resolvedOrder = new InstantOrder((offsetNs) => this.#resolved.add(offsetNs));
  readonly #waitsFor: WaitsFor | null;
  #lastPlannedNs = 0;
  readonly #parts = new PlanParts();
  readonly #mix = new MixDistance(3);
  readonly #duplicates = new DuplicateRatio();

  /** @param waitsFor what delays requests after their planned instants; null for nothing */
  constructor(waitsFor: WaitsFor | null = null) {
    this.#waitsFor = waitsFor;
  }

  /** Adds a selected exchange of the window, replayable or not, in order of arrival. */
  addRecorded(row: RecordedRequest): void {
    this.#recorded.add(row.arrivalUs);
    this.#mix.add(RECORDED, row);
  }

  /** Adds any exchange of a filtered window, in order; `offsetUs` may have any origin. */
  addInWindow(offsetUs: number): void {
    this.#inWindow.add(offsetUs);
  }

  /** Adds a scheduled send, in the order of the schedule. */
  addPlanned(row: RecordedRequest, intendedOffsetNs: number): void {
    this.#addPlanned(row, intendedOffsetNs);
    const bodyKnown = row.requestHash !== null || (row.requestStored && row.requestBytes === 0);
    if (bodyKnown) this.#duplicates.add(row.route, row.requestHash);
  }

  /** Adds a scheduled send from the row of a finished run. The row does not say whether the body repeats another. */
  addPlannedSend(send: Send): void {
    this.#addPlanned(send, send.intendedOffsetNs);
  }

  /** Adds a finished send, in any order. */
  addSend(send: Send): void {
    const { intendedOffsetNs, actualOffsetNs, connectionWaitNs } = send;
    const waitedNs = connectionWaitNs ?? 0;
    // A wait up to the normal lag does not count as a delay. The schedule is read ahead, so the last planned instant is
    // later than any finished send.
    const dueNs = intendedOffsetNs + (waitedNs > UNNOTICED_NS ? waitedNs : 0);
    if ((actualOffsetNs !== null || send.refused) && dueNs <= this.#lastPlannedNs) this.#parts.due(dueNs);
    if (actualOffsetNs === null) return;
    this.#mix.add(SENT, send);
    // A send that waited for a connection is compared with the instant at which the connection was free.
    this.#sentOrder.add(this.#waitsFor === null ? actualOffsetNs - waitedNs : actualOffsetNs);
    if (this.#waitsFor !== null) this.#resolvedOrder.add(intendedOffsetNs + waitedNs);
  }

  /** Call it when no send is open any more, before the final figures. */
  finish(): void {
    this.#sentOrder.flush();
    this.#resolvedOrder.flush();
  }

  figures(): Fidelity {
    return {
      recorded: this.#recorded.figures(),
      unfiltered: this.#inWindow.count === 0 ? null : this.#inWindow.figures(),
      planned: this.#planned.figures(),
      waitsFor: this.#waitsFor,
      resolved: this.#waitsFor === null ? null : this.#resolved.figures(),
      dueInTime: this.#waitsFor === null ? null : this.#parts.inTime,
      sent: this.#sent.figures(),
      recordedToPlanned: {
        ksGaps: gapDistance(this.#recorded.gaps, this.#planned.gaps),
        mixDistance: this.#mix.between(RECORDED, PLANNED),
      },
      ksGaps: gapDistance(
        (this.#waitsFor === null ? this.#planned : this.#resolved).gaps,
        this.#sent.gaps,
        TIMER_ERROR_NS,
      ),
      mixDistance: this.#mix.between(PLANNED, SENT),
      duplicates: this.#duplicates.figures(),
      unordered: this.#sentOrder.disordered,
    };
  }

  #addPlanned(request: MixEntry, intendedOffsetNs: number): void {
    if (this.#planned.count === 0) {
      this.#sent.layWindowsFrom(intendedOffsetNs);
      this.#resolved.layWindowsFrom(intendedOffsetNs);
    }
    this.#lastPlannedNs = intendedOffsetNs;
    if (this.#waitsFor !== null) this.#parts.plan(intendedOffsetNs);
    this.#planned.add(intendedOffsetNs);
    this.#mix.add(PLANNED, request);
  }
}

/** The figures of a shard about the plan of all shards. */
export function wholePlanOf({ recorded, planned, recordedToPlanned, duplicates }: Fidelity): WholePlan {
  return { recorded, planned, recordedToPlanned, duplicates };
}
