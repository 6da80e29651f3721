import type { SeededRandom } from '../../core/random.ts';
import type { DemandDay } from '../../documents/headroom.ts';

export const DAYS_OF_WEEK = 7;
/** Correlations of one day's deviation with that of the day before. Each is as likely as the others beforehand. */
const CORRELATIONS = [0, 0.2, 0.4, 0.6, 0.8];
/** Lengths of a passing change, days. Longer ones are found as several. */
const PASSING_DAYS = [1, 3, 7, 14];
/** How likely one more change is, before the days are looked at. */
const CHANGE_PRIOR = 0.5;
/** A change is taken as certain if it is so many times as likely as none. */
const CERTAIN = 20;
/** Of certain changes there is at most one in so many days. */
const DAYS_OF_CHANGE = 28;
/** Days at both ends of a lasting change. */
const LEAST_SIDE = 2;
/** No demand is known better than this, as a share. Otherwise days without any deviation would have infinite weight. */
const LEAST_DEVIATION = 0.001;
/** Per day, either way: about 10 % a month. Half of all growth is less, before the days are looked at. */
const USUAL_GROWTH = 0.003;
/** Demand that doubles each month is accepted in 1 of 60 tries. */
const MOST_TRIES = 100;
/** Models with a smaller share of the likelihood of the best one are left out. */
const LEAST_LIKELY = 1e-6;
/** A column with less besides the others cannot be told from them. */
const LEAST_LENGTH = 1e-3;

/** A change that is no growth: a lasting one, such as a new client, or a passing one, such as a holiday week. */
export interface Change {
  /** Day numbers. The first day that differs, and the last one; null if it lasts. */
  readonly from: number;
  readonly to: number | null;
}

/** One possible course of demand. Logarithms. */
export interface Course {
  /** The level at the last day, for each weekday (day number modulo 7). */
  readonly levels: readonly number[];
  /** Growth per day. */
  readonly slope: number;
  readonly correlation: number;
  /** Of the last day from its level. */
  readonly deviation: number;
  /** What days may deviate by, in addition to what remains of the day before. */
  readonly shocks: readonly number[];
}

/** The number of a day: days since the epoch. */
export function dayNumber(day: string): number {
  return Date.parse(`${day}T00:00Z`) / 86_400_000;
}

/** A day's date from its number. */
export function dayOf(number: number): string {
  return new Date(number * 86_400_000).toISOString().slice(0, 10);
}

/**
 * A regression of the logarithm of demand on the weekday and a trend, whose errors are correlated from day to day
 * (Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed., chapters 7 and 10). Lasting and passing
 * changes are further variables. Which of them exist is not certain, so models are averaged by their approximate
 * likelihood, BIC (Hoeting, Madigan, Raftery and Volinsky, "Bayesian model averaging: a tutorial", Statistical Science
 * 1999). Parameters but growth have flat priors, so a course is drawn from a t distribution.
 */
export class DemandFit {
  readonly #numbers: readonly number[];
  /** Weekdays of which at least one day is known. */
  readonly #weekdays: readonly number[];
  /** The likeliest first. */
  readonly #models: readonly Model[];
  readonly changes: readonly Change[];

