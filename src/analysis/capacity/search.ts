import { type BoundaryFit, fitBoundary, type LoadOutcome } from './boundary.ts';
import { type ClassifiedLoad, LoadStat, type RelevantBounds, relevantBounds } from './classify.ts';

/** What is searched for: an objective, a tier of them, or the same of a slice. */
export interface SearchGoal {
  /** Its name in `PlayedWindow.kept`, such as `latency{model=gpt}: p(99)<200`; unique. */
  readonly id: string;
  /** Whether loads are chosen for it. Others are judged by the same windows and cost nothing. */
  readonly isSought: boolean;
}

export interface SearchOptions {
  readonly goals: readonly SearchGoal[];
  /** Multiplier of the first step. */
  readonly start: number;
  /** Multipliers that are never passed. */
  readonly floor: number;
  readonly ceiling: number;
  /** Relative width of the boundary's interval at which the search ends, such as 0.1. */
  readonly width: number;
  /** How much the target differs from itself at 1x, as a share of the multiplier; the width never goes below it. */
  readonly noise: number;
  /** Length of a window, seconds. */
  readonly windowS: number;
  /** Windows that decide a load at the latest; odd, so that they cannot be half and half. */
  readonly windowsToDecide: number;
  /** Most seconds of a step beside its windows: settling, waiting for an empty backlog, cool-down. */
  readonly overheadS: number;
  /** Seconds that all steps may take together. */
  readonly budgetS: number;
}

/** What one window at a load showed. */
export interface PlayedWindow {
  /** By goal: kept, broken, or null where too little was seen to say. */
  readonly kept: Readonly<Record<string, boolean | null>>;
  /** As played. */
  readonly seconds: number;
  /** The step was given up within this window as hopeless: of the goals it broke, its other windows count as this one. */
  readonly endedEarly: boolean;
  /** The generator, not the target, was the limit: the window says nothing. */
  readonly isVoid: boolean;
  /** Requests per second that were due. */
  readonly offeredPerS: number;
  /** Share of the due requests that were not answered well, 0 to 1. */
  readonly lossRatio: number;
}

/** Windows that were played at one multiplier, one after the other. */
export interface PlayedStep {
  readonly multiplier: number;
  readonly windows: readonly PlayedWindow[];
  /** From the beginning of the step to the next one, seconds. */
  readonly spentS: number;
}

/** All that a search knows; plain JSON. */
export interface SearchState {
  readonly options: SearchOptions;
  readonly steps: readonly PlayedStep[];
}

/** `double` and `halve` look for a bracket, `decide` adds windows to an undecided load, `narrow` closes the interval. */
export type StepPurpose = 'double' | 'halve' | 'decide' | 'narrow';

/**
 * `resolved`: every interval is as narrow as asked. `ceiling`: the largest load allowed is stood. `floor`: the least
 * load allowed is not. `generator`: larger loads are limited by the generator. `budget`: no step fits the time left.
 * `unjudged`: windows say nothing of a goal, as they hold too few requests.
 */
export type SearchEnd = 'resolved' | 'ceiling' | 'floor' | 'generator' | 'budget' | 'unjudged';

export type NextStep =
  | {
      readonly kind: 'play';
      readonly multiplier: number;
      readonly windows: number;
      /** Where in the recording the step begins, as a share of its length: each step plays another part. */
      readonly position: number;
      readonly purpose: StepPurpose;
      /** How long the step may take, seconds. */
      readonly longestS: number;
    }
  | { readonly kind: 'done'; readonly reason: SearchEnd };

/** What is known of one goal. */
export interface GoalResult {
  readonly id: string;
  readonly bounds: RelevantBounds;
  /** Null without both bounds: a window that failed by chance bounds nothing. */
  readonly fit: BoundaryFit | null;
  readonly loads: readonly LoadOutcome[];
}

