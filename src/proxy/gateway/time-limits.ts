import type { Clock } from '../../core/clock.ts';

/** Something under way whose time may run out. */
export interface Timed {
  /** Looks whether it waited too long; called some ten times a second. */
  checkTime(nowMs: number): void;
}

/** How late a time-out may be, ms. */
const STEP_MS = 100;

/**
 * One timer for everything under way, instead of one or two for each request: it walks what is open, and keeps
 * the time at that precision, so that stamping a chunk costs nothing.
 */
export class TimeLimits {
  readonly #clock: Clock;
  readonly #open = new Set<Timed>();
  #timer: NodeJS.Timeout | null = null;
  /** Monotonic milliseconds, at most one step behind while something is open. */
  nowMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.nowMs = clock.nowNs() / 1e6;
  }

  add(timed: Timed): void {
    this.#open.add(timed);
    if (this.#timer !== null) return;
    this.nowMs = this.#clock.nowNs() / 1e6;
    this.#timer = setInterval(() => this.walk(), STEP_MS);
    this.#timer.unref();
  }

  remove(timed: Timed): void {
    this.#open.delete(timed);
  }

  walk(): void {
    this.nowMs = this.#clock.nowNs() / 1e6;
    for (const timed of this.#open) timed.checkTime(this.nowMs);
    if (this.#open.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }
}
