import { type BoundaryFit, fitBoundary, type JudgedLoad } from './boundary.ts';
import { type ClassifiedLoad, LoadStat, type RelevantBounds, relevantBounds } from './classify.ts';

export interface SearchOptions {
  /** Names in `PlayedWindow.kept`. Loads are chosen for the first; the others are judged by the same windows. */
  readonly goals: readonly [string, ...string[]];
  /** Multiplier of the first step. */
  readonly start: number;
  /** Limits of the multiplier. */
  readonly floor: number;
  readonly ceiling: number;
  /** Relative width of the boundary's interval at which the search ends, such as 0.1. */
  readonly width: number;
  /** How much the target differs from itself at 1x, as a share of the multiplier. The width is never below it. */
  readonly noise: number;
  /** Length of a window at a load, seconds. */
  readonly windowSAt: (multiplier: number) => number;
  /** Windows after which a load is decided at the latest. Odd, so that there is always a majority. */
  readonly windowsToDecide: number;
  /** Most seconds of a step outside its windows: settling, waiting for an empty backlog, cool-down. */
  readonly overheadS: number;
  /** Seconds that all steps may take together. */
  readonly budgetS: number;
}

/** The result of one window at a load. */
export interface PlayedWindow {
  /** By goal: kept, broken, or null if there are too few data to decide. */
  readonly kept: Readonly<Record<string, boolean | null>>;
  /**
   * The step was given up as hopeless within this window. For the goals it broke, it also counts for the missing
   * windows.
   */
  readonly endedEarly: boolean;
  /** The generator, not the target, was the limit, so the window is ignored. */
  readonly isVoid: boolean;
  /** It was void because of our own cap, which will also limit the next window at this load. */
  readonly isCapped: boolean;
  /** Share of the due requests that were not answered well, 0 to 1. */
  readonly lossRatio: number;
}

/** Consecutive windows at one multiplier. */
export interface PlayedStep {
  readonly multiplier: number;
  readonly windows: readonly PlayedWindow[];
  /** From the beginning of the step to the beginning of the next, seconds. */
  readonly spentS: number;
}

/**
 * `double` and `halve` search a bracket. `check` tests a load that a doubling skipped. `decide` adds windows to an
 * undecided load. `narrow` tests a load between the bounds. `widen` tests a load outside the bounds, because windows
 * contradict them.
 */
type StepPurpose = 'double' | 'halve' | 'check' | 'decide' | 'narrow' | 'widen';

/**
 * `resolved`: the interval is as narrow as requested. `ceiling`: the largest allowed load is sustained. `floor`: the
 * smallest allowed load is not. `generator`: the generator limits larger loads. `budget`: no step fits into the
 * remaining time. `unjudged`: windows have too few requests to judge a goal.
 */
export type SearchEnd = 'resolved' | 'ceiling' | 'floor' | 'generator' | 'budget' | 'unjudged';

export type NextStep =
  | {
      readonly kind: 'play';
      readonly multiplier: number;
      readonly windows: number;
      readonly purpose: StepPurpose;
    }
  | { readonly kind: 'done'; readonly reason: SearchEnd };

/** The result for one goal. */
export interface GoalResult {
  readonly id: string;
  readonly bounds: RelevantBounds;
  /** Null without both bounds: a single window that failed by chance must not bound the fit. */
  readonly fit: BoundaryFit | null;
  readonly loads: readonly JudgedLoad[];
}

/** Half of the windows may be bad. */
const EXCEED_RATIO = 0.5;
/** A load is beyond the generator with this many void windows, plus two for each judged window. */
const VOIDS = 4;
/** It is also beyond the generator if more windows than this, and than were judged, are void because of a cap. */
const CAPPED = 1;
/**
 * A load that passes so much above one that fails is no chance: the target fails between two loads that it sustains.
 * The larger one is then left out of the fit, which falls with the load.
 */
const FAR = 1.3;
/** Of two passing loads farther apart than this factor, the load between them is checked with one window. */
const SKIPPED = 1.5;

/**
 * Searches the multiple of the recorded traffic that a target sustains: it doubles the load, then narrows the interval.
 * It has no clock and sends nothing: `next` returns the next step, `add` takes its result. It depends only on the steps
 * so far, so a stored search can be resumed.
 */
export class CapacitySearch {
  readonly #options: SearchOptions;
  readonly #steps: PlayedStep[];

  /** @param steps steps of an earlier part of the search */
  constructor(options: SearchOptions, steps: readonly PlayedStep[] = []) {
    this.#options = options;
    this.#steps = [...steps];
  }

  get steps(): readonly PlayedStep[] {
    return this.#steps;
  }

