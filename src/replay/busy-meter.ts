const WINDOW_NS = 10_000_000_000;

/**
 * How much of its time a thread works. Waiting for an instant by turning the event loop looks like work to
 * the runtime, so turns that did nothing else are told to the meter and taken out again.
 */
export class BusyMeter {
  /** Nanoseconds the loop has slept in its poll phase so far. */
  readonly #idleNs: () => number;
  readonly #startNs: number;
  readonly #startIdleNs: number;
  #spunNs = 0;
  #windowStartNs: number;
  #windowIdleNs: number;
  #windowSpunNs = 0;
  #windowShareMax = 0;

  constructor(nowNs: number, idleNs: () => number) {
    this.#idleNs = idleNs;
    this.#startNs = nowNs;
    this.#startIdleNs = idleNs();
    this.#windowStartNs = nowNs;
    this.#windowIdleNs = this.#startIdleNs;
  }

  /** A turn of `ns` in which nothing but waiting happened. */
  addSpin(ns: number): void {
    this.#spunNs += ns;
  }

  /** Call now and then: closes a window of ten seconds when one is over. */
  tick(nowNs: number): void {
    if (nowNs - this.#windowStartNs < WINDOW_NS) return;
    const idleNs = this.#idleNs();
    const share = shareOf(
      nowNs - this.#windowStartNs,
      idleNs - this.#windowIdleNs + this.#spunNs - this.#windowSpunNs,
    );
    this.#windowShareMax = Math.max(this.#windowShareMax, share);
    this.#windowStartNs = nowNs;
    this.#windowIdleNs = idleNs;
    this.#windowSpunNs = this.#spunNs;
  }

  /** Shares of 1. A run shorter than a window is its own worst window. */
  shares(nowNs: number): { readonly mean: number; readonly max10s: number } {
    const mean = shareOf(nowNs - this.#startNs, this.#idleNs() - this.#startIdleNs + this.#spunNs);
    return { mean, max10s: this.#windowShareMax > 0 ? this.#windowShareMax : mean };
  }
}

function shareOf(elapsedNs: number, restNs: number): number {
  return elapsedNs <= 0 ? 0 : Math.min(1, Math.max(0, 1 - restNs / elapsedNs));
}
