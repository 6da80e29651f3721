import { type BoundaryFit, fitBoundary, type LoadOutcome } from './boundary.ts';
import { type ClassifiedLoad, LoadStat, type RelevantBounds, relevantBounds } from './classify.ts';

export interface SearchOptions {
  /** Names in `PlayedWindow.kept`. Loads are chosen for the first; the others are judged by the same windows. */
  readonly goals: readonly [string, ...string[]];
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
  /** The step was given up within this window as hopeless: of the goals it broke, its other windows count as this one. */
  readonly endedEarly: boolean;
  /** The generator, not the target, was the limit: the window says nothing. */
  readonly isVoid: boolean;
  /** It was void by a cap of ours, which holds the next window at this load back as well. */
  readonly isCapped: boolean;
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

/**
 * `double` and `halve` look for a bracket, `decide` adds windows to an undecided load, `narrow` closes the interval
 * between the bounds. `widen` plays a load beyond them, because windows contradict them.
 */
type StepPurpose = 'double' | 'halve' | 'decide' | 'narrow' | 'widen';

/**
 * `resolved`: the interval is as narrow as asked. `ceiling`: the largest load allowed is stood. `floor`: the least
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
/** Void windows at a load, beside two for each that was judged, that put it beyond the generator. */
const VOIDS = 4;
/** More windows that a cap made void than this, and than were judged, do as well. */
const CAPPED = 1;
/** Positions that are spread evenly however many are taken: multiples of the golden ratio, modulo 1. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * Finds how much more than the recorded traffic a target stands: doubles, then narrows. It has no clock and sends
 * nothing: `next` says what to play, `add` takes what was seen. What it says depends on its state alone, so a search
 * that is read back goes on as it would have.
 */
export class CapacitySearch {
  readonly #options: SearchOptions;
  readonly #steps: PlayedStep[];

  /** @param steps what it played before */
  constructor(options: SearchOptions, steps: readonly PlayedStep[] = []) {
    this.#options = options;
    this.#steps = [...steps];
  }

  get steps(): readonly PlayedStep[] {
    return this.#steps;
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
    const step = this.#nextFor(this.#resultOf(this.#options.goals[0]));
    return typeof step === 'string' ? { kind: 'done', reason: step } : this.#within(step);
  }

  /** What is known of every goal, in the order of the options. */
  results(): GoalResult[] {
    return this.#options.goals.map((id) => this.#resultOf(id));
  }

  #resultOf(id: string): GoalResult {
    const loads = this.#loadsOf(id);
    const bounds = relevantBounds(loads.classified);
    const isBracketed = bounds.lower !== null && bounds.upper !== null;
    return { id, ...loads, bounds, fit: isBracketed ? fitBoundary(loads.loads) : null };
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
    return fit.width <= this.width ? 'resolved' : { ...this.#closing(fit, top, upper), windows };
  }

  /**
   * Where the next windows tell most of the boundary, between bounds that are as close as asked. Where windows contradict
   * the bounds, because a smaller load broke or a larger one was stood, loads beyond them tell more.
   */
  #closing(fit: BoundaryFit, low: number, high: number): Pick<Wanted, 'multiplier' | 'purpose'> {
    const wanted = this.#rounded([fit.low, fit.multiplier, fit.high][this.#steps.length % 3]!);
    const within = Math.min(high, Math.max(low, wanted));
    return fit.shape === 'cliff' || within === wanted
      ? { multiplier: within, purpose: 'narrow' }
      : { multiplier: wanted, purpose: 'widen' };
  }

  /** The first load between two with fewer windows than decide it. Outside of them nothing has to be decided. */
  #undecided(id: string, loads: readonly LoadOutcome[], from: number, to: number): Wanted | SearchEnd | null {
    const { windowsToDecide } = this.#options;
    for (const { multiplier, good, judged } of loads) {
      const need = Math.ceil(windowsToDecide / 2) - Math.max(good, judged - good);
      if (need > 0 && judged < windowsToDecide && multiplier > from && multiplier < to) {
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
   * The least load that only the generator limited; infinity if none did. A hiccup is no limit, so most windows there
   * must be void or capped. It must also be above the largest load that was carried.
   */
  #generatorLimit(loads: readonly LoadOutcome[], { lower }: RelevantBounds): number {
    const beyond = loads.filter(({ multiplier, judged }) => {
      const windows = this.#steps.flatMap((step) => (step.multiplier === multiplier ? step.windows : []));
      const voids = windows.filter(({ isVoid }) => isVoid).length;
      const capped = windows.filter(({ isCapped }) => isCapped).length;
      const isBeyond = voids >= VOIDS + 2 * judged || capped > Math.max(CAPPED, judged);
      return multiplier > (lower?.multiplier ?? 0) && isBeyond;
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
    };
  }

  #loadsOf(id: string): { readonly loads: LoadOutcome[]; readonly classified: ClassifiedLoad[] } {
    const { windowS, windowsToDecide } = this.#options;
    const goal = { exceedRatio: EXCEED_RATIO, durationS: windowS * windowsToDecide };
    const stats = new Map<number, { readonly stat: LoadStat; good: number; judged: number }>();
    for (const { multiplier, windows } of this.#steps) {
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
