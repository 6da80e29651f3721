import { Histogram } from '../core/histogram.ts';
import { readyOffsetNs, type Send, type Stretch } from '../core/run.ts';
import { DurationsAside } from './durations-aside.ts';
import { StretchSet } from './stretch-set.ts';
import { WindowPercentiles } from './window-percentiles.ts';

/** A send later than this may have been due in a stalled stretch, which is only known when the run is over. */
const LATE_NS = 1e6;
/** One in flight for longer than this may have been answered in one: shorter ones are no stall. */
const LONG_NS = 250e6;
/** Sends of either kind kept aside until then. In a run with more the others count as they are. */
const MAX_ASIDE = 262_144;
/** The loop that wakes up may learn how long it slept before it has stamped all that piled up meanwhile. */
const PILED_UP_NS = 50e6;

/** Durations of one send, nanoseconds. */
export interface Durations {
  readonly intendedOffsetNs: number;
  readonly endOffsetNs: number;
  readonly inFlightNs: number;
  readonly lagNs: number;
  readonly connectNs: number | null;
  readonly connectionWaitNs: number | null;
  /** Whether the answer completed: only then is its end the end of a latency. */
  readonly hasLatency: boolean;
  /** Not waited for on purpose: it has a lag and no latency. */
  readonly cancelled: boolean;
  /** Failed through the run being stopped, and not by the target. */
  readonly stopped: boolean;
}

/** Distributions in nanoseconds, stalled stretches left out. */
export interface LatencyFigures {
  /** Last byte minus intended send, of requests that completed. */
  readonly scheduled: Histogram;
  /** Last byte minus actual send, of requests that completed. */
  readonly service: Histogram;
  /** The same two by stretches of the run, which say how far their percentiles can be trusted. */
  readonly byWindow: { readonly scheduled: WindowPercentiles; readonly service: WindowPercentiles };
  /** Actual minus intended send, less the wait for a recorded connection, of everything sent. */
  readonly lag: Histogram;
  /** From the actual send to the request's first byte going out: choosing or opening a connection. */
  readonly connect: Histogram;
  /** Waiting for the recorded connection, before the actual send; empty where none was waited for. */
  readonly connectionWait: Histogram;
  /** The greatest lag of all, stalled stretches included. */
  readonly lagMaxNs: number | null;
  /** Failed sends outside stalled stretches, without and with those that our own stop ended. */
  readonly failed: number;
  readonly stopped: number;
  /** Sends left out of all of the above: due in a stalled stretch and late, or ended in one, whenever that was. */
  readonly leftOut: number;
  /** How long the stalled stretches are together. */
  readonly stalledNs: number;
  /** Of `scheduled` and `service`, such as were over before the first of these stretches: not all, and none without one. */
  readonly beforeStalls: { readonly scheduled: Histogram; readonly service: Histogram };
}

/**
 * Gathers lag and latencies of finished sends. Stalled stretches are told at the end, so whatever can have
 * suffered from one waits aside until then: what left late, and what was in flight for as long as a stall.
 */
export class LatencyStatistics {
  readonly #scheduled = new Histogram();
  readonly #service = new Histogram();
  readonly #lag = new Histogram();
  readonly #connect = new Histogram();
  readonly #connectionWait = new Histogram();
  readonly #lagOfAll = new Histogram();
  readonly #late: DurationsAside;
  /** Apart, because a slow model has only long ones: they must not take the place of the late. */
  readonly #long: DurationsAside;
  readonly #scheduledByWindow: WindowPercentiles;
  readonly #serviceByWindow: WindowPercentiles;
  /** There was no room aside for some. */
  #full = false;
  #failed = 0;
  #stopped = 0;

  /** @param originNs where what is judged of the run begins */
  constructor(maxAside: number = MAX_ASIDE, originNs = 0) {
    this.#late = new DurationsAside(maxAside);
    this.#long = new DurationsAside(maxAside);
    this.#scheduledByWindow = new WindowPercentiles(originNs);
    this.#serviceByWindow = new WindowPercentiles(originNs);
  }

  /** Takes a send that left: completed, or failed in whatever way. */
  add(send: Send & { readonly actualOffsetNs: number }, completed: boolean): void {
    const durations = durationsOf(send, completed);
    this.#lagOfAll.record(durations.lagNs);
    const aside = this.#asideFor(durations);
    if (aside?.add(durations) === true) return;
    this.#full ||= aside !== null;
    this.#record(durations);
  }

