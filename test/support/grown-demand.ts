import { normal } from '../../src/analysis/headroom/fit.ts';
import { headroom } from '../../src/analysis/headroom/forecast.ts';
import { SeededRandom } from '../../src/core/random.ts';
import type { DemandDay, DemandDocument, HeadroomDocument } from '../../src/documents/headroom.ts';

/** No day, and nothing expected. */
export const NO_DEMAND: DemandDocument = {
  days: [],
  earlier: [],
  leftOut: 0,
  perSecond: 1,
  growth: null,
  events: [],
};

export const GROWTHS = ['none', 'linear', 'compound', 'a step', 'a holiday week'] as const;
export type Growth = (typeof GROWTHS)[number];

/** Recorded days, and the year after them that only the truth knows. */
export interface GrownDemand {
  readonly days: readonly DemandDay[];
  readonly capacity: { readonly low: number; readonly high: number };
  /** The first day that reaches the true breaking point; null if none of the year does. */
  readonly truth: string | null;
  /** Whether demand grows after the last recorded day. */
  readonly grows: boolean;
}

const YEAR = 365;
const FIRST = Date.UTC(2026, 5, 1);

/** Demand with a weekly pattern and correlated noise, from two weeks to half a year of it. */
export function grownDemand(growth: Growth, seed: number): GrownDemand {
  const random = new SeededRandom(seed * GROWTHS.length + GROWTHS.indexOf(growth));
  const between = (least: number, most: number) => least + (random.nextUint32() / 2 ** 32) * (most - least);
  const recorded = Math.round(14 * Math.exp(between(0, Math.log(13))));
  const weekend = between(0.3, 0.9);
  const [noise, correlation] = [between(0.02, 0.1), between(0, 0.6)];
  const monthly = between(0.02, 0.15);
  const isGrowing =
    growth === 'linear' || growth === 'compound' || (growth === 'a holiday week' && between(0, 1) < 0.5);
  const change = between(0, 1) < 0.5 ? between(1.25, 1.8) : between(0.4, 0.75);
  const changed = Math.round(between(3, recorded - (growth === 'a step' ? 3 : 10)));
  const factorAt = (day: number) => {
    const months = day / (YEAR / 12);
    const grown = !isGrowing ? 1 : growth === 'linear' ? 1 + monthly * months : (1 + monthly) ** months;
    const isChanged =
      day >= changed && (growth === 'a step' || (growth === 'a holiday week' && day < changed + 7));
    return grown * (isChanged ? change : 1) * ((day + 1) % 7 < 2 ? weekend : 1);
  };
  let deviation = noise * normal(random);
  const demand = Array.from({ length: recorded + YEAR }, (_, day) => {
    deviation = correlation * deviation + Math.sqrt(1 - correlation ** 2) * noise * normal(random);
    return {
      day: new Date(FIRST + day * 86_400e3).toISOString().slice(0, 10),
      demand: Math.exp(deviation) * factorAt(day),
    };
  });
  const days = demand.slice(0, recorded);
  const breaking = Math.max(...days.map((each) => each.demand)) * between(1.1, 2.5);
  const width = between(0.01, 0.05);
  const middle = breaking * Math.exp(width * normal(random));
  return {
    days,
    capacity: { low: middle * Math.exp(-1.96 * width), high: middle * Math.exp(1.96 * width) },
    truth: demand.find((each) => each.demand >= breaking)?.day ?? null,
    grows: isGrowing,
  };
}

export function forecastOf({ days, capacity }: GrownDemand): HeadroomDocument {
  return headroom({ ...NO_DEMAND, days }, capacity);
}

/** Whether the answer holds what happens. */
export function holds({ state, reached }: HeadroomDocument, truth: string | null): boolean {
  if (state === 'not_within_a_year') return truth === null;
  if (reached === null) return false;
  if (truth === null) return reached.to === null;
  return truth >= reached.from && (reached.to === null || truth <= reached.to);
}