/** Half of the windows. */
const EXCEED_RATIO = 0.5;
/** Steps with void windows at a load, after which it may count as beyond the generator. */
const VOIDS = 2;
/** Positions that are spread evenly however many are taken: multiples of the golden ratio, modulo 1. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * Finds how much more than the recorded traffic a target stands: doubles, then narrows. It has no clock and sends
 * nothing: `next` says what to play, `add` takes what was seen. What it says depends on its state alone, so a search
 * that is read back goes on as it would have.
 */
export class CapacitySearch {
  readonly #options: SearchOptions;
  readonly #steps: PlayedStep[] = [];

  constructor(options: SearchOptions, steps: readonly PlayedStep[] = []) {
    this.#options = options;
    for (const step of steps) this.add(step);
  }

  /** Goes on with a search that was kept. */
  static from({ options, steps }: SearchState): CapacitySearch {
    return new CapacitySearch(options, steps);
  }

  get state(): SearchState {
    return { options: this.#options, steps: [...this.#steps] };
  }

  /** Takes what a step showed. */
  add(step: PlayedStep): void {
    this.#steps.push(step);
  }

  /** Seconds of the budget that are left: no step is begun that could take longer. */
  get remainingS(): number {
    return this.#options.budgetS - this.#steps.reduce((sum, { spentS }) => sum + spentS, 0);
  }

  /** The width at which the search ends. */
  get width(): number {
    return Math.max(this.#options.width, this.#options.noise);
  }

  /** The loads that would be played if every one passed, for telling a user before anything is sent. */
  get doublings(): readonly number[] {
    const { start, ceiling } = this.#options;
    const loads: number[] = [];
    for (let load = start; load < ceiling; load *= 2) loads.push(this.#rounded(load));
    return [...loads, ceiling];
  }

  next(): NextStep {
    const results = this.results().filter((_, at) => this.#options.goals[at]!.isSought);
    let end: SearchEnd = 'resolved';
    for (const result of results) {
      const step = this.#nextFor(result);
      if (typeof step !== 'string') return this.#within(step);
      if (step !== 'resolved') end = step;
    }
    return { kind: 'done', reason: end };
  }

  /** What is known of every goal, in the order of the options. */
  results(): GoalResult[] {
    return this.#options.goals.map(({ id }) => {
      const loads = this.#loadsOf(id);
      const bounds = relevantBounds(loads.classified);
      const isBracketed = bounds.lower !== null && bounds.upper !== null;
      return { id, ...loads, bounds, fit: isBracketed ? fitBoundary(loads.loads) : null };
    });
  }

  #nextFor({ id, bounds, fit, loads }: GoalResult): Wanted | SearchEnd {
    const { start, floor, ceiling, windowsToDecide } = this.#options;
    const limit = this.#generatorLimit(loads, bounds);
    const undecided = this.#undecided(id, loads, Math.min(limit, bounds.upper?.multiplier ?? limit));
    if (undecided !== null) return undecided;
    const top = bounds.lower?.multiplier ?? 0;
    const decisive = Math.ceil(windowsToDecide / 2);
    if (bounds.upper === null) {
      if (top >= ceiling) return 'ceiling';
      const wanted = top === 0 ? start : Math.min(ceiling, this.#rounded(top * 2));
      if (wanted < limit) return { multiplier: wanted, windows: decisive, purpose: 'double' };
      const between = this.#rounded(Math.sqrt(Math.max(top, floor) * limit));
      return between / Math.max(top, floor) < 1 + this.width || between >= limit
        ? 'generator'
        : { multiplier: between, windows: decisive, purpose: 'narrow' };
    }
    if (bounds.lower === null) {
      if (bounds.upper.multiplier <= floor) return 'floor';
      const half = Math.max(floor, this.#rounded(bounds.upper.multiplier / 2));
      return { multiplier: half, windows: decisive, purpose: 'halve' };
    }
    if (fit !== null && fit.width <= this.width) return 'resolved';
    return { multiplier: this.#narrowing(fit, bounds), windows: decisive, purpose: 'narrow' };
  }

  /** Where the next windows tell most of the boundary. */
  #narrowing(fit: BoundaryFit | null, { lower, upper }: RelevantBounds): number {
    const [low, high] = [lower!.multiplier, upper!.multiplier];
    if (fit === null) return this.#rounded(Math.sqrt(low * high));
    return this.#rounded([fit.low, fit.multiplier, fit.high][this.#steps.length % 3]!);
  }

  /** The first load below a limit with fewer windows than decide it. Beyond it nothing has to be decided. */
  #undecided(id: string, loads: readonly LoadOutcome[], limit: number): Wanted | SearchEnd | null {
    const { windowsToDecide } = this.#options;
    for (const { multiplier, good, judged } of loads) {
      const need = Math.ceil(windowsToDecide / 2) - Math.max(good, judged - good);
      if (need > 0 && judged < windowsToDecide && multiplier < limit) {
        return this.#unjudgedAt(id, multiplier) > windowsToDecide
          ? 'unjudged'
          : { multiplier, windows: need, purpose: 'decide' };
      }
    }
    return null;
  }

  #unjudgedAt(id: string, multiplier: number): number {
    return this.#steps
      .filter((step) => step.multiplier === multiplier)
      .flatMap(({ windows }) => windows)
      .filter(({ isVoid, kept }) => !isVoid && (kept[id] ?? null) === null).length;
  }

  /**
   * The least load that only the generator limited; infinity if none did. A hiccup of it is no limit: most windows
   * there must say nothing, and no such load or larger one be stood.
   */
  #generatorLimit(loads: readonly LoadOutcome[], { lower }: RelevantBounds): number {
    const beyond = loads.filter(({ multiplier, judged }) => {
      const voids = this.#steps
        .filter((step) => step.multiplier === multiplier)
        .map(({ windows }) => windows.filter(({ isVoid }) => isVoid).length)
        .filter((count) => count > 0);
      const isStood = multiplier <= (lower?.multiplier ?? 0);
      return !isStood && voids.length >= VOIDS && voids.reduce((sum, each) => sum + each, 0) > judged;
    });
    return Math.min(...beyond.map(({ multiplier }) => multiplier));
  }

