import { hasFailed, type Send } from '../../core/run.ts';

/** The expected figures of a step while the target keeps up. */
export interface HealthyStep {
  /** Requests that become due per second, on average over the step. */
  readonly offeredPerS: number;
  /**
   * Variance of the planned arrival counts divided by their mean, for windows of at least a second. It is 1 for Poisson
   * arrivals, and 16 and more for recorded ones.
   */
  readonly dispersion: number;
  /** The longest time that most answers take, seconds. It gives the requests in flight without a queue. */
  readonly longestAnswerS: number;
}

/** Requests of a step so far. */
interface StepProgress {
  readonly due: number;
  /** Sent, and neither answered nor failed. Unsent requests are no backlog of the target. */
  readonly inFlight: number;
}

/** The backlog of a target exactly at capacity stays within this many standard deviations, at repeated looks. */
const DEVIATIONS = 4;
/** Squared coefficient of variation of service times. They vary about as much as exponential ones. */
const SERVICE_DISPERSION = 1;
/** A backlog below this share of the due requests does not end the step; the windows judge it. */
const LEAST_SHARE = 0.05;
/** Fewer due requests are not enough to decide. */
const LEAST_DUE = 50;

/**
 * Detects that a step is hopeless (the peak-rate detector of inference-sim). It divides the peak backlog by the due
 * requests. While a target keeps up, the ratio falls. In overload, it stays at the share that the target cannot serve.
 * Exactly at capacity, the backlog grows with the square root of the due requests, which a slope cannot show. So the
 * peak must exceed `DEVIATIONS` times that root, beyond the requests in flight without a queue.
 */
export class BacklogWatch {
  readonly #healthy: HealthyStep;
  #peak = 0;
  #due = 0;

  constructor(healthy: HealthyStep) {
    this.#healthy = healthy;
  }

  /** Adds the progress of the step at ascending instants. */
  add({ due, inFlight }: StepProgress): void {
    this.#due = due;
    this.#peak = Math.max(this.#peak, inFlight);
  }

  /** Whether the rest of the step cannot change the result. */
  get isHopeless(): boolean {
    if (this.#due < LEAST_DUE) return false;
    const { offeredPerS, dispersion, longestAnswerS } = this.#healthy;
    const expected = offeredPerS * longestAnswerS;
    const root = Math.sqrt((dispersion + SERVICE_DISPERSION) * this.#due);
    return this.#peak - expected > Math.max(DEVIATIONS * root, LEAST_SHARE * this.#due);
  }
}

/**
 * How far a step is from Little's law (J. D. C. Little, Operations Research 9, 1961). For a target that keeps up,
 * requests in flight are the completion rate times the latency. Over a step, the deviation is the share of the time in
 * flight that belongs to requests still open at its end. It is near 0 while a target keeps up. Requests sent shortly
 * before the end do not count, because they are open at the end of any step.
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

  /** Adds finished sends, in any order, each once. Time that a request waited for our own caps is not counted. */
  add(sends: readonly Pick<Send, 'actualOffsetNs' | 'lastByteOffsetNs'>[]): void {
    for (const { actualOffsetNs, lastByteOffsetNs } of sends) {
      if (actualOffsetNs === null || actualOffsetNs >= this.#stepNs) continue;
      const endNs = lastByteOffsetNs ?? Number.POSITIVE_INFINITY;
      const spentNs = Math.min(endNs, this.#stepNs) - actualOffsetNs;
      this.#inFlightNs += spentNs;
      if (endNs > this.#stepNs && spentNs > this.#longestAnswerNs) this.#openNs += spentNs;
    }
  }

  /** The deviation, from 0 to 1; null if nothing was in flight. */
  get residual(): number | null {
    return this.#inFlightNs > 0 ? this.#openNs / this.#inFlightNs : null;
  }
}

/** Requests sent and answers received per second of a step, by the instant of each and not by when it was due. */
export class StepRates {
  readonly #sent: RateSince;
  readonly #answered: RateSince;

  constructor(settlingNs: number) {
    this.#sent = new RateSince(settlingNs);
    this.#answered = new RateSince(settlingNs);
  }

  /** Adds finished sends, in any order, each once. @param untilNs end of the step; what comes later does not count */
  add(sends: readonly Send[], untilNs: number): void {
    for (const send of sends) {
      const { actualOffsetNs, lastByteOffsetNs } = send;
      if (actualOffsetNs === null) continue;
      if (actualOffsetNs < untilNs) this.#sent.add(actualOffsetNs);
      if (lastByteOffsetNs === null || lastByteOffsetNs > untilNs) continue;
      if (!send.cancelled && !hasFailed(send)) this.#answered.add(lastByteOffsetNs);
    }
  }

  /** The rates after the settling time. If the step ended before, those during it. */
  until(untilNs: number): { readonly sentPerS: number; readonly answeredPerS: number } {
    return { sentPerS: this.#sent.perSecond(untilNs), answeredPerS: this.#answered.perSecond(untilNs) };
  }
}

class RateSince {
  readonly #settlingNs: number;
  #whileSettling = 0;
  #afterIt = 0;

  constructor(settlingNs: number) {
    this.#settlingNs = settlingNs;
  }

  add(atNs: number): void {
    if (atNs < this.#settlingNs) this.#whileSettling += 1;
    else this.#afterIt += 1;
  }

  perSecond(untilNs: number): number {
    const spanNs = untilNs - this.#settlingNs;
    if (spanNs > 0) return this.#afterIt / (spanNs / 1e9);
    return untilNs > 0 ? this.#whileSettling / (untilNs / 1e9) : 0;
  }
}
