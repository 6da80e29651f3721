import { AppError } from '../../core/errors.ts';
import { formatMs } from '../../core/units.ts';

/** How long a part is replayed if there is time, and the least that its objectives need. */
export interface PartNeed {
  readonly wholeS: number;
  readonly leastS: number;
}

/** Threads, connections and last answers of each part, which are no part of its length. */
const AROUND_S = 5;

/**
 * How long each part is replayed within a budget. All parts get their least length, and share what is left in
 * proportion to what they lack. So a smaller budget shortens the parts and leaves none out.
 * @throws AppError OPTION_INVALID for a budget below the sum of the least lengths, with that sum
 */
export function lengthsWithin(needs: readonly PartNeed[], budgetS: number | null): number[] {
  const around = needs.length * AROUND_S;
  const sum = (key: keyof PartNeed) => needs.reduce((total, each) => total + each[key], 0);
  const [whole, least] = [sum('wholeS'), sum('leastS')];
  if (budgetS === null || budgetS >= whole + around) return needs.map(({ wholeS }) => wholeS);
  if (budgetS < least + around) {
    throw new AppError(
      'OPTION_INVALID',
      `--budget ${formatMs(budgetS * 1e3)} is too short: the parts of this statement need at least ${formatMs(Math.ceil(least + around) * 1e3)} for the samples of their objectives`,
      {
        hint: 'Raise --budget, or state objectives that need fewer requests, such as a p95 instead of a p99.',
      },
    );
  }
  const share = (budgetS - around - least) / (whole - least);
  return needs.map(({ wholeS, leastS }) => leastS + share * (wholeS - leastS));
}
