const WINDOW_NS = 10_000_000_000;
/** A turn of the loop that did nothing takes some microseconds; what it took beyond this was not waiting. */
const EMPTY_TURN_NS = 20_000;

/**
 * How much of its time a thread works. Waiting for an instant by turning the event loop looks like work to
 * the runtime, so turns that did nothing else are taken out again.
 */
export class BusyMeter {
  /** Nanoseconds the loop has slept in its poll phase so far. */
  readonly #idleNs: () => number;
  readonly #startNs: number;
  readonly #startIdleNs: number;
  #spunNs = 0;
  #lastTurnNs: number | null = null;
  #lastEvents = 0;
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

  /**
   * A turn of the loop begins that may only wait for an instant.
   * @param events how many there have been: a turn without any was waiting
   */
  turn(nowNs: number, events: number): void {
    if (this.#lastTurnNs !== null && events === this.#lastEvents)
      this.#spunNs += Math.min(nowNs - this.#lastTurnNs, EMPTY_TURN_NS);
    this.#lastTurnNs = nowNs;
    this.#lastEvents = events;
  }

  /** No turn follows for now. */
  rest(): void {
    this.#lastTurnNs = null;
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
