import type { Clock } from '../../core/clock.ts';

/** How often `beat` is called. */
export const BEAT_MS = 2;
/**
 * A beat later than this shows that the loop could not read. Shorter delays happen on every machine, and count as the
 * target's.
 */
const LATE_NS = 5_000_000;

/**
 * Knows when an event loop last looked at its sockets, by a timer. Between two beats there is at least one look, which
 * reads all data that arrived before the first of them. If a beat is late, data that are read next may have waited: the
 * process was stopped, or had no processor. Only the pause that ends just before a read delays it. One in the middle of
 * a request costs nothing if the answer came after it.
 */
export class Heartbeat {
  readonly #clock: Pick<Clock, 'nowNs'>;
  #lastNs: number;
  /** The beat before the last one, if the last one was late. */
  #lateSinceNs: number | null = null;
  #pausedNs = 0;

  constructor(clock: Pick<Clock, 'nowNs'>) {
    this.#clock = clock;
    this.#lastNs = clock.nowNs();
  }

  beat(): void {
    const nowNs = this.#clock.nowNs();
    const isLate = nowNs - this.#lastNs > LATE_NS;
    if (isLate) this.#pausedNs += nowNs - this.#lastNs;
    this.#lateSinceNs = isLate ? this.#lastNs : null;
    this.#lastNs = nowNs;
  }

  /** The longest time for which data that are read now may have waited; 0 if the loop was not late. */
  waitedNs(nowNs: number): number {
    const sinceNs = this.#lateSinceNs ?? (nowNs - this.#lastNs > LATE_NS ? this.#lastNs : nowNs);
    return nowNs - sinceNs;
  }

  /** All pauses so far. */
  pausedNs(nowNs: number): number {
    const sinceNs = nowNs - this.#lastNs;
    return this.#pausedNs + (sinceNs > LATE_NS ? sinceNs : 0);
  }
}