  #within({ multiplier, windows, purpose }: Wanted): NextStep {
    const { windowS, overheadS, floor, ceiling } = this.#options;
    const fitting = Math.min(windows, Math.floor((this.remainingS - overheadS) / windowS));
    if (fitting < 1) return { kind: 'done', reason: 'budget' };
    return {
      kind: 'play',
      multiplier: Math.min(ceiling, Math.max(floor, multiplier)),
      windows: fitting,
      position: (this.#steps.length * GOLDEN) % 1,
      purpose,
      longestS: overheadS + fitting * windowS,
    };
  }

  #loadsOf(id: string): { readonly loads: LoadOutcome[]; readonly classified: ClassifiedLoad[] } {
    const { windowS, windowsToDecide } = this.#options;
    const goal = { exceedRatio: EXCEED_RATIO, windowS, durationS: windowS * windowsToDecide };
    const stats = new Map<number, { readonly stat: LoadStat; good: number; judged: number }>();
    for (const { multiplier, windows } of this.#steps) {
      const load = stats.get(multiplier) ?? { stat: new LoadStat(goal), good: 0, judged: 0 };
      stats.set(multiplier, load);
      for (const { kept, endedEarly, isVoid, lossRatio } of windows) {
        const isGood = kept[id] ?? null;
        if (isVoid || isGood === null) continue;
        const times = endedEarly && !isGood ? windowsToDecide : 1;
        load.stat.add({ isGood, plannedS: windowS, seconds: windowS * times, lossRatio });
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

  /** The nearest load of a grid that has the powers of two and is finer than the width: so loads are met again. */
  #rounded(multiplier: number): number {
    const perDoubling = Math.ceil(Math.LN2 / Math.log1p(this.width / 3));
    const at = Math.round(Math.log2(multiplier / this.#options.start) * perDoubling);
    return Number((this.#options.start * 2 ** (at / perDoubling)).toPrecision(5));
  }
}

interface Wanted {
  readonly multiplier: number;
  readonly windows: number;
  readonly purpose: StepPurpose;
}
