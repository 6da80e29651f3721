import { SeededRandom } from '../../core/random.ts';
import type { DemandDay, DemandDocument, DemandEvent, HeadroomDocument } from '../../documents/headroom.ts';
import { type Course, DAYS_OF_WEEK, DemandFit, dayNumber, dayOf, normal } from './fit.ts';

/** A weekly pattern needs two weeks. */
export const LEAST_DAYS = 14;
/** Growth of longer ago says little of the growth to come. */
const MOST_DAYS = 182;
const YEAR_DAYS = 365;
const DAYS_OF_MONTH = YEAR_DAYS / 12;
const CONFIDENCE = 0.9;
/** Half of what is outside of the confidence: the probability on each side of an interval. */
const TAIL = (1 - CONFIDENCE) / 2;
const PATHS = 2_000;
/** Standard deviations from one end of an interval of 95 % to the other. */
const INTERVAL_DEVIATIONS = 2 * 1.96;
const NEVER = Number.POSITIVE_INFINITY;

/**
 * When demand reaches the breaking point. Possible future days are simulated: courses of demand are drawn from a
 * regression, with residuals drawn again as shocks (Hyndman and Athanasopoulos, "Forecasting: Principles and Practice",
 * 3rd ed., section 5.5). In half of them growth is a share of demand, in the other half an amount. Each path has a
 * breaking point drawn from its interval. The answer is when 5 % and 95 % of the paths have reached theirs. A few weeks
 * cannot tell the shape of growth, so the earlier day and the later day of both halves count.
 * @param capacity the breaking point; null if none is known
 */
export function headroom(
  { days, earlier, leftOut, growth, events }: DemandDocument,
  capacity: HeadroomDocument['capacity'],
): HeadroomDocument {
  const known = [...earlier, ...days]
    .filter(({ demand }) => demand > 0)
    .toSorted((a, b) => (a.day < b.day ? -1 : 1));
  const last = known.at(-1)?.day ?? null;
  const lastNumber = last === null ? 0 : dayNumber(last);
  const used = known.filter(({ day }) => dayNumber(day) > lastNumber - MOST_DAYS);
  const fit = used.length >= LEAST_DAYS ? new DemandFit(used) : null;
  const isPossible = fit !== null || (growth !== null && last !== null);
  const counted = events.map((event) => ({ ...event, counts: countsOf(event.day, lastNumber) }));
  const random = new SeededRandom(1);
  const paths = isPossible ? simulated(used, fit, growth, counted, capacity, random) : null;
  const slopes = fit === null ? null : paths?.slopes.toSorted((a, b) => a - b);
  const isSure = growth !== null || (slopes != null && quantile(slopes, TAIL) > 0);
  const firsts = capacity === null ? null : (paths?.firsts ?? null);
  const isGrowing =
    (growth === null ? isSure : growth > 0) ||
    counted.some(({ counts, times }) => counts === 'forecast' && times > 1);
  return {
    ...answer(firsts, lastNumber, isGrowing, capacity?.high != null),
    lacks: firsts !== null ? null : isPossible ? 'breaking_point' : 'days',
    confidence: CONFIDENCE,
    recorded: {
      days: used.length,
      needed: LEAST_DAYS,
      leftOut,
      earlier: known.length - used.length,
      from: used[0]?.day ?? null,
      to: last,
    },
    capacity,
    growth: {
      source: growth === null ? 'measured' : 'set',
      perMonth: growth ?? (slopes == null ? null : perMonth(quantile(slopes, 0.5))),
      interval90:
        growth === null && slopes != null
          ? [perMonth(quantile(slopes, TAIL)), perMonth(quantile(slopes, 1 - TAIL))]
          : null,
      isSure,
    },
    changes: (fit?.changes ?? []).map(({ from, to }) => ({
      from: dayOf(from),
      to: to === null ? null : dayOf(to),
    })),
    events: counted,
    weeks: {
      from: (paths?.weeks ?? []).map((_, week) => dayOf(lastNumber + 1 + week * DAYS_OF_WEEK)),
      p5: (paths?.weeks ?? []).map((week) => quantile(week, TAIL)),
      p50: (paths?.weeks ?? []).map((week) => quantile(week, 0.5)),
      p95: (paths?.weeks ?? []).map((week) => quantile(week, 1 - TAIL)),
    },
    days: used,
  };
}

function countsOf(day: string, last: number): DemandEvent['counts'] {
  const ahead = dayNumber(day) - last;
  if (ahead <= 0) return 'recorded';
  return ahead <= YEAR_DAYS ? 'forecast' : 'later';
}

/**
 * @param isGrowing whether anything is known to make demand greater than it is
 * @param isBounded whether a load is known that fails
 */
