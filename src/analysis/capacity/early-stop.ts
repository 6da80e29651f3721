import type { Send } from '../../core/run.ts';

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
interface StepProgress {
  readonly due: number;
  /** Sent, and neither answered nor failed: what our side has not sent is no backlog of the target. */
  readonly inFlight: number;
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

  constructor(healthy: HealthyStep) {
    this.#healthy = healthy;
  }

  /** Takes the progress of the step, at any instants, in their order. */
  add({ due, inFlight }: StepProgress): void {
    this.#due = due;
    this.#peak = Math.max(this.#peak, inFlight);
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

/**
 * How far a step is from Little's law, which holds for any target that keeps up: requests in flight are the rate at
 * which they end times how long they take (J. D. C. Little, Operations Research 9, 1961). Over the step that comes to
 * the share of the time in flight that belongs to requests still open at its end: near 0 while a target keeps up.
 * Those that were sent so lately that most answers take as long are open at the end of any step, and do not count.
 */
export class LittlesLaw {
  readonly #stepNs: number;
  readonly #longestAnswerNs: number;
  #inFlightNs = 0;
  #openNs = 0;

  constructor(stepNs: number, longestAnswerNs = 0) {
    this.#stepNs = stepNs;
    this.#longestAnswerNs = longestAnswerNs;
  }

  /** Takes finished sends, in any order, each once. Time that a request waited for our own caps is not counted. */
  add(sends: readonly Pick<Send, 'actualOffsetNs' | 'lastByteOffsetNs'>[]): void {
    for (const { actualOffsetNs, lastByteOffsetNs } of sends) {
      if (actualOffsetNs === null || actualOffsetNs >= this.#stepNs) continue;
      const endNs = lastByteOffsetNs ?? Number.POSITIVE_INFINITY;
      const spentNs = Math.min(endNs, this.#stepNs) - actualOffsetNs;
      this.#inFlightNs += spentNs;
      if (endNs > this.#stepNs && spentNs > this.#longestAnswerNs) this.#openNs += spentNs;
    }
  }

  /** From 0 to 1; null where nothing was in flight. */
  get residual(): number | null {
    return this.#inFlightNs > 0 ? this.#openNs / this.#inFlightNs : null;
  }
}
