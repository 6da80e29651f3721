import { expect, test } from 'vitest';
import { forecastOf, GROWTHS, grownDemand, holds } from '../support/grown-demand.ts';
import { repeated } from '../support/long-form.ts';

/** For each kind of growth. */
const SEEDS = repeated(40, 1_000);
/** With few seeds, this is as far as chance may go. */
const MOST_MISSED = repeated(0.2, 0.12);

test.each(GROWTHS)('intervals of 90 %% hold the truth, and there is no date without growth: %s', (growth) => {
  const results = Array.from({ length: SEEDS }, (_, seed) => {
    const demand = grownDemand(growth, seed);
    const document = forecastOf(demand);
    return {
      holds: holds(document, demand.truth),
      isDated: document.state === 'reached',
      grows: demand.grows,
    };
  });
  const still = results.filter(({ grows }) => !grows);
  const counts = {
    held: results.filter((each) => each.holds).length,
    dated: results.filter(({ isDated }) => isDated).length,
    heldOfDated: results.filter((each) => each.isDated && each.holds).length,
    still: still.length,
    datedOfStill: still.filter(({ isDated }) => isDated).length,
  };
  console.log(`${growth}, ${SEEDS} seeds: ${JSON.stringify(counts)}`);
  expect(counts.held / SEEDS).toBeGreaterThanOrEqual(1 - MOST_MISSED);
  expect(counts.datedOfStill).toBeLessThanOrEqual(still.length * repeated(0.1, 0.05));
});
