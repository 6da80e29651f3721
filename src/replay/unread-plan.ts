import type { Clock } from '../core/clock.ts';

/** So long is a stopped plan counted on. The second signal, which ends the process, waits no longer than this. */
const COUNT_NS = 1_000_000_000;

/** What a run that was stopped had not read of its plan. */
export interface UnreadCounts {
  readonly recorded: number;
  /** As if all of it could be built: that is not known. */
  readonly planned: number;
  /** Of what precedes the window, in neither of these. */
  readonly warmup: number;
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
  #isCut = false;
  #recorded = 0;
  #planned = 0;
  #warmup = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get begun(): boolean {
    return this.#untilNs !== null;
  }

  begin(): void {
    this.#untilNs = this.#clock.nowNs() + COUNT_NS;
  }

  /**
   * Whether another exchange of the plan is to be looked at. To be asked for each that is read, also of those that are
   * no part of the plan: they may be all that is read for long.
   */
  goesOn(): boolean {
    if (this.#untilNs === null) return true;
    if (this.#clock.nowNs() > this.#untilNs) this.#isCut = true;
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

  addWarmup(): void {
    this.#warmup += 1;
  }

  counts(): UnreadCounts {
    const [recorded, planned, warmup] = [this.#recorded, this.#planned, this.#warmup];
    return { recorded, planned, warmup, toTheEnd: !this.#isCut };
  }
}