  /**
   * @param days in ascending order, each with a demand above 0
   * @param amount null if growth is a share of demand. Otherwise about what each day adds, as a share of the demand of
   *   the last day: then growth is an amount
   */
  constructor(days: readonly DemandDay[], amount: number | null = null) {
    const numbers = days.map(({ day }) => dayNumber(day));
    const logs = days.map(({ demand }) => Math.log(demand));
    const last = numbers.at(-1)!;
    this.#numbers = numbers;
    this.#weekdays = [...new Set(numbers.map((number) => number % DAYS_OF_WEEK))].sort();
    const columns = [
      ...this.#weekdays.map((weekday) => numbers.map((each) => Number(each % DAYS_OF_WEEK === weekday))),
      numbers.map((each) => (amount ? Math.log1p(amount * (each - last)) / amount : each - last)),
    ];
    const possible = this.#possibleChanges();
    const changes: Change[] = [];
    const modelsNow = () =>
      averaged(
        CORRELATIONS.flatMap((correlation) => {
          const all = [...columns, ...changes.map((change) => this.#columnOf(change))];
          return this.#modelsOf(regressionOf(numbers, logs, correlation, all), possible);
        }),
      );
    let models = modelsNow();
    while (changes.length < Math.floor(days.length / DAYS_OF_CHANGE)) {
      const certain = this.#certainChange(models);
      if (certain === null) break;
      changes.push(certain);
      models = modelsNow();
    }
    this.#models = models;
    this.changes = changes.sort((a, b) => a.from - b.from);
  }

  /** Growth per day at the last day, as the likeliest model has it. */
  get slope(): number {
    return this.#models[0]!.slope;
  }

  /** Draws one of the possible courses. Drawn growth is accepted in proportion to its prior. */
  draw(random: SeededRandom): Course {
    const { regression } = chosen(this.#models, uniform(random));
    for (let left = MOST_TRIES; ; left -= 1) {
      const course = this.#courseOf(regression, random);
      if (left === 0 || uniform(random) <= growthPrior(course.slope)) return course;
    }
  }

  #courseOf(regression: Regression, random: SeededRandom): Course {
    const { axes, along, residuals, lasts, lastLog, correlation } = regression;
    const squares = squaresOf(regression);
    const sigma = Math.sqrt(squares / chiSquared(residuals.length - axes.length, random));
    const coefficients = solved(
      regression,
      along.map((each) => each + sigma * normal(random)),
    );
    const seen = coefficients.slice(0, this.#weekdays.length);
    const scale = sigma / Math.sqrt(squares / residuals.length);
    return {
      levels: Array.from({ length: DAYS_OF_WEEK }, (_, weekday) => {
        const at = this.#weekdays.indexOf(weekday);
        // The level of a weekday that was never recorded may be as high as any.
        return at === -1 ? Math.max(...seen) : seen[at]!;
      }),
      slope: coefficients[this.#weekdays.length]!,
      correlation,
      deviation: lastLog - lasts.reduce((sum, each, at) => sum + each * coefficients[at]!, 0),
      shocks: Array.from(residuals, (each) => each * scale),
    };
  }

  #possibleChanges(): Change[] {
    const numbers = this.#numbers;
    const lasting = numbers.slice(LEAST_SIDE, 1 - LEAST_SIDE).map((from): Change => ({ from, to: null }));
    const passing = PASSING_DAYS.flatMap((length) =>
      numbers.flatMap((from): Change[] => {
        const to = from + length - 1;
        const within = numbers.filter((each) => each >= from && each <= to).length;
        const isLast = to > numbers.at(-1)!;
        return isLast || within > numbers.length / 2 ? [] : [{ from, to }];
      }),
    );
    return [...lasting, ...passing];
  }

  /** 1 on the days before a lasting change, or within a passing one: the days to forecast have 0 in both cases. */
  #columnOf({ from, to }: Change): number[] {
    return this.#numbers.map((each) => Number(to === null ? each < from : each >= from && each <= to));
  }

  /** This regression, and it with one more change. */
  #modelsOf(base: Regression, changes: readonly Change[]): Model[] {
    const lasting = changes.filter(({ to }) => to === null).length;
    const [days, size] = [this.#numbers.length, base.axes.length];
    const modelOf = (regression: Regression, change: Change | null, prior: number): Model => {
      const slope = solved(regression, regression.along)[this.#weekdays.length]!;
      const penalty = change === null ? 0 : Math.log(days) / 2;
      const fit = -((days - size) / 2) * Math.log(squaresOf(regression)) - penalty;
      const logLikelihood = base.logScale + fit + Math.log(prior * growthPrior(slope));
      return { regression, change, slope, weight: logLikelihood };
    };
    return [
      modelOf(base, null, 1 - CHANGE_PRIOR),
      ...changes.flatMap((change) => {
        const others = change.to === null ? lasting : changes.length - lasting;
        const regression = withColumn(base, this.#columnOf(change));
        return regression === null ? [] : [modelOf(regression, change, CHANGE_PRIOR / 2 / others)];
      }),
    ];
  }

  /** The likeliest change, if it is certain. What changed at the end may last or pass, so that is not certain yet. */
  #certainChange(models: readonly Model[]): Change | null {
    const none = models.reduce((sum, { change, weight }) => sum + (change === null ? weight : 0), 0);
    const byChange = new Map<Change, number>();
    for (const { change, weight } of models) {
      if (change !== null) byChange.set(change, (byChange.get(change) ?? 0) + weight);
    }
    const settled = this.#numbers.at(-1)! - DAYS_OF_WEEK;
    const [likeliest] = [...byChange]
      .filter(([{ from, to }]) => (to ?? from) <= settled)
      .sort(([, a], [, b]) => b - a);
    const [change, weight] = likeliest ?? [null, 0];
    return weight > CERTAIN * none ? change : null;
  }
}

/** One of the averaged models. */
interface Model {
  readonly regression: Regression;
  /** The change that others may not have. */
  readonly change: Change | null;
  /** Estimated growth. */
  readonly slope: number;
  /** Logarithm of its likelihood, then its share of all. */
  readonly weight: number;
}

/** Turns logarithms of likelihoods into shares. The likeliest comes first. */
function averaged(models: readonly Model[]): Model[] {
  const best = Math.max(...models.map(({ weight }) => weight));
  const likely = models
    .map((each) => ({ ...each, weight: Math.exp(each.weight - best) }))
    .filter(({ weight }) => weight > LEAST_LIKELY)
    .sort((a, b) => b.weight - a.weight);
  const sum = likely.reduce((total, { weight }) => total + weight, 0);
  return likely.map((each) => ({ ...each, weight: each.weight / sum }));
}

/** @param share of the models' weights, from 0 to 1 */
function chosen(models: readonly Model[], share: number): Model {
  let sum = 0;
  for (const model of models) {
    sum += model.weight;
    if (share <= sum) return model;
  }
  return models[0]!;
}

/** Least squares on columns that are made orthonormal by Gram and Schmidt. */
interface Regression {
  readonly correlation: number;
  /** Makes the errors of days independent and equal (Prais and Winsten 1954); days may be missing. */
  readonly weigh: (column: readonly number[]) => Float64Array;
  readonly axes: readonly Float64Array[];
  /** Upper triangle, by columns. */
  readonly factors: readonly (readonly number[])[];
  /** The columns at the last day. */
  readonly lasts: readonly number[];
  readonly lastLog: number;
  /** The logarithms along the axes, and what is left of them. */
  readonly along: readonly number[];
  readonly residuals: Float64Array;
  /** What the likelihood has besides the residuals. */
  readonly logScale: number;
}

function regressionOf(
  numbers: readonly number[],
  logs: readonly number[],
  correlation: number,
  columns: readonly (readonly number[])[],
): Regression {
  const remains = numbers.map((each, at) => (at === 0 ? 0 : correlation ** (each - numbers[at - 1]!)));
  const scales = remains.map((share) => Math.sqrt((1 - correlation ** 2) / (1 - share ** 2)));
  const weigh = (column: readonly number[]) =>
    Float64Array.from(column, (each, at) => (each - remains[at]! * (column[at - 1] ?? 0)) * scales[at]!);
  const none: Regression = {
    ...{ correlation, weigh, axes: [], factors: [], lasts: [], along: [] },
    lastLog: logs.at(-1)!,
    residuals: weigh(logs),
    logScale: scales.reduce((sum, scale) => sum + Math.log(scale), 0),
  };
  return columns.reduce((regression, column) => withColumn(regression, column) ?? regression, none);
}

/** The regression with one more column; null if the others tell as much. */
function withColumn(regression: Regression, column: readonly number[]): Regression | null {
  const rest = regression.weigh(column);
  const factors = regression.axes.map((axis) => subtract(rest, axis));
  const length = Math.sqrt(dot(rest, rest));
  if (length < LEAST_LENGTH) return null;
  const axis = rest.map((each) => each / length);
  const residuals = Float64Array.from(regression.residuals);
  return {
    ...regression,
    axes: [...regression.axes, axis],
    factors: [...regression.factors, [...factors, length]],
    lasts: [...regression.lasts, column.at(-1)!],
    along: [...regression.along, subtract(residuals, axis)],
    residuals,
    logScale: regression.logScale - Math.log(length),
  };
}

/** The coefficients of the columns, of a vector given along the axes. */
function solved({ factors }: Regression, along: readonly number[]): number[] {
  const solution = [...along];
  for (let row = solution.length - 1; row >= 0; row -= 1) {
    for (let column = row + 1; column < solution.length; column += 1)
      solution[row]! -= factors[column]![row]! * solution[column]!;
    solution[row]! /= factors[row]![row]!;
  }
  return solution;
}

function squaresOf({ residuals }: Regression): number {
  return Math.max(residuals.length * LEAST_DEVIATION ** 2, dot(residuals, residuals));
}

/** Takes from a vector what it has along an axis. @returns how much that is */
function subtract(vector: Float64Array, axis: Float64Array): number {
  const length = dot(axis, vector);
  for (let at = 0; at < vector.length; at += 1) vector[at]! -= length * axis[at]!;
  return length;
}

/** Of growth per day, relative to none: a Cauchy distribution (Gelman, Jakulin, Pittau and Su 2008). */
function growthPrior(slope: number): number {
  return 1 / (1 + (slope / USUAL_GROWTH) ** 2);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let at = 0; at < a.length; at += 1) sum += a[at]! * b[at]!;
  return sum;
}

/** Above 0 and at most 1. */
function uniform(random: SeededRandom): number {
  return (random.nextUint32() + 1) / 2 ** 32;
}

/** Box and Muller 1958. */
export function normal(random: SeededRandom): number {
  return Math.sqrt(-2 * Math.log(uniform(random))) * Math.cos(2 * Math.PI * uniform(random));
}

/** Wilson and Hilferty 1931. */
function chiSquared(freedom: number, random: SeededRandom): number {
  const ninth = 2 / (9 * freedom);
  return freedom * Math.max(0.01, 1 - ninth + normal(random) * Math.sqrt(ninth)) ** 3;
}
