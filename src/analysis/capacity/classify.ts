/**
 * Says of a load whether a system stands it, as MLRsearch does (M. Konstantynowicz, V. Polak, Internet-Draft
 * draft-ietf-bmwg-mlrsearch; PyPI `MLRsearch` 1.2.1). A load is a multiplier of the recorded traffic, a trial is one
 * window played at it.
 */

/** When a load counts as one that the target stands. */
export interface Goal {
  /** Share of the seconds at a load that may be bad; 0.5 makes the boundary the load at which half of the windows pass. */
  readonly exceedRatio: number;
  /** Seconds of windows that decide a load at the latest. */
  readonly durationS: number;
}

/** What one window showed of one goal. */
interface Trial {
  readonly isGood: boolean;
  /** As played, seconds. */
  readonly seconds: number;
  /** Share of its requests that were not good, 0 to 1. */
  readonly lossRatio: number;
}

/** `lower`: the target stands this load. `upper`: it does not. `undecided`: more windows are needed. */
type LoadClass = 'lower' | 'upper' | 'undecided';

/** Seconds of windows at one load, by what they showed of one goal. */
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
   * Whether the load is a lower bound if all windows still to come are good, and if all are bad. As many seconds are
   * still to come as `durationS` lacks.
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
   * The loss of the window at the exceed ratio, windows that are still to come being lost as a whole. One minus it,
   * times the load, is the conditional throughput of a lower bound.
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
