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
 * 1999). Parameters have flat priors, so a course is drawn from a t distribution.
 */
export class DemandFit {
  readonly #numbers: readonly number[];
  readonly #logs: readonly number[];
  /** Weekdays of which at least one day is known. */
  readonly #weekdays: readonly number[];
  readonly #models: readonly Model[];
  readonly changes: readonly Change[];

  /**
   * @param days in ascending order, each with a demand above 0
   * @param amount null if growth is a share of demand. Otherwise about what each day adds, as a share of the demand of
   *   the last day: then growth is an amount
   */
  constructor(days: readonly DemandDay[], amount: number | null = null) {
    this.#numbers = days.map(({ day }) => dayNumber(day));
    this.#logs = days.map(({ demand }) => Math.log(demand));
    this.#weekdays = [...new Set(this.#numbers.map((number) => number % DAYS_OF_WEEK))].sort();
    const last = this.#numbers.at(-1)!;
    const columns = [
      ...this.#weekdays.map((weekday) =>
        this.#numbers.map((each) => Number(each % DAYS_OF_WEEK === weekday)),
      ),
      this.#numbers.map((each) => (amount ? Math.log1p(amount * (each - last)) / amount : each - last)),
    ];
    const trend = this.#weekdays.length;
    const changes: Change[] = [];
    const possible = this.#possibleChanges();
    let models = this.#modelsWith(columns, trend, possible);
    while (changes.length < Math.floor(days.length / DAYS_OF_CHANGE)) {
      const certain = this.#certainChange(models);
      if (certain === null) break;
      changes.push(certain);
      columns.push(this.#columnOf(certain));
      models = this.#modelsWith(columns, trend, possible);
    }
    this.#models = models;
    this.changes = changes.sort((a, b) => a.from - b.from);
  }

  /** Growth per day at the last day, as the likeliest model has it. */
  get slope(): number {
    return this.#models[0]!.estimate;
  }

