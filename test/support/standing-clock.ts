import type { Clock, ClockAnchor } from '../../src/core/clock.ts';
import { TEST_EPOCH_US } from './exchanges.ts';

/** A monotonic and a wall clock that stand still. A test sets them, forwards or backwards. */
export class StandingClock implements Clock {
  monotonicNs = 0;
  wallUs = TEST_EPOCH_US;

  nowNs(): number {
    return this.monotonicNs;
  }

  epochUs(): number {
    return this.wallUs;
  }

  anchor(): ClockAnchor {
    return { monotonicNs: this.monotonicNs, epochUs: this.wallUs };
  }
}
