import { expect, test } from 'vitest';
import { UnreadPlan } from '../../src/replay/unread-plan.ts';

test('counts a stopped plan for a second, and says that it is not all', () => {
  let nowNs = 0;
  const unread = new UnreadPlan({
    nowNs: () => nowNs,
    epochUs: () => 0,
    anchor: () => ({ monotonicNs: 0, epochUs: 0 }),
  });
  nowNs = 5e9;
  expect(unread.goesOn()).toBe(true);
  unread.begin();
  let counted = 0;
  for (; unread.goesOn() && counted < 1e6; counted += 1) {
    unread.addPlanned();
    nowNs += 1e6;
  }
  expect(counted).toBeGreaterThanOrEqual(1_000);
  expect(counted).toBeLessThan(1_500);
  expect(unread.counts()).toEqual({ recorded: 0, planned: counted, toTheEnd: false });
  expect(unread.goesOn()).toBe(false);
});
