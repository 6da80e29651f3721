import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { afterAtLeast } from '../../src/replay/sure-timer.ts';

test('a timer set in a loop that has not looked at the clock for long is not early', async () => {
  const waits = Array.from({ length: 20 }, (_, index) => index + 1);
  const early = await Promise.all(
    waits.map(async (ms) => {
      // The loop believes that it is as late as it was before this.
      const busyUntilNs = systemClock.nowNs() + 2e6;
      while (systemClock.nowNs() < busyUntilNs);
      const fromNs = systemClock.nowNs();
      await new Promise<void>((resolve) => afterAtLeast(systemClock, resolve, ms));
      return systemClock.nowNs() - fromNs < ms * 1e6;
    }),
  );
  expect(early).toEqual(waits.map(() => false));
});
