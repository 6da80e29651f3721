import { LIMITS } from '../core/limits.ts';

const NS_PER_S = 1e9;
/** Fewer ends than this in the window are no ground for a decision. */
const MIN_ENDS = 10;

/** Stops a run whose target is plainly gone: over half of what ended in the last 30 s failed. */
export class AbortRule {
  readonly #windowS: number;
  readonly #limitShare: number;
  readonly #ends: Uint32Array;
  readonly #failures: Uint32Array;
  #second = 0;

  constructor(windowS: number = LIMITS.abortWindowS, limitShare: number = LIMITS.abortFailedShare) {
    this.#windowS = windowS;
    this.#limitShare = limitShare;
    this.#ends = new Uint32Array(windowS);
    this.#failures = new Uint32Array(windowS);
  }

  /** Takes what ended at an instant of the run. Offsets must not go backwards by a second or more. */
  add(offsetNs: number, ended: number, failed: number): void {
    this.#advance(offsetNs);
    const slot = this.#second % this.#windowS;
    this.#ends[slot]! += ended;
    this.#failures[slot]! += failed;
  }

  /** The failed share over the window, once a whole window has passed and it is over the limit; else null. */
  tripped(offsetNs: number): number | null {
    this.#advance(offsetNs);
    if (this.#second < this.#windowS) return null;
    const ended = this.#ends.reduce((sum, each) => sum + each, 0);
    const failed = this.#failures.reduce((sum, each) => sum + each, 0);
    return ended >= MIN_ENDS && failed / ended > this.#limitShare ? failed / ended : null;
  }

  #advance(offsetNs: number): void {
    const second = Math.max(this.#second, Math.floor(offsetNs / NS_PER_S));
    const passed = Math.min(this.#windowS, second - this.#second);
    for (let step = 1; step <= passed; step++) {
      this.#ends[(this.#second + step) % this.#windowS] = 0;
      this.#failures[(this.#second + step) % this.#windowS] = 0;
    }
    // A silence longer than the window empties every slot, whatever slot it ends in.
    this.#second = second;
  }
}
