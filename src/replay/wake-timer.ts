/** Wakes somebody at the earliest instant that was asked for since it last did. One timer waits, however often it is asked. */
export class WakeTimer {
  readonly #afterMs: (callback: () => void, ms: number) => void;
  readonly #wake: () => void;
  #atNs: number | null = null;

  constructor(afterMs: (callback: () => void, ms: number) => void, wake: () => void) {
    this.#afterMs = afterMs;
    this.#wake = wake;
  }

  /** In so many nanoseconds, whole milliseconds at the most early; both monotonic. */
  after(waitNs: number, nowNs: number): void {
    const atNs = nowNs + waitNs;
    if (this.#atNs !== null && this.#atNs <= atNs) return;
    this.#atNs = atNs;
    this.#afterMs(
      () => {
        // One that was set before an earlier one wakes nobody.
        if (this.#atNs !== atNs) return;
        this.#atNs = null;
        this.#wake();
      },
      Math.floor(waitNs / 1e6),
    );
  }
}