function answer(
  firsts: readonly Float64Array[] | null,
  last: number,
  isGrowing: boolean,
  isBounded: boolean,
): Pick<HeadroomDocument, 'state' | 'reached'> {
  if (firsts === null) return { state: 'not_known', reached: null };
  const from = Math.min(...firsts.map((each) => quantile(each, TAIL)));
  const to = Math.max(...firsts.map((each) => quantile(each, 1 - TAIL)));
  if (from === NEVER) return { state: 'not_within_a_year', reached: null };
  // Without growth, days reach the breaking point by chance: nobody can say when.
  if (to === NEVER || !isBounded || (to > last && !isGrowing))
    return { state: 'not_before', reached: { from: dayOf(from), to: null } };
  return { state: 'reached', reached: { from: dayOf(from), to: dayOf(to) } };
}

interface Paths {
  /**
   * The number of the first day at the breaking point, ascending; NEVER if none of a year reaches it. By the shape of
   * growth: a share, an amount.
   */
  readonly firsts: readonly Float64Array[];
  readonly slopes: readonly number[];
  /** The hardest day of each week, of all paths, ascending. */
  readonly weeks: readonly Float64Array[];
}

function simulated(
  days: readonly DemandDay[],
  fit: DemandFit | null,
  growth: number | null,
  events: readonly DemandEvent[],
  capacity: HeadroomDocument['capacity'],
  random: SeededRandom,
): Paths {
  const numbers = days.map(({ day }) => dayNumber(day));
  const last = numbers.at(-1)!;
  const byShape =
    fit === null ? null : [fit, new DemandFit(days, amountOf(fit.slope, (last - numbers[0]!) / 2))];
  const factors = factorsOf(events, last);
  const weeks = Array.from({ length: Math.floor(YEAR_DAYS / DAYS_OF_WEEK) }, () => new Float64Array(PATHS));
  const firsts = [new Float64Array(PATHS / 2), new Float64Array(PATHS / 2)];
  const slopes: number[] = [];
  for (let path = 0; path < PATHS; path += 1) {
    const shape = path % 2;
    const course = byShape?.[shape]?.draw(random) ?? busiestDay(days);
    slopes.push(course.slope);
    const slope = growth === null ? course.slope : Math.log1p(growth) / DAYS_OF_MONTH;
    const isShare = shape === 0 || growth !== null;
    const limit = capacity === null ? NEVER : drawnCapacity(capacity, random);
    let first = numbers[days.findIndex(({ demand }) => demand >= limit)] ?? NEVER;
    let deviation = course.deviation;
    for (let ahead = 1; ahead <= YEAR_DAYS; ahead += 1) {
      const shock = course.shocks[random.below(course.shocks.length)]!;
      deviation = course.correlation * deviation + shock;
      const grown = isShare ? Math.exp(slope * ahead) : Math.max(0, 1 + slope * ahead);
      const level = course.levels[(last + ahead) % DAYS_OF_WEEK]!;
      const demand = Math.exp(level + deviation) * grown * factors[ahead]!;
      const week = weeks[Math.floor((ahead - 1) / DAYS_OF_WEEK)];
      if (week !== undefined && demand > week[path]!) week[path] = demand;
      if (demand >= limit && first === NEVER) first = last + ahead;
    }
    firsts[shape]![Math.floor(path / 2)] = first;
  }
  return { firsts: firsts.map((each) => each.sort()), slopes, weeks: weeks.map((week) => week.sort()) };
}

/** What each day adds, if this is growth as a share in the middle of the days. */
function amountOf(slope: number, middle: number): number {
  return slope * Math.exp(-slope * middle);
}

/** With too few days, the busiest one is what each day may be. */
function busiestDay(days: readonly DemandDay[]): Course {
  const most = Math.log(Math.max(...days.map(({ demand }) => demand)));
  const levels = Array.from({ length: DAYS_OF_WEEK }, () => most);
  return { levels, slope: 0, correlation: 0, deviation: 0, shocks: [0] };
}

/** By what demand is multiplied on each day after the last one. */
function factorsOf(events: readonly DemandEvent[], last: number): number[] {
  return Array.from({ length: YEAR_DAYS + 1 }, (_, ahead) =>
    events.reduce((product, { day, times, counts }) => {
      return counts === 'forecast' && dayNumber(day) <= last + ahead ? product * times : product;
    }, 1),
  );
}

function drawnCapacity(
  { low, high }: NonNullable<HeadroomDocument['capacity']>,
  random: SeededRandom,
): number {
  const most = high ?? low;
  const deviation = Math.log(most / low) / INTERVAL_DEVIATIONS;
  return Math.sqrt(low * most) * Math.exp(deviation * normal(random));
}

/** @param sorted ascending. The value that this share of the values reaches */
function quantile(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
}

function perMonth(slope: number): number {
  return Math.expm1(slope * DAYS_OF_MONTH);
}
