import type { Clock } from '../../core/clock.ts';
import type { GatewayTimeouts } from './options.ts';

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
  readonly clock: Clock;
  readonly #open = new Set<Timed>();
  #timer: NodeJS.Timeout | null = null;
  /** Monotonic milliseconds, at most one step behind while something is open. */
  nowMs: number;

  constructor(clock: Clock) {
    this.clock = clock;
    this.nowMs = clock.nowNs() / 1e6;
  }

  add(timed: Timed): void {
    this.#open.add(timed);
    if (this.#timer !== null) return;
    this.readTime();
    this.#timer = setInterval(() => {
      this.readTime();
      // What came meanwhile is read before this runs: a gateway that stood still for longer than a limit has not
      // heard yet who kept it.
      setImmediate(() => this.walk());
    }, STEP_MS);
    this.#timer.unref();
  }

  remove(timed: Timed): void {
    this.#open.delete(timed);
  }

  readTime(): void {
    this.nowMs = this.clock.nowNs() / 1e6;
  }

  /** Lets each look, at the time that was read last. */
  walk(): void {
    for (const timed of [...this.#open]) if (this.#open.has(timed)) timed.checkTime(this.nowMs);
    if (this.#open.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }
}

/** Where an exchange stands, in milliseconds since it began and since anything last moved. */
export interface Standing {
  readonly ageMs: number;
  readonly quietMs: number;
  /** Its connection to the target is not made yet. */
  readonly connecting: boolean;
  /** It is asked in full and not answered yet. */
  readonly waiting: boolean;
  /** Its answer has begun, or its request is held back by the target. */
  readonly flowing: boolean;
}

/** Whether an exchange took longer than it may. */
export function isLate(standing: Standing, timeouts: GatewayTimeouts): boolean {
  const { ageMs, quietMs, connecting, waiting, flowing } = standing;
  return (
    exceeds(ageMs, timeouts.totalMs) ||
    (connecting && exceeds(ageMs, timeouts.connectMs)) ||
    (waiting && exceeds(quietMs, timeouts.firstByteMs)) ||
    (flowing && exceeds(quietMs, timeouts.idleMs))
  );
}

function exceeds(ms: number, limitMs: number): boolean {
  return limitMs > 0 && ms > limitMs;
}
