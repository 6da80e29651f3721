import type { Clock } from '../../core/clock.ts';

/** The time between two beats while a request is open. */
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
 * a request costs nothing if the answer came after it. While no request is open, it does not beat: nothing is read, and
 * the loop sleeps.
 */
export class Heartbeat {
  readonly #clock: Pick<Clock, 'nowNs'>;
  readonly #beatLater: () => void;
  /** Requests that are open. */
  #open = 0;
  #isBeating = false;
  #lastNs = 0;
  /** The beat before the last one, if the last one was late. */
  #lateSinceNs: number | null = null;
  #pausedNs = 0;

  /** @param beatLater makes `beat` be called once, after `BEAT_MS` */
  constructor(clock: Pick<Clock, 'nowNs'>, beatLater: () => void) {
    this.#clock = clock;
    this.#beatLater = beatLater;
  }

  /** A request is sent. */
  opens(): void {
    this.#open += 1;
    if (this.#isBeating) return;
    this.#isBeating = true;
    this.#lastNs = this.#clock.nowNs();
    this.#lateSinceNs = null;
    this.#beatLater();
  }

  /** A request has ended. */
  closes(): void {
    this.#open -= 1;
  }

  beat(): void {
    const nowNs = this.#clock.nowNs();
    const isLate = nowNs - this.#lastNs > LATE_NS;
    if (isLate) this.#pausedNs += nowNs - this.#lastNs;
    this.#lateSinceNs = isLate ? this.#lastNs : null;
    this.#lastNs = nowNs;
    this.#isBeating = this.#open > 0;
    if (this.#isBeating) this.#beatLater();
  }

  /** The longest time for which data that are read now may have waited; 0 if the loop was not late. */
  waitedNs(nowNs: number): number {
    if (!this.#isBeating) return 0;
    const sinceNs = this.#lateSinceNs ?? (nowNs - this.#lastNs > LATE_NS ? this.#lastNs : nowNs);
    return nowNs - sinceNs;
  }

  /** All pauses so far. */
  pausedNs(nowNs: number): number {
    const sinceNs = nowNs - this.#lastNs;
    return this.#pausedNs + (this.#isBeating && sinceNs > LATE_NS ? sinceNs : 0);
  }
}
