import { expect, test } from 'vitest';
import { WakeTimer } from '../../../src/replay/engine/sender.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const MS = 1e6;

test('a timer wakes at the earliest instant it was asked for, once, and then anew', () => {
  const clock = new ManualClock();
  const zeroNs = clock.nowNs();
  const wokenMs: number[] = [];
  let timers = 0;
  const timer = new WakeTimer(
    (callback, ms) => {
      timers += 1;
      clock.sleepUntil(clock.nowNs() + ms * MS, callback);
    },
    () => wokenMs.push((clock.nowNs() - zeroNs) / MS),
  );
  const ask = (ms: number) => timer.after(ms * MS, clock.nowNs());
  for (const ms of [50, 60, 20, 20, 90]) ask(ms);
  expect(timers).toBe(2);
  for (let ms = 0; ms < 100; ms += 1) clock.advance(MS);
  expect(wokenMs).toEqual([20]);
  ask(5);
  for (let ms = 0; ms < 10; ms += 1) clock.advance(MS);
  expect(wokenMs).toEqual([20, 105]);
});
