import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { repeated } from '../support/long-form.ts';
import { ARRIVALS, boundCounts, planOf, TARGETS } from '../support/planned-runs.ts';

const PERCENTS = [50, 95, 99] as const;
const LOADS = repeated([0.8], [0.1, 0.5, 0.8, 0.95]);
const SIZES = repeated([700], [700, 3_000, 8_000]);
const PLANS = repeated(2, 4);
const RUNS = repeated(10, 50);
const REPLAYS = repeated(30, 60);
/** A rate may exceed its bound by chance: this many standard deviations, of all cases together. */
const BY_CHANCE = 4;

const CASES = SIZES.flatMap((requests) =>
  ARRIVALS.flatMap((arrivals) => LOADS.map((load) => ({ requests, arrivals, load }))),
);

/**
 * The truth is that of the same plan: the percentile of all answers of many replays, in which only the server differs.
 * One line per case is printed.
 */
test.for(CASES)(
  '$arrivals arrivals, $requests requests, load $load',
  ({ requests, arrivals, load }, { skip }) => {
    const plans = Array.from({ length: PLANS }, (_, at) => planOf(arrivals, requests, at + 1)).filter(
      (plan) => plan !== null,
    );
    skip(plans.length < PLANS, 'the trace is missing or shorter');
    const sums = { runs: 0, wrong: 0, printed: 0, holding: 0 };
    for (const target of TARGETS) {
      for (const counts of boundCounts({ target, load, plans }, PERCENTS, RUNS, REPLAYS)) {
        writeFileSync(
          process.stderr.fd,
          `${JSON.stringify({ arrivals, target, load, requests, ...counts })}\n`,
        );
        const { runs, wrong, half, printed, holding, possible } = counts;
        for (const key of ['runs', 'wrong', 'printed', 'holding'] as const) sums[key] += counts[key];
        const chance = (share: number, count: number) => BY_CHANCE * Math.sqrt(count * share * (1 - share));
        expect.soft(wrong).toBeLessThanOrEqual(0.05 * runs + chance(0.05, runs));
        expect.soft(holding).toBeGreaterThanOrEqual(0.9 * printed - chance(0.1, printed));
        // Near saturation, or with few requests, replays of one plan differ so much that no bound could tell.
        if (load <= 0.5 && possible === runs) expect.soft(half).toBeGreaterThanOrEqual(0.9 * runs);
      }
    }
    expect(sums.wrong).toBeLessThanOrEqual(0.05 * sums.runs);
    expect(sums.holding).toBeGreaterThanOrEqual(0.9 * sums.printed);
  },
);
