/**
 * Decides whether a system sustains a load, as MLRsearch does (M. Konstantynowicz, V. Polak, Internet-Draft
 * draft-ietf-bmwg-mlrsearch; PyPI `MLRsearch` 1.2.1). A load is a multiplier of the recorded traffic. A trial is one
 * window at this load.
 */

/** When a load counts as sustained. */
export interface Goal {
  /** Share of the seconds at a load that may be bad. With 0.5, half of the windows pass at the boundary. */
  readonly exceedRatio: number;
  /** Seconds of windows after which a load is decided at the latest. */
  readonly durationS: number;
}

/** The result of one window for one goal. */
interface Trial {
  readonly isGood: boolean;
  /** Length of the window, seconds. */
  readonly seconds: number;
  /** Share of its requests that were not good, 0 to 1. */
  readonly lossRatio: number;
}

/** `lower`: the target sustains this load. `upper`: it does not. `undecided`: more windows are needed. */
type LoadClass = 'lower' | 'upper' | 'undecided';

/** Seconds of good and bad windows at one load, for one goal. */
export class LoadStat {
  readonly #goal: Goal;
  readonly #losses: { readonly lossRatio: number; readonly seconds: number }[] = [];
  #goodS = 0;
  #badS = 0;

  constructor(goal: Goal) {
    this.#goal = goal;
  }

  add({ isGood, seconds, lossRatio }: Trial): void {
    this.#losses.push({ lossRatio, seconds });
    if (isGood) this.#goodS += seconds;
    else this.#badS += seconds;
  }

  /**
   * Whether the load is a lower bound if all missing windows are good (optimistic), and if all are bad (pessimistic).
   * Missing are the seconds up to `durationS`.
   */
  estimates(): { readonly optimistic: boolean; readonly pessimistic: boolean } {
    const { exceedRatio, durationS } = this.#goal;
    const allS = Math.max(this.#goodS + this.#badS, durationS);
    return {
      optimistic: this.#badS <= allS * exceedRatio,
      pessimistic: allS - this.#goodS <= allS * exceedRatio,
    };
  }

  get loadClass(): LoadClass {
    const { optimistic, pessimistic } = this.estimates();
    if (optimistic !== pessimistic) return 'undecided';
    return optimistic ? 'lower' : 'upper';
  }

  /**
   * The loss ratio of the window at the exceed ratio. Missing windows count as lost completely. The conditional
   * throughput of a lower bound is the load times one minus this ratio.
   */
  get lossRatio(): number {
    const { exceedRatio, durationS } = this.#goal;
    let leftS = Math.max(durationS, this.#goodS + this.#badS) * (1 - exceedRatio);
    let ratio = 1;
    for (const each of this.#losses.toSorted((a, b) => a.lossRatio - b.lossRatio)) {
      ratio = each.lossRatio;
      leftS -= each.seconds;
      if (leftS <= 0) return ratio;
    }
    return 1;
  }
}

/** A load with the results of its windows for one goal. */
export interface ClassifiedLoad {
  readonly multiplier: number;
  readonly stat: LoadStat;
}

/** The loads between which the capacity of the target lies. */
export interface RelevantBounds {
  /** The largest sustained load below `upper`. */
  readonly lower: ClassifiedLoad | null;
  /** The smallest load that is not sustained. */
  readonly upper: ClassifiedLoad | null;
  /** Loads above `upper` that were sustained nevertheless, ascending. They are ignored. */
  readonly inverted: readonly number[];
}

/** The relevant bounds of one goal among loads in any order. */
export function relevantBounds(loads: readonly ClassifiedLoad[]): RelevantBounds {
  const ascending = loads.toSorted((a, b) => a.multiplier - b.multiplier);
  const upper = ascending.find(({ stat }) => stat.loadClass === 'upper') ?? null;
  const stood = ascending.filter(({ stat }) => stat.loadClass === 'lower');
  const isBelow = ({ multiplier }: ClassifiedLoad) => upper === null || multiplier < upper.multiplier;
  return {
    lower: stood.findLast(isBelow) ?? null,
    upper,
    inverted: stood.filter((load) => !isBelow(load)).map(({ multiplier }) => multiplier),
  };
}
