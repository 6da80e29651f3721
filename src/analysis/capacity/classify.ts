/**
 * Says of a load whether a system stands it, as MLRsearch does (M. Konstantynowicz, V. Polak, Internet-Draft
 * draft-ietf-bmwg-mlrsearch; PyPI `MLRsearch` 1.2.1). A load is a multiplier of the recorded traffic, a trial is one
 * window played at it.
 */

/** When a load counts as one that the target stands. */
export interface Goal {
  /** Share of the seconds at a load that may be bad; 0.5 makes the boundary the load at which half of the windows pass. */
  readonly exceedRatio: number;
  /** Length of a full window, seconds. A shorter one counts for less. */
  readonly windowS: number;
  /** Seconds of windows that decide a load at the latest. */
  readonly durationS: number;
}

/** What one window showed of one goal. */
export interface Trial {
  readonly isGood: boolean;
  /** As planned, seconds: tells full windows from short ones. */
  readonly plannedS: number;
  /** As played, seconds. */
  readonly seconds: number;
  /** Share of its requests that were not good, 0 to 1. */
  readonly lossRatio: number;
}

/** `lower`: the target stands this load. `upper`: it does not. `undecided`: more windows are needed. */
export type LoadClass = 'lower' | 'upper' | 'undecided';

/** Seconds of windows at one load, by what they showed of one goal. */
export class LoadStat {
  readonly #goal: Goal;
  readonly #losses: { readonly lossRatio: number; readonly seconds: number }[] = [];
  #goodFullS = 0;
  #badFullS = 0;
  #goodShortS = 0;
  #badShortS = 0;

  constructor(goal: Goal) {
    this.#goal = goal;
  }

  add({ isGood, plannedS, seconds, lossRatio }: Trial): void {
    const isFull = plannedS >= this.#goal.windowS;
    if (isFull) this.#losses.push({ lossRatio, seconds });
    if (isFull && isGood) this.#goodFullS += seconds;
    else if (isFull) this.#badFullS += seconds;
    else if (isGood) this.#goodShortS += seconds;
    else this.#badShortS += seconds;
  }

  /**
   * Whether the load is a lower bound if all windows still to come are good, and if all are bad. As many seconds are
   * still to come as `durationS` lacks. Short good windows only make up for short bad ones.
   */
  estimates(): { readonly optimistic: boolean; readonly pessimistic: boolean } {
    const { exceedRatio, durationS } = this.#goal;
    const madeUp = (this.#goodShortS * exceedRatio) / (1 - exceedRatio);
    const badS = this.#badFullS + Math.max(0, this.#badShortS - madeUp);
    const allS = Math.max(this.#goodFullS + badS, durationS);
    return {
      optimistic: badS <= allS * exceedRatio,
      pessimistic: allS - this.#goodFullS <= allS * exceedRatio,
    };
  }

  get loadClass(): LoadClass {
    const { optimistic, pessimistic } = this.estimates();
    if (optimistic !== pessimistic) return 'undecided';
    return optimistic ? 'lower' : 'upper';
  }

  /**
   * The loss of the window at the exceed ratio, windows that are still to come being lost as a whole. One minus it,
   * times the load, is the conditional throughput of a lower bound.
   */
  get lossRatio(): number {
    const { exceedRatio, durationS } = this.#goal;
    let leftS = Math.max(durationS, this.#goodFullS + this.#badFullS) * (1 - exceedRatio);
    let ratio = 1;
    for (const each of this.#losses.toSorted((a, b) => a.lossRatio - b.lossRatio)) {
      ratio = each.lossRatio;
      leftS -= each.seconds;
      if (leftS <= 0) return ratio;
    }
    return 1;
  }
}

/** A load with what its windows showed of one goal. */
export interface ClassifiedLoad {
  readonly multiplier: number;
  readonly stat: LoadStat;
}

/** The loads that bound what the target stands. */
export interface RelevantBounds {
  /** The largest load that is stood, below the smallest that is not. */
  readonly lower: ClassifiedLoad | null;
  /** The smallest load that is not stood. */
  readonly upper: ClassifiedLoad | null;
  /** Loads above `upper` that were stood all the same, ascending: they count for nothing. */
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
