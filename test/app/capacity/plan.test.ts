import { expect, test } from 'vitest';
import { settlingOf, windowOf } from '../../../src/app/capacity/plan.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';

const objectives = parseObjectives(['latency: p(95)<1500']);

test('a window is no shorter than four times the largest limit, and ten times where the budget has room', () => {
  expect(windowOf({ budgetS: 60, objectives }, 1)).toBe(6);
  expect(windowOf({ budgetS: 480, objectives }, 1)).toBe(12);
  expect(windowOf({ budgetS: 6_000, objectives }, 1)).toBe(15);
  expect(windowOf({ budgetS: 6_000, objectives }, 20)).toBe(20);
});

test('a window is long enough to see a monitored series twice', () => {
  expect(windowOf({ budgetS: 60, objectives }, 1, 10)).toBe(10);
});

test('a settling time lasts four times the largest limit, and a window where no limit is on a time', () => {
  expect(settlingOf({ objectives }, 15)).toBe(6);
  expect(settlingOf({ objectives: parseObjectives(['latency: p(95)<100']) }, 15)).toBe(2);
  expect(settlingOf({ objectives: parseObjectives(['ttft: p(95)<100']) }, 15)).toBe(15);
});

/** A queue that is served at 1 a second and is offered more waits longer by the difference each second. */
test.each([1.15, 1.19, 1.39])('%fx of the capacity breaks the limit within a step', (load) => {
  const limitS = 1.5;
  const windowS = windowOf({ budgetS: 60, objectives }, 1);
  const atS = settlingOf({ objectives }, windowS) + 0.95 * windowS;
  expect((load - 1) * atS).toBeGreaterThan(limitS);
});