  /**
   * Ends the gathering: sends that left late, or whose end was noticed late, for one of the stretches are left out.
   * @param firstStallNs where the first stretch of the run begins, of which these may be a part
   */
  finish(stalls: readonly Stretch[], firstStallNs = firstOf(stalls)): LatencyFigures {
    const stalled = new StretchSet(stalls);
    const later = new DurationsAside(Number.POSITIVE_INFINITY);
    for (const durations of this.#takeAside()) {
      if (durations.endOffsetNs > firstStallNs) later.add(durations);
      else this.#record(durations);
    }
    const beforeStalls = this.#until(firstStallNs - LONG_NS - LATE_NS);
    let leftOut = 0;
    for (const durations of later.takeAll()) {
      if (hasSuffered(durations, stalled)) leftOut += 1;
      else this.#record(durations);
    }
    return {
      scheduled: this.#scheduled,
      service: this.#service,
      byWindow: { scheduled: this.#scheduledByWindow, service: this.#serviceByWindow },
      lag: this.#lag,
      connect: this.#connect,
      connectionWait: this.#connectionWait,
      lagMaxNs: this.#lagOfAll.max,
      failed: this.#failed,
      stopped: this.#stopped,
      leftOut,
      stalledNs: stalled.totalNs,
      beforeStalls,
    };
  }

  *#takeAside(): Generator<Durations> {
    for (const aside of [this.#late, this.#long]) yield* aside.takeAll();
  }

  /** What is recorded by now and was sent until then. Nothing where some did not wait aside that should have. */
  #until(offsetNs: number): LatencyFigures['beforeStalls'] {
    const untilNs = Number.isFinite(offsetNs) && !this.#full ? offsetNs : Number.NEGATIVE_INFINITY;
    return {
      scheduled: this.#scheduledByWindow.until(untilNs),
      service: this.#serviceByWindow.until(untilNs),
    };
  }

  #asideFor(durations: Durations): DurationsAside | null {
    if (!mayHaveSuffered(durations)) return null;
    return durations.lagNs > LATE_NS ? this.#late : this.#long;
  }

  #record(durations: Durations): void {
    this.#lag.record(durations.lagNs);
    if (durations.connectNs !== null) this.#connect.record(durations.connectNs);
    if (durations.connectionWaitNs !== null) this.#connectionWait.record(durations.connectionWaitNs);
    if (durations.hasLatency) {
      const { scheduledNs, serviceNs } = latencyOf(durations);
      this.#scheduled.record(scheduledNs);
      this.#service.record(serviceNs);
      this.#scheduledByWindow.record(durations.intendedOffsetNs, scheduledNs);
      this.#serviceByWindow.record(durations.intendedOffsetNs, serviceNs);
      return;
    }
    if (durations.cancelled) return;
    this.#failed += 1;
    if (durations.stopped) this.#stopped += 1;
  }
}

function firstOf(stalls: readonly Stretch[]): number {
  return Math.min(...stalls.map(({ fromOffsetNs }) => fromOffsetNs), Number.POSITIVE_INFINITY);
}

/** Whether it can be told only when the stretches are known in which we stood still. */
export function mayHaveSuffered({ lagNs, inFlightNs }: Durations): boolean {
  return lagNs > LATE_NS || inFlightNs > LONG_NS;
}

/** Whether what was measured of a send may be the doing of a stretch in which we stood still. */
export function hasSuffered(send: Durations, stalled: StretchSet): boolean {
  if (send.lagNs > LATE_NS && stalled.has(send.intendedOffsetNs)) return true;
  if (send.inFlightNs <= LONG_NS) return false;
  return stalled.has(send.endOffsetNs) || stalled.has(send.endOffsetNs - PILED_UP_NS);
}

/** How long the answer took that completed: from the instant it was due, and from its send. */
export function latencyOf({ intendedOffsetNs, endOffsetNs, inFlightNs }: Durations): {
  readonly scheduledNs: number;
  readonly serviceNs: number;
} {
  return { scheduledNs: Math.max(0, endOffsetNs - intendedOffsetNs), serviceNs: Math.max(0, inFlightNs) };
}

/** What took how long of a send that left; `completed` says whether it has a latency. */
export function durationsOf(send: Send & { readonly actualOffsetNs: number }, completed: boolean): Durations {
  const endOffsetNs = send.lastByteOffsetNs ?? send.actualOffsetNs;
  return {
    intendedOffsetNs: send.intendedOffsetNs,
    endOffsetNs,
    inFlightNs: endOffsetNs - send.actualOffsetNs,
    // A send never leaves before its instant; should a stamp say so, it is not late.
    lagNs: Math.max(0, readyOffsetNs(send) - send.intendedOffsetNs),
    connectNs: send.startOffsetNs === null ? null : Math.max(0, send.startOffsetNs - send.actualOffsetNs),
    connectionWaitNs: send.connectionWaitNs,
    hasLatency: completed && send.lastByteOffsetNs !== null,
    cancelled: send.cancelled,
    stopped: send.error === 'stopped',
  };
}
