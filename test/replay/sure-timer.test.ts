import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { afterAtLeast } from '../../src/replay/sure-timer.ts';

test('a timer that is set late in a millisecond, in a loop that is awake, is not early', async () => {
  for (let turn = 0; turn < 10; turn++) {
    while (systemClock.nowNs() % 1e6 < 0.9e6);
    const fromNs = systemClock.nowNs();
    let over = false;
    const done = new Promise<number>((resolve) =>
      afterAtLeast(systemClock, () => resolve(systemClock.nowNs() - fromNs), 3),
    ).finally(() => {
      over = true;
    });
    const stayAwake = (): void => {
      if (!over) setImmediate(stayAwake);
    };
    stayAwake();
    expect(await done).toBeGreaterThanOrEqual(3e6);
  }
});