  /** Draws one of the possible courses. */
  draw(random: SeededRandom): Course {
    const model = this.#chosen(uniform(random));
    const { coefficients, rms, sigma } = model.draw(random);
    const seen = coefficients.slice(0, this.#weekdays.length);
    const levels = Array.from({ length: DAYS_OF_WEEK }, (_, weekday) => {
      const at = this.#weekdays.indexOf(weekday);
      // The level of a weekday that was never recorded may be as high as any.
      return at === -1 ? Math.max(...seen) : seen[at]!;
    });
    return {
      levels,
      slope: coefficients[this.#weekdays.length]!,
      correlation: model.correlation,
      deviation: this.#logs.at(-1)! - model.lastLevel(coefficients),
      shocks: model.residuals.map((each) => (each / rms) * sigma),
    };
  }

  /** @param share of the models' weights, from 0 to 1 */
  #chosen(share: number): Model {
    let sum = 0;
    for (const model of this.#models) {
      sum += model.weight;
      if (share <= sum) return model;
    }
    return this.#models[0]!;
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

  /** The models with these columns and at most one of the changes, for each correlation. */
  #modelsWith(columns: readonly (readonly number[])[], trend: number, changes: readonly Change[]): Model[] {
    const lasting = changes.filter(({ to }) => to === null).length;
    const found = CORRELATIONS.flatMap((correlation) => {
      const weigh = weighing(this.#numbers, correlation);
      const base = new Base(columns, trend, this.#logs, weigh);
      const priorOf = ({ to }: Change) =>
        CHANGE_PRIOR / 2 / (to === null ? lasting : changes.length - lasting);
      return [
        new Model(base, null, null, Math.log(1 - CHANGE_PRIOR)),
        ...changes.flatMap((change) => {
          const column = this.#columnOf(change);
          const model = new Model(base, change, column, Math.log(priorOf(change)));
          return model.isKnown ? [model] : [];
        }),
      ];
    });
    const best = Math.max(...found.map(({ logLikelihood }) => logLikelihood));
    const likely = found.filter((each) => each.logLikelihood > best + Math.log(LEAST_LIKELY));
    const sum = likely.reduce((total, each) => total + Math.exp(each.logLikelihood - best), 0);
    for (const each of likely) each.weight = Math.exp(each.logLikelihood - best) / sum;
    return likely.sort((a, b) => b.weight - a.weight);
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

/** Makes the errors of days independent and equal (Prais and Winsten 1954); days may be missing. */
interface Weighing {
  readonly of: (column: readonly number[]) => Float64Array;
  readonly logJacobian: number;
  readonly correlation: number;
}

function weighing(numbers: readonly number[], correlation: number): Weighing {
  const kept = numbers.map((each, at) => (at === 0 ? 0 : correlation ** (each - numbers[at - 1]!)));
  const scales = kept.map((share) => Math.sqrt((1 - correlation ** 2) / (1 - share ** 2)));
  return {
    correlation,
    of: (column) =>
      Float64Array.from(
        column,
        (each, at) => (each - kept[at]! * (at === 0 ? 0 : column[at - 1]!)) * scales[at]!,
      ),
    logJacobian: scales.reduce((sum, scale) => sum + Math.log(scale), 0),
  };
}

/** Columns that all models of one correlation have, made orthonormal by Gram and Schmidt. */
class Base {
  readonly weigh: Weighing;
  /** The column that is the trend. */
  readonly trend: number;
  readonly lasts: readonly number[];
  readonly logs: Reduced;
  readonly days: number;
  readonly #axes: Float64Array[] = [];
  /** Upper triangle, by columns. */
  readonly #factors: (readonly number[])[] = [];
  readonly logScale: number;

  constructor(
    columns: readonly (readonly number[])[],
    trend: number,
    logs: readonly number[],
    weigh: Weighing,
  ) {
    this.weigh = weigh;
    this.trend = trend;
    this.days = logs.length;
    this.lasts = columns.map((column) => column.at(-1)!);
    let logScale = weigh.logJacobian;
    for (const column of columns) {
      const { along, rest, size } = this.reduced(column);
      const length = Math.sqrt(size);
      this.#axes.push(rest.map((each) => each / length));
      this.#factors.push([...along, length]);
      logScale -= Math.log(length);
    }
    this.logScale = logScale;
    this.logs = this.reduced(logs);
  }

  get size(): number {
    return this.#axes.length;
  }

  /** A column as a part along the axes and the rest. */
  reduced(column: readonly number[]): Reduced {
    const rest = this.weigh.of(column);
    const along = this.#axes.map((axis) => {
      const length = dot(axis, rest);
      for (let at = 0; at < rest.length; at += 1) rest[at]! -= length * axis[at]!;
      return length;
    });
    return { along, rest, size: dot(rest, rest) };
  }

  /** The coefficients of the columns, of a vector given along the axes. */
  solved(along: readonly number[]): number[] {
    const solution = [...along];
    for (let row = solution.length - 1; row >= 0; row -= 1) {
      for (let column = row + 1; column < solution.length; column += 1)
        solution[row]! -= this.#factors[column]![row]! * solution[column]!;
      solution[row]! /= this.#factors[row]![row]!;
    }
    return solution;
  }
}

interface Reduced {
  readonly along: readonly number[];
  readonly rest: Float64Array;
  /** Of the rest: sum of squares. */
  readonly size: number;
}

/** A change whose column hardly differs from the others cannot be told from them. */
const LEAST_SIZE = 1e-6;

/** One of the averaged models: the columns of its base, and at most one change. */
class Model {
  readonly change: Change | null;
  readonly logLikelihood: number;
  /** Of growth. */
  readonly estimate: number;
  /** Share of all models, set when they are known. */
  weight = 0;
  readonly #base: Base;
  readonly #column: Reduced | null;
  readonly #lastOfColumn: number;
  readonly #effect: number;
  readonly #squares: number;
  readonly #freedom: number;
  #residuals: readonly number[] | null = null;

  constructor(base: Base, change: Change | null, column: readonly number[] | null, logPrior: number) {
    this.#base = base;
    this.change = change;
    this.#column = column === null ? null : base.reduced(column);
    this.#lastOfColumn = column?.at(-1) ?? 0;
    const { logs, days } = base;
    const across = this.#column === null ? 0 : dot(this.#column.rest, logs.rest);
    this.#effect = this.#column === null || !this.isKnown ? 0 : across / this.#column.size;
    const least = days * LEAST_DEVIATION ** 2;
    this.#squares = Math.max(least, logs.size - this.#effect * across);
    this.#freedom = days - base.size - (column === null ? 0 : 1);
    const fit = -((days - base.size) / 2) * Math.log(this.#squares);
    this.estimate = this.#coefficients(0, this.#effect, null)[base.trend]!;
    const prior = logPrior + Math.log(growthPrior(this.estimate));
    this.logLikelihood = base.logScale + fit + prior - (column === null ? 0 : Math.log(days) / 2);
  }

  get correlation(): number {
    return this.#base.weigh.correlation;
  }

  get isKnown(): boolean {
    return this.#column === null || this.#column.size > LEAST_SIZE;
  }

  get residuals(): readonly number[] {
    const { rest } = this.#base.logs;
    this.#residuals ??= Array.from(rest, (each, at) => each - this.#effect * (this.#column?.rest[at] ?? 0));
    return this.#residuals;
  }

  /**
   * Draws coefficients from their posterior; the last one is that of the change. Drawn growth is accepted in proportion
   * to its prior.
   */
  draw(random: SeededRandom) {
    const { days, trend } = this.#base;
    for (let left = MOST_TRIES; ; left -= 1) {
      const sigma = Math.sqrt(this.#squares / chiSquared(this.#freedom, random));
      const spread = this.#column === null ? 0 : sigma / Math.sqrt(this.#column.size);
      const coefficients = this.#coefficients(sigma, this.#effect + spread * normal(random), random);
      if (left === 0 || uniform(random) <= growthPrior(coefficients[trend]!))
        return { coefficients, sigma, rms: Math.sqrt(this.#squares / days) };
    }
  }

  #coefficients(sigma: number, effect: number, random: SeededRandom | null): number[] {
    const along = this.#base.logs.along.map(
      (each, at) =>
        each - effect * (this.#column?.along[at] ?? 0) + (random === null ? 0 : sigma * normal(random)),
    );
    return [...this.#base.solved(along), effect];
  }

  lastLevel(coefficients: readonly number[]): number {
    const lasts = [...this.#base.lasts, this.#lastOfColumn];
    return lasts.reduce((sum, last, at) => sum + last * coefficients[at]!, 0);
  }
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
