import type { BusyMeter } from './busy-meter.ts';
import { Durations } from './durations.ts';
import type { SenderHealth } from './engine-health.ts';
import type { Admission } from './in-flight.ts';
import type { OutgoingRequest } from './send-batch.ts';
import { StallLog } from './stall-log.ts';

/** What one sender has done so far, and how well. Offsets are nanoseconds of the run. */
export class SendTally {
  readonly stalls = new StallLog();
  /** Went to the target. */
  sent = 0;
  stopped = 0;
  unreached = 0;
  starved = 0;
  readonly #judgedFromNs: number;
  readonly #lag = new Durations();
  #dispatched = 0;
  #refused = 0;
  #refusedForBytes = 0;
  #inFlightMax = 0;

  /** @param judgedFromNs offset from which on what we did wrong is counted */
  constructor(judgedFromNs: number) {
    this.#judgedFromNs = judgedFromNs;
  }

  /** One more planned request has left the queue. @returns how many have */
  countDispatched(): number {
    this.#dispatched += 1;
    return this.#dispatched;
  }

  /** @param requests under way, this one included */
  admitted({ intendedOffsetNs }: OutgoingRequest, readyOffsetNs: number, requests: number): void {
    this.#inFlightMax = Math.max(this.#inFlightMax, requests);
    this.#lag.record(readyOffsetNs - intendedOffsetNs);
    this.stalls.noteSend(intendedOffsetNs, readyOffsetNs);
  }

  refused({ intendedOffsetNs }: OutgoingRequest, why: Admission, atOffsetNs: number): void {
    this.#refused += 1;
    if (why === 'too_heavy' && intendedOffsetNs >= this.#judgedFromNs) this.#refusedForBytes += 1;
    this.stalls.noteSend(intendedOffsetNs, atOffsetNs);
  }

  health(busy: BusyMeter, nowNs: number, endOffsetNs: number, heldBack: number): SenderHealth {
    const { mean, max10s } = busy.shares(nowNs);
    return {
      endOffsetNs,
      sent: this.sent,
      refused: this.#refused,
      refusedForBytes: this.#refusedForBytes,
      stopped: this.stopped,
      unreached: this.unreached,
      lag: this.#lag.packed(),
      busyShare: mean,
      busyShareMax10s: max10s,
      starved: this.starved,
      stalls: this.stalls.stalls(),
      inFlightMax: this.#inFlightMax,
      heldBack,
    };
  }
}
