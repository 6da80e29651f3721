import type { TimeLimits } from './time-limits.ts';

/** When an exchange began, and when something of it last moved. */
export class Progress {
  readonly #limits: TimeLimits;
  readonly #startMs: number;
  #movedMs: number;
  #untaken = 0;

  constructor(limits: TimeLimits) {
    this.#limits = limits;
    this.#startMs = limits.nowMs;
    this.#movedMs = this.#startMs;
  }

  get ageMs(): number {
    return this.#limits.nowMs - this.#startMs;
  }

  get quietMs(): number {
    return this.#limits.nowMs - this.#movedMs;
  }

  moved(): void {
    this.#movedMs = this.#limits.nowMs;
  }

  /** What the client has not taken of its answer yet: when that is whole, nothing but its taking moves. */
  noteUntaken(bytes: number): void {
    if (bytes < this.#untaken) this.moved();
    this.#untaken = bytes;
  }
}
