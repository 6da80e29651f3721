/** What a step is expected to look like while the target keeps up. */
export interface HealthyStep {
  /** Requests that become due per second, on average over the step. */
  readonly offeredPerS: number;
  /**
   * Variance of the arrivals' counts over their mean, at windows of a second or more: 1 for Poisson arrivals, 16 and
   * more for recorded ones. Of the plan, which is known beforehand.
   */
  readonly dispersion: number;
  /** The longest time that most answers may take, seconds: so many are in flight without any queue. */
  readonly longestAnswerS: number;
}

/** Requests of a step so far. */
export interface StepProgress {
  /** From the step's first arrival, seconds. */
  readonly elapsedS: number;
  readonly due: number;
  /** Answered, failed or given up: no longer waited for. */
  readonly ended: number;
}

/** Standard deviations that the backlog of a target exactly at capacity stays within, seen again and again. */
const DEVIATIONS = 4;
/** A server's times vary about as much as exponential ones, with a squared coefficient of variation of 1. */
const SERVICE_DISPERSION = 1;
/** A backlog that grows by less than this share of what is due is left for the windows to judge. */
const LEAST_SHARE = 0.05;
/** Fewer due requests say nothing. */
const LEAST_DUE = 50;

/**
 * Says when a step is beyond hope: the peak of its backlog over what was due falls while a target keeps up, and holds
 * at the share that it cannot serve while it drowns (the peak-rate detector of inference-sim). A target exactly at
 * capacity has a backlog like the square root of what was due, which no slope can tell from none. So the peak must lie
 * `DEVIATIONS` beyond that root, and beyond what is in flight without a queue.
 */
export class BacklogWatch {
  readonly #healthy: HealthyStep;
  #peak = 0;
  #due = 0;
  #elapsedS = 0;

  constructor(healthy: HealthyStep) {
    this.#healthy = healthy;
  }

  /** Takes the progress of the step, at any instants, in their order. */
  add({ elapsedS, due, ended }: StepProgress): void {
    this.#elapsedS = elapsedS;
    this.#due = due;
    this.#peak = Math.max(this.#peak, due - ended);
  }

  /** Peak of the backlog over the elapsed time, requests per second. */
  get peakRate(): number {
    return this.#elapsedS > 0 ? this.#peak / this.#elapsedS : 0;
  }

  /** Whether the rest of the step could change nothing. */
  get isHopeless(): boolean {
    if (this.#due < LEAST_DUE) return false;
    const { offeredPerS, dispersion, longestAnswerS } = this.#healthy;
    const expected = offeredPerS * longestAnswerS;
    const root = Math.sqrt((dispersion + SERVICE_DISPERSION) * this.#due);
    return this.#peak - expected > Math.max(DEVIATIONS * root, LEAST_SHARE * this.#due);
  }
}

/** Averages of a step, for its self-check. */
export interface StepMeans {
  /** Over time. */
  readonly inFlight: number;
  readonly endedPerS: number;
  readonly latencyS: number;
}

/**
 * How far a step is from Little's law, which holds for any target that keeps up: requests in flight are the rate at
 * which they end times how long they take (J. D. C. Little, Operations Research 9, 1961). 0 is perfect. Above 0, more is
 * in flight than ends; a large residual of either sign means that the step was not steady, or was not counted rightly.
 * @returns null where nothing was in flight
 */
export function littlesLawResidual({ inFlight, endedPerS, latencyS }: StepMeans): number | null {
  return inFlight > 0 ? (inFlight - endedPerS * latencyS) / inFlight : null;
}
