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
  /** Both clocks at one instant, to some microseconds. Takes a millisecond, on a busy host up to five. */
  anchor(): ClockAnchor;
}

/** Looked up once: `process` is a getter, and the time is read a dozen times for each request. */
const { hrtime } = process;

/**
 * The host's clocks. `hrtime` has one origin for every process and thread of a host, so that stamps of the
 * proxy mean the same in the recorder, and those of a sender the same in the main thread.
 */
export const systemClock: Clock = {
  nowNs: () => {
    // Not `hrtime.bigint`: a bigint would be made and turned into a number each time.
    const [seconds, ns] = hrtime();
    return seconds * 1e9 + ns;
  },
  epochUs: () => Date.now() * 1000,
  anchor: () => pairClocks(Date.now, systemClock.nowNs),
};

/** On a busy host somebody else may run just then: a tick seen less sharply than this is looked for again. */
const TICK_WIDTH_NS = 20_000;
const TICK_TRIES = 5;

/**
 * Both clocks at one instant. The wall clock counts whole milliseconds; the instant it ticks over is known far
 * better than that.
 */
export function pairClocks(wallMs: () => number, nowNs: () => number): ClockAnchor {
  let best = tick(wallMs, nowNs);
  for (let tries = 1; best.widthNs > TICK_WIDTH_NS && tries < TICK_TRIES; tries += 1) {
    const again = tick(wallMs, nowNs);
    if (again.widthNs < best.widthNs) best = again;
  }
  return best.anchor;
}

/** The wall clock showed `before` at `lookedNs` or later, and has ticked over by `seenNs`. */
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
