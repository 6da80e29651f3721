import { AppError } from '../../core/errors.ts';
import { formatMs } from '../../core/units.ts';

/** How long a part is replayed if there is time, and the least that its objectives need. */
export interface PartNeed {
  readonly name: string;
  readonly wholeS: number;
  readonly leastS: number;
}

/** Threads, connections and last answers of each part, which are no part of its length. */
export const AROUND_S = 8;
/** Enough to find the length to a microsecond. */
const HALVINGS = 40;

/**
 * How long each part is replayed within a budget: all equally long, except those that are whole sooner or need more.
 * So a smaller budget shortens the parts and leaves none out.
 * @throws AppError OPTION_INVALID for a budget below the sum of the least lengths, with that sum
 */
export function lengthsWithin(needs: readonly PartNeed[], budgetS: number | null): number[] {
  const around = needs.length * AROUND_S;
  const sum = (key: 'wholeS' | 'leastS') => needs.reduce((total, each) => total + each[key], 0);
  const [whole, least] = [sum('wholeS'), sum('leastS')];
  if (budgetS === null || budgetS >= whole + around) return needs.map(({ wholeS }) => wholeS);
  if (budgetS < least + around) {
    const each = needs.map(({ name, leastS }) => `${name} ${formatMs(Math.ceil(leastS) * 1e3)}`);
    throw new AppError(
      'OPTION_INVALID',
      `--budget ${formatMs(budgetS * 1e3)} is too short: this statement needs at least ${formatMs(Math.ceil(least + around) * 1e3)} (${each.join(', ')})`,
      {
        hint: 'Raise --budget. A part is as short as the samples of its objectives allow; a p95 needs fewer than a p99, and lower limits of times shorten the search.',
      },
    );
  }
  const at = (levelS: number) =>
    needs.map(({ wholeS, leastS }) => Math.min(wholeS, Math.max(leastS, levelS)));
  const sumAt = (levelS: number) => at(levelS).reduce((total, each) => total + each, 0);
  let [low, high] = [0, budgetS];
  for (let halved = 0; halved < HALVINGS; halved += 1) {
    const middle = (low + high) / 2;
    if (sumAt(middle) <= budgetS - around) low = middle;
    else high = middle;
  }
  return at(low);
}
