import type { LossReason } from '../core/accounting.ts';

/** After a failure the disk is left alone for this long, twice as long each time it fails again, up to seconds. */
const RETRY_NS = 1e9;
const RETRY_MAX_NS = 4e9;

/** Why batches are being lost without the disk being asked. */
export interface OutageCause {
  readonly reason: LossReason;
  readonly error: string;
}

/** Spares a disk that fails: while an outage lasts, batches are lost at once, and now and then one is tried. */
export class Outage {
  #cause: OutageCause | null = null;
  #delayNs = RETRY_NS;
  #untilNs = 0;

  /** The cause while no attempt is due; null when the disk is to be tried. */
  causeAt(nowNs: number): OutageCause | null {
    return this.#cause !== null && nowNs < this.#untilNs ? this.#cause : null;
  }

  failed(cause: OutageCause, nowNs: number): void {
    this.#delayNs = this.#cause === null ? RETRY_NS : Math.min(this.#delayNs * 2, RETRY_MAX_NS);
    this.#untilNs = nowNs + this.#delayNs;
    this.#cause = cause;
  }

  over(): void {
    this.#cause = null;
  }
}
