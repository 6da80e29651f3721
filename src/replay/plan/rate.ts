import { AppError } from '../../core/errors.ts';
import { SeededDraws } from './draws.ts';

/** A fixed rate for a fixed time, instead of the recorded times. Plain data, because it goes to a thread. */
export interface FixedRate {
  readonly perSecond: number;
  readonly durationNs: number;
}

/** Most requests. Their instants are drawn twice: before the start and during the run. */
const MAX_REQUESTS = 10_000_000;
const SECOND_NS = 1e9;

/**
 * Seeded instants of a Poisson process, conditioned on exactly the number of arrivals of the rate in its time. Given
 * their number, the arrivals are independent and uniform over the time (Cox and Lewis 1966, chapter 2). They are
 * computed as sums of exponential gaps, divided by the sum of one more gap. So gaps are those of independent clients,
 * and every seed gives exactly the requested rate.
 */
export class PoissonInstants {
  readonly count: number;
  /** The most requests in any second. */
  readonly peakPerSecond: number;
  readonly #rate: FixedRate;
  readonly #draws: SeededDraws;
  /** The sum of all gaps, in units of the mean gap. */
  readonly #sum: number;

  /** @throws AppError OPTION_INVALID if the rate gives less than one request, or too many */
  constructor(rate: FixedRate, seed: number) {
    this.count = Math.round((rate.perSecond * rate.durationNs) / SECOND_NS);
    if (this.count < 1 || this.count > MAX_REQUESTS) {
      const most = MAX_REQUESTS.toLocaleString('en');
      throw new AppError(
        'OPTION_INVALID',
        `--rate ${rate.perSecond} makes ${this.count.toLocaleString('en')} requests in --duration; it can be 1 to ${most}`,
        { hint: 'Change --rate or --duration.' },
      );
    }
    this.#rate = rate;
    this.#draws = new SeededDraws(seed);
    let sum = 0;
    for (let at = 0; at <= this.count; at += 1) sum += this.#gap(at);
    this.#sum = sum;
    this.peakPerSecond = this.#peak();
  }

  /** Starts a pass. Each call of the result returns the next instant in whole nanoseconds; Infinity after the last. */
  begin(): () => number {
    let at = 0;
    let sum = 0;
    return () => {
      if (at === this.count) return Number.POSITIVE_INFINITY;
      sum += this.#gap(at++);
      return Math.min(this.#rate.durationNs - 1, Math.floor((sum / this.#sum) * this.#rate.durationNs));
    };
  }

  /** A gap in units of the mean gap. */
  #gap(at: number): number {
    return -Math.log1p(-this.#draws.draw({ high: Math.floor(at / 2 ** 32), low: at }, 'gap'));
  }

  /** The most instants in any second, by two passes over the same instants, one second apart. */
  #peak(): number {
    const [last, first] = [this.begin(), this.begin()];
    let firstNs = first();
    let within = 0;
    let peak = 0;
    for (let lastNs = last(); lastNs !== Number.POSITIVE_INFINITY; lastNs = last()) {
      within += 1;
      for (; lastNs - firstNs >= SECOND_NS; firstNs = first()) within -= 1;
      peak = Math.max(peak, within);
    }
    return peak;
  }
}
