import type { Clock } from '../core/clock.ts';
import { SUPERVISION } from '../core/limits.ts';

/** How a recorder's life went. */
interface RecorderLife {
  /** Whether it committed anything. */
  readonly committed: boolean;
  readonly livedMs: number;
}

/**
 * When a recorder that ended is started again. One that recorded is worth a quick attempt, one that died before
 * its first commit a slower one; after five such deaths in ten minutes only a probe now and then, because each
 * start takes processor time from the traffic and none has been of use.
 */
export class RestartPolicy {
  readonly #clock: Clock;
  /** When each life ended that recorded nothing. */
  #barrenNs: number[] = [];
  #delayMs: number = SUPERVISION.restartDelayMs;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether starting again has been given up, but for probes. */
  get off(): boolean {
    return this.#barrenNs.length >= SUPERVISION.deathsBeforeOff;
  }

  /** A recorder died. @returns milliseconds to wait before the next is started */
  died(life: RecorderLife): number {
    if (life.livedMs >= SUPERVISION.calmMs) this.#delayMs = SUPERVISION.restartDelayMs;
    if (life.committed) return Math.min(this.#next(), SUPERVISION.restartDelayWorkingMaxMs);
    const nowNs = this.#clock.nowNs();
    const sinceNs = nowNs - SUPERVISION.deathWindowMs * 1e6;
    // Once given up, only a commit takes it back: probes a minute apart would soon leave the window.
    if (!this.off) this.#barrenNs = this.#barrenNs.filter((diedNs) => diedNs >= sinceNs);
    this.#barrenNs = [...this.#barrenNs, nowNs].slice(-SUPERVISION.deathsBeforeOff);
    return this.off ? SUPERVISION.offProbeMs : this.#next();
  }

  /** The capture cannot be had: a fault of the disk or of the settings that may be mended, and not a death. */
  faulted(): number {
    return this.#next();
  }

  /** A recorder made its first commit, or lived for long without one being due. */
  survived(): void {
    this.#barrenNs = [];
  }

  /** Forgets what was: an operator asks for a fresh attempt. */
  reset(): void {
    this.#barrenNs = [];
    this.#delayMs = SUPERVISION.restartDelayMs;
  }

  #next(): number {
    const delayMs = this.#delayMs;
    this.#delayMs = Math.min(delayMs * 2, SUPERVISION.restartDelayMaxMs);
    return delayMs;
  }
}