  /** Adds the result of a step. */
  add(step: PlayedStep): void {
    this.#steps.push(step);
  }

  /** Remaining seconds of the budget. No step starts that could take longer. */
  get remainingS(): number {
    return this.#options.budgetS - this.#steps.reduce((sum, { spentS }) => sum + spentS, 0);
  }

  /** The width at which the search ends. */
  get width(): number {
    return Math.max(this.#options.width, this.#options.noise);
  }

  /** The loads of the steps if every one passes, to show them before anything is sent. */
  get doublings(): readonly number[] {
    const { start, ceiling } = this.#options;
    const loads: number[] = [];
    for (let load = start; load < ceiling; load *= 2) loads.push(this.#rounded(load));
    return [...loads, ceiling];
  }

  next(): NextStep {
    const step = this.#nextFor(this.#resultOf(this.#options.goals[0]));
    return typeof step === 'string' ? { kind: 'done', reason: step } : this.#within(step);
  }

  /** The results for every goal, in the order of the options. */
  results(): GoalResult[] {
    return this.#options.goals.map((id) => this.#resultOf(id));
  }

  #resultOf(id: string): GoalResult {
    const loads = this.#loadsOf(id);
    const bounds = relevantBounds(loads.classified);
    const isBracketed = bounds.lower !== null && bounds.upper !== null;
    const far = (bounds.upper?.multiplier ?? 0) * FAR;
    const counted = loads.loads.filter(
      ({ multiplier }) => multiplier <= far || !bounds.inverted.includes(multiplier),
    );
    return { id, ...loads, bounds, fit: isBracketed ? fitBoundary(counted) : null };
  }

  #nextFor({ id, bounds, fit, loads }: GoalResult): Wanted | SearchEnd {
    const { start, floor, ceiling, windowsToDecide } = this.#options;
    const limit = this.#generatorLimit(loads, bounds);
    const top = bounds.lower?.multiplier ?? 0;
    const upper = bounds.upper?.multiplier ?? Number.POSITIVE_INFINITY;
    const undecided = this.#undecided(id, loads, top, Math.min(limit, upper));
    if (undecided !== null) return undecided;
    const windows = Math.ceil(windowsToDecide / 2);
    if (bounds.upper === null) {
      const skipped = this.#skipped(loads, top);
      if (skipped !== null) return { multiplier: skipped, windows: 1, purpose: 'check' };
      if (top >= ceiling) return 'ceiling';
      const wanted = top === 0 ? start : Math.min(ceiling, this.#rounded(top * 2));
      if (wanted < limit) return { multiplier: wanted, windows, purpose: 'double' };
    }
    if (limit < upper) {
      const between = this.#rounded(Math.sqrt(Math.max(top, floor) * limit));
      return between / Math.max(top, floor) < 1 + this.width || between >= limit
        ? 'generator'
        : { multiplier: between, windows, purpose: 'narrow' };
    }
    if (bounds.lower === null) {
      if (upper <= floor) return 'floor';
      return { multiplier: Math.max(floor, this.#rounded(upper / 2)), windows, purpose: 'halve' };
    }
    if (fit === null || upper > top * (1 + this.width)) {
      return { multiplier: this.#rounded(Math.sqrt(top * upper)), windows, purpose: 'narrow' };
    }
    return fit.width <= this.width
      ? 'resolved'
      : { ...this.#closing(fit, top, upper), windows: windowsToDecide };
  }

  /**
   * The load of the next windows when the bounds are close enough but the interval is not narrow. If windows contradict
   * the bounds (a smaller load broke, or a larger one was sustained), a load outside the bounds is more informative.
   */
  #closing(fit: BoundaryFit, low: number, high: number): Pick<Wanted, 'multiplier' | 'purpose'> {
    const wanted = this.#rounded([fit.low, fit.multiplier, fit.high][this.#steps.length % 3]!);
    const within = Math.min(high, Math.max(low, wanted));
    return fit.shape === 'cliff' || within === wanted
      ? { multiplier: within, purpose: 'narrow' }
      : { multiplier: wanted, purpose: 'widen' };
  }

  /**
   * The first load that was skipped below `top`: half-way between two loads that are far apart. A load that could not
   * be judged is tried again a few times.
   */
  #skipped(loads: readonly JudgedLoad[], top: number): number | null {
    const { windowsToDecide } = this.#options;
    const below = loads.filter(({ multiplier }) => multiplier <= top);
    const unjudged = below.find(
      ({ multiplier, judged }) => judged === 0 && this.#windowsAt(multiplier).length < windowsToDecide,
    );
    if (unjudged !== undefined) return unjudged.multiplier;
    for (const [at, { multiplier: high }] of below.entries()) {
      const low = below[at - 1]?.multiplier ?? high;
      if (high / low > SKIPPED) return this.#rounded(Math.sqrt(low * high));
    }
    return null;
  }

  /**
   * The first undecided load between two loads. Below them, only a load with a bad window needs a decision: if it
   * fails, the larger load that passed is no bound.
   */
  #undecided(id: string, loads: readonly JudgedLoad[], from: number, to: number): Wanted | SearchEnd | null {
    const { windowsToDecide } = this.#options;
    for (const { multiplier, good, judged } of loads) {
      const need = Math.ceil(windowsToDecide / 2) - Math.max(good, judged - good);
      const isOpen = multiplier < to && (multiplier > from || good < judged);
      if (need > 0 && judged < windowsToDecide && isOpen) {
        return this.#unjudgedAt(id, multiplier) > windowsToDecide
          ? 'unjudged'
          : { multiplier, windows: need, purpose: 'decide' };
      }
    }
    return null;
  }

  #unjudgedAt(id: string, multiplier: number): number {
    return this.#windowsAt(multiplier).filter(({ isVoid, kept }) => !isVoid && (kept[id] ?? null) === null)
      .length;
  }

  #windowsAt(multiplier: number): PlayedWindow[] {
    return this.#steps.flatMap((step) => (step.multiplier === multiplier ? step.windows : []));
  }

