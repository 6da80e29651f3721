import { Histogram } from '../core/histogram.ts';
import type { Send, Stretch } from '../core/run.ts';
import { StretchSet } from './stretch-set.ts';

/** A send later than this may lie in a stalled stretch, which is only known when the run is over. */
const LATE_NS = 1e6;
/** Late sends kept aside until then. A run with more has lag that no stretch explains; they count as they are. */
const MAX_LATE = 262_144;

/** Durations of one send, nanoseconds; latencies are null where the answer did not complete. */
interface Durations {
  readonly intendedOffsetNs: number;
  readonly lagNs: number;
  readonly connectNs: number | null;
  readonly scheduledNs: number | null;
  readonly serviceNs: number | null;
  /** Failed through the run being stopped, and not by the target. */
  readonly stopped: boolean;
}

/** Distributions in nanoseconds, stalled stretches left out. */
export interface LatencyFigures {
  /** Last byte minus intended send, of requests that completed. */
  readonly scheduled: Histogram;
  /** Last byte minus actual send, of requests that completed. */
  readonly service: Histogram;
  /** Actual minus intended send, of everything sent. */
  readonly lag: Histogram;
  /** From the actual send to the request's first byte going out: choosing or opening a connection. */
  readonly connect: Histogram;
  /** The greatest lag of all, stalled stretches included. */
  readonly lagMaxNs: number | null;
  /** Failed sends outside stalled stretches, without and with those that our own stop ended. */
  readonly failed: number;
  readonly stopped: number;
  /** Sends left out of all of the above because they were due in a stalled stretch and left late. */
  readonly leftOut: number;
}

/**
 * Gathers lag and latencies of finished sends. Stalled stretches are told at the end, so late sends wait aside
 * until then: only a send that left late can have suffered from one.
 */
export class LatencyStatistics {
  readonly #scheduled = new Histogram();
  readonly #service = new Histogram();
  readonly #lag = new Histogram();
  readonly #connect = new Histogram();
  readonly #lagOfAll = new Histogram();
  readonly #late: Durations[] = [];
  readonly #maxLate: number;
  #failed = 0;
  #stopped = 0;

  constructor(maxLate: number = MAX_LATE) {
    this.#maxLate = maxLate;
  }

  /** Takes a send that left: completed, or failed in whatever way. */
  add(send: Send & { readonly actualOffsetNs: number }, completed: boolean): void {
    const durations = durationsOf(send, completed);
    this.#lagOfAll.record(durations.lagNs);
    if (durations.lagNs > LATE_NS && this.#late.length < this.#maxLate) this.#late.push(durations);
    else this.#record(durations);
  }

  /** The 99th percentile of lag so far, stalls included; for showing while the run goes on. */
  lagP99Ns(): number | null {
    return this.#lagOfAll.percentile(99);
  }

  /** Ends the gathering: sends that were late because of one of the stretches are left out. */
  finish(stalls: readonly Stretch[]): LatencyFigures {
    const stalled = new StretchSet(stalls);
    let leftOut = 0;
    for (const durations of this.#late) {
      if (stalled.has(durations.intendedOffsetNs)) leftOut += 1;
      else this.#record(durations);
    }
    this.#late.length = 0;
    return {
      scheduled: this.#scheduled,
      service: this.#service,
      lag: this.#lag,
      connect: this.#connect,
      lagMaxNs: this.#lagOfAll.max,
      failed: this.#failed,
      stopped: this.#stopped,
      leftOut,
    };
  }

  #record(durations: Durations): void {
    this.#lag.record(durations.lagNs);
    if (durations.connectNs !== null) this.#connect.record(durations.connectNs);
    if (durations.scheduledNs !== null && durations.serviceNs !== null) {
      this.#scheduled.record(durations.scheduledNs);
      this.#service.record(durations.serviceNs);
      return;
    }
    this.#failed += 1;
    if (durations.stopped) this.#stopped += 1;
  }
}

function durationsOf(send: Send & { readonly actualOffsetNs: number }, completed: boolean): Durations {
  const end = completed ? send.lastByteOffsetNs : null;
  return {
    intendedOffsetNs: send.intendedOffsetNs,
    // A send never leaves before its instant; should a stamp say so, it is not late.
    lagNs: Math.max(0, send.actualOffsetNs - send.intendedOffsetNs),
    connectNs: send.startOffsetNs === null ? null : Math.max(0, send.startOffsetNs - send.actualOffsetNs),
    scheduledNs: end === null ? null : Math.max(0, end - send.intendedOffsetNs),
    serviceNs: end === null ? null : Math.max(0, end - send.actualOffsetNs),
    stopped: send.error === 'stopped',
  };
}
