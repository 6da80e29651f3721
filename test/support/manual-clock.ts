import type { Clock, ClockAnchor } from '../../src/core/clock.ts';

interface Sleeper {
  readonly atNs: number;
  readonly wake: () => void;
}

/** A clock that only a test moves. It wakes sleepers in the order of their instants. */
export class ManualClock implements Clock {
  #nowNs: number;
  #epochUs: number;
  readonly #sleepers: Sleeper[] = [];

  constructor(nowNs = 1_000_000_000, epochUs = 1_790_000_000_000_000) {
    this.#nowNs = nowNs;
    this.#epochUs = epochUs;
  }

  nowNs(): number {
    return this.#nowNs;
  }

  epochUs(): number {
    return this.#epochUs;
  }

  anchor(): ClockAnchor {
    return { monotonicNs: this.#nowNs, epochUs: this.#epochUs };
  }

  /** Calls `wake` when the time reaches `atNs`. Sleepers with equal instants wake in the order of these calls. */
  sleepUntil(atNs: number, wake: () => void): void {
    const after = this.#sleepers.findIndex((sleeper) => sleeper.atNs > atNs);
    this.#sleepers.splice(after < 0 ? this.#sleepers.length : after, 0, { atNs, wake });
  }

  advance(ns: number): void {
    this.advanceTo(this.#nowNs + ns);
  }

  /** Moves the time forward and stops at every sleeper on the way, including those added meanwhile. */
  advanceTo(ns: number): void {
    for (let first = this.#sleepers[0]; first && first.atNs <= ns; first = this.#sleepers[0]) {
      this.#sleepers.shift();
      this.#moveTo(Math.max(first.atNs, this.#nowNs));
      first.wake();
    }
    this.#moveTo(ns);
  }

  #moveTo(ns: number): void {
    this.#epochUs += Math.round((ns - this.#nowNs) / 1000);
    this.#nowNs = ns;
  }
}
