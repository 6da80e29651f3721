import { expect, test } from 'vitest';
import { forecastOf, GROWTHS, grownDemand, holds } from '../support/grown-demand.ts';
import { repeated } from '../support/long-form.ts';

/** For each kind of growth. */
const SEEDS = repeated(20, 1_000);

test.each(GROWTHS)(
  'answers hold the truth, and demand that does not grow has no date: %s',
  (growth) => {
    const results = Array.from({ length: SEEDS }, (_, seed) => {
      const demand = grownDemand(growth, seed);
      const document = forecastOf(demand);
      const isDated = document.state === 'reached';
      return { holds: holds(document, demand.truth), isDated, grows: demand.grows };
    });
    const countOf = (isCounted: (each: (typeof results)[number]) => boolean) =>
      results.filter(isCounted).length;
    const counts = {
      held: countOf((each) => each.holds),
      dated: countOf(({ isDated }) => isDated),
      heldOfDated: countOf((each) => each.isDated && each.holds),
      still: countOf(({ grows }) => !grows),
      datedOfStill: countOf(({ grows, isDated }) => !grows && isDated),
    };
    console.log(`${growth}, ${SEEDS} seeds: ${JSON.stringify(counts)}`);
    expect(counts.held).toBeGreaterThanOrEqual(0.88 * SEEDS);
    expect(counts.datedOfStill).toBeLessThanOrEqual(0.05 * counts.still);
  },
  1_200_000,
);
