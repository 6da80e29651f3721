/** One pairing of the two clocks, kept in a capture so that its times can be explained later. */
export interface ClockAnchor {
  readonly monotonicNs: number;
  readonly epochUs: number;
}

/** The only reader of time. Everything else is given a Clock. */
export interface Clock {
  /** Monotonic nanoseconds since an arbitrary origin; exact as a double for a hundred days. */
  nowNs(): number;
  /** Wall clock, epoch microseconds, at the resolution the host gives (milliseconds). */
  epochUs(): number;
  /** Both clocks at one instant, to some microseconds. May take a millisecond. */
  anchor(): ClockAnchor;
}

/**
 * The host's clocks. `hrtime` has one origin for every process and thread of a host, so that stamps of the
 * forwarder mean the same in the recorder, and those of a sender the same in the main thread.
 */
export const systemClock: Clock = {
  nowNs: () => Number(process.hrtime.bigint()),
  epochUs: () => Date.now() * 1000,
  anchor: () => {
    // Date.now() counts whole milliseconds; the instant it ticks over is known far better than that.
    const before = Date.now();
    let now = before;
    while (now === before) now = Date.now();
    return { monotonicNs: Number(process.hrtime.bigint()), epochUs: now * 1000 };
  },
};

/** Share of elapsed time by which the anchored clock may run fast or slow to follow the wall clock. */
const SLEW_LIMIT = 0.0005;

/**
 * Epoch microseconds derived from the monotonic clock: never backwards and never a jump, yet following the
 * wall clock. Each new anchor is approached by running at most 500 ppm fast or slow.
 */
export class AnchoredClock {
  readonly #anchors: ClockAnchor[];
  #base: ClockAnchor;
  #rate = 1;

  constructor(anchor: ClockAnchor) {
    this.#anchors = [anchor];
    this.#base = anchor;
  }

  /** The epoch time of a monotonic stamp, in whole microseconds. */
  epochUsOf(monotonicNs: number): number {
    return Math.round(this.#base.epochUs + ((monotonicNs - this.#base.monotonicNs) / 1000) * this.#rate);
  }

  /** Takes a fresh pairing; `horizonNs` is the time to the next one, over which the difference is worked off. */
  anchor(anchor: ClockAnchor, horizonNs: number): void {
    const shownUs = this.epochUsOf(anchor.monotonicNs);
    const slew = (anchor.epochUs - shownUs) / (horizonNs / 1000);
    this.#base = { monotonicNs: anchor.monotonicNs, epochUs: shownUs };
    this.#rate = 1 + Math.max(-SLEW_LIMIT, Math.min(SLEW_LIMIT, slew));
    this.#anchors.push(anchor);
  }

  /** Anchors since the last call that took them, oldest first. */
  takeAnchors(): ClockAnchor[] {
    return this.#anchors.splice(0);
  }
}
