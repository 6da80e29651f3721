import { type Clock, type ClockAnchor, systemClock } from '../../src/core/clock.ts';

/** The system's time plus `aheadNs`. */
export class AheadClock implements Clock {
  aheadNs = 0;

  nowNs(): number {
    return systemClock.nowNs() + this.aheadNs;
  }

  epochUs(): number {
    return systemClock.epochUs() + Math.round(this.aheadNs / 1_000);
  }

  anchor(): ClockAnchor {
    return { monotonicNs: this.nowNs(), epochUs: this.epochUs() };
  }
}
