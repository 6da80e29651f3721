import type { Clock } from '../core/clock.ts';

/** So long is a stopped plan counted on. The second signal, which ends the process, waits no longer than this. */
const COUNT_NS = 1_000_000_000;
/** Exchanges between two looks at the clock. */
const LOOK_EVERY = 256;

/** What a run that was stopped had not read of its plan. */
export interface UnreadCounts {
  readonly recorded: number;
  /** As if all of it could be built: that is not known. */
  readonly planned: number;
  /** Whether that is all; else it is as much as there was time for. */
  readonly toTheEnd: boolean;
}

/**
 * The plan of a run that was stopped, from where it had been read: counted and not built, so that what had been read
 * does not pass for the plan.
 */
export class UnreadPlan {
  readonly #clock: Clock;
  #untilNs: number | null = null;
  #looks = 0;
  #isCut = false;
  #recorded = 0;
  #planned = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get begun(): boolean {
    return this.#untilNs !== null;
  }

  begin(): void {
    this.#untilNs = this.#clock.nowNs() + COUNT_NS;
  }

  /** Whether another exchange of the plan is to be looked at. */
  goesOn(): boolean {
    if (this.#untilNs === null) return true;
    this.#looks += 1;
    if (this.#looks % LOOK_EVERY === 0 && this.#clock.nowNs() > this.#untilNs) this.#isCut = true;
    return !this.#isCut;
  }

  /** The plan cannot be read to its end. */
  cut(): void {
    this.#isCut = true;
  }

  addRecorded(): void {
    this.#recorded += 1;
  }

  addPlanned(): void {
    this.#planned += 1;
  }

  counts(): UnreadCounts {
    return { recorded: this.#recorded, planned: this.#planned, toTheEnd: !this.#isCut };
  }
}
