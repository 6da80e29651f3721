import { describe, expect, it } from 'vitest';
import { Breath } from '../../src/core/breath.ts';
import { ManualClock } from '../support/manual-clock.ts';

/** Counts how often a breath looked at the clock again after a pause. */
class CountingClock extends ManualClock {
  looks = 0;

  override nowNs(): number {
    this.looks += 1;
    return super.nowNs();
  }
}

function pausesOf(breath: Breath, clock: CountingClock): number {
  const before = clock.looks;
  breath.take();
  // One look to decide, one more after a pause.
  return Math.max(0, clock.looks - before - 1);
}

describe('a breath', () => {
  it('is taken when a stretch of work is over, and not before', () => {
    const clock = new CountingClock();
    const breath = new Breath(clock);
    expect(pausesOf(breath, clock)).toBe(0);
    clock.advance(499_999);
    expect(pausesOf(breath, clock)).toBe(0);
    clock.advance(1);
    expect(pausesOf(breath, clock)).toBe(1);
    expect(pausesOf(breath, clock)).toBe(0);
  });

  it('is not taken by who is behind', () => {
    const clock = new CountingClock();
    const breath = new Breath(clock);
    breath.hurried = true;
    clock.advance(1e9);
    expect(pausesOf(breath, clock)).toBe(0);
    breath.hurried = false;
    expect(pausesOf(breath, clock)).toBe(1);
  });
});