  /**
   * The smallest load that only the generator limited; infinity if there is none. A short disturbance is no limit, so
   * most windows at the load must be void or capped. The load must also be above the largest sustained one.
   */
  #generatorLimit(loads: readonly JudgedLoad[], { lower }: RelevantBounds): number {
    const beyond = loads.filter(({ multiplier, judged }) => {
      const windows = this.#windowsAt(multiplier);
      const voids = windows.filter(({ isVoid }) => isVoid).length;
      const capped = windows.filter(({ isCapped }) => isCapped).length;
      const isBeyond = voids >= VOIDS + 2 * judged || capped > Math.max(CAPPED, judged);
      return multiplier > (lower?.multiplier ?? 0) && isBeyond;
    });
    return Math.min(...beyond.map(({ multiplier }) => multiplier));
  }

  #within({ multiplier, windows, purpose }: Wanted): NextStep {
    const { windowSAt, overheadS, floor, ceiling } = this.#options;
    const fitting = Math.min(windows, Math.floor((this.remainingS - overheadS) / windowSAt(multiplier)));
    if (fitting < 1) return { kind: 'done', reason: 'budget' };
    return {
      kind: 'play',
      multiplier: Math.min(ceiling, Math.max(floor, multiplier)),
      windows: fitting,
      purpose,
    };
  }

  #loadsOf(id: string): { readonly loads: JudgedLoad[]; readonly classified: ClassifiedLoad[] } {
    const { windowSAt, windowsToDecide } = this.#options;
    const stats = new Map<number, { readonly stat: LoadStat; good: number; judged: number }>();
    for (const { multiplier, windows } of this.#steps) {
      const windowS = windowSAt(multiplier);
      const goal = { exceedRatio: EXCEED_RATIO, durationS: windowS * windowsToDecide };
      const load = stats.get(multiplier) ?? { stat: new LoadStat(goal), good: 0, judged: 0 };
      stats.set(multiplier, load);
      for (const { kept, endedEarly, isVoid, lossRatio } of windows) {
        const isGood = kept[id] ?? null;
        if (isVoid || isGood === null) continue;
        const times = endedEarly && !isGood ? windowsToDecide : 1;
        load.stat.add({ isGood, seconds: windowS * times, lossRatio });
        load.judged += times;
        if (isGood) load.good += times;
      }
    }
    const ascending = [...stats].sort(([a], [b]) => a - b);
    return {
      loads: ascending.map(([multiplier, { good, judged }]) => ({ multiplier, good, judged })),
      classified: ascending.map(([multiplier, { stat }]) => ({ multiplier, stat })),
    };
  }

  /**
   * The nearest load on a grid that has the powers of the square root of two and is finer than the width. So the same
   * loads are used again.
   */
  #rounded(multiplier: number): number {
    const perDoubling = 2 * Math.ceil(Math.LN2 / 2 / Math.log1p(this.width / 3));
    const at = Math.round(Math.log2(multiplier / this.#options.start) * perDoubling);
    return Number((this.#options.start * 2 ** (at / perDoubling)).toPrecision(5));
  }
}

interface Wanted {
  readonly multiplier: number;
  readonly windows: number;
  readonly purpose: StepPurpose;
}
