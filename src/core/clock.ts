/** Readings of both clocks at one instant, stored in a capture to interpret its times later. */
export interface ClockAnchor {
  readonly monotonicNs: number;
  readonly epochUs: number;
}

/** The only source of time. All other code receives a Clock. */
export interface Clock {
  /** Monotonic nanoseconds since an arbitrary origin; exact as a double for a hundred days. */
  nowNs(): number;
  /** Wall clock, epoch microseconds, at the resolution the host gives (milliseconds). */
  epochUs(): number;
  /**
   * Both clocks at one instant, exact to some microseconds. Takes a millisecond, or up to five on a busy
   * host.
   */
  anchor(): ClockAnchor;
}

/** Looked up once: `process` is a getter, and the time is read a dozen times per request. */
const { hrtime } = process;

/**
 * The host's clocks. `hrtime` has one origin for all processes and threads of a host. So times from the proxy
 * and the recorder, or from senders and the main thread, are comparable.
 */
export const systemClock: Clock = {
  nowNs: () => {
    // Not `hrtime.bigint`, which would create and convert a bigint each time.
    const [seconds, ns] = hrtime();
    return seconds * 1e9 + ns;
  },
  epochUs: () => Date.now() * 1000,
  anchor: () => pairClocks(Date.now, systemClock.nowNs),
};

/** A clock tick observed less exactly than this (on a busy host) is observed again. */
const TICK_WIDTH_NS = 20_000;
const TICK_TRIES = 5;

/**
 * Both clocks at one instant. The wall clock counts whole milliseconds, but the instant of its tick can be
 * observed far more exactly.
 */
export function pairClocks(wallMs: () => number, nowNs: () => number): ClockAnchor {
  let best = tick(wallMs, nowNs);
  for (let tries = 1; best.widthNs > TICK_WIDTH_NS && tries < TICK_TRIES; tries += 1) {
    const again = tick(wallMs, nowNs);
    if (again.widthNs < best.widthNs) best = again;
  }
  return best.anchor;
}

/** The wall clock showed `before` at `lookedNs` or later, and had ticked by `seenNs`. */
function tick(
  wallMs: () => number,
  nowNs: () => number,
): { readonly anchor: ClockAnchor; readonly widthNs: number } {
  let lookedNs = nowNs();
  const before = wallMs();
  for (;;) {
    const lookingNs = nowNs();
    const now = wallMs();
    if (now === before) {
      lookedNs = lookingNs;
      continue;
    }
    const seenNs = nowNs();
    return { anchor: { monotonicNs: seenNs, epochUs: now * 1000 }, widthNs: seenNs - lookedNs };
  }
}

/** Largest share by which the anchored clock may run fast or slow to follow the wall clock. */
const SLEW_LIMIT = 0.0005;

/**
 * Epoch microseconds derived from the monotonic clock. It never steps back or jumps, yet it follows the wall
 * clock. It approaches each new anchor by at most 500 ppm.
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

  /** Sets a new anchor. `horizonNs` is the time to the next one, over which the difference is corrected. */
  anchor(anchor: ClockAnchor, horizonNs: number): void {
    const shownUs = this.epochUsOf(anchor.monotonicNs);
    const slew = (anchor.epochUs - shownUs) / (horizonNs / 1000);
    this.#base = { monotonicNs: anchor.monotonicNs, epochUs: shownUs };
    this.#rate = 1 + Math.max(-SLEW_LIMIT, Math.min(SLEW_LIMIT, slew));
    this.#anchors.push(anchor);
  }

  /** Returns and clears the anchors since the last call, oldest first. */
  takeAnchors(): ClockAnchor[] {
    return this.#anchors.splice(0);
  }
}
