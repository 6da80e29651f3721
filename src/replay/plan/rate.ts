import { AppError } from '../../core/errors.ts';
import { SeededDraws } from './draws.ts';

/** So many requests a second for so long, in place of the recorded times. Plain data: it travels to a thread. */
export interface FixedRate {
  readonly perSecond: number;
  readonly durationNs: number;
}

/** Their instants are drawn twice, before the start and while they are used. */
const MAX_REQUESTS = 10_000_000;
const SECOND_NS = 1e9;

/**
 * Instants of a Poisson process with exactly as many arrivals as the rate makes in its time, by seed. Given their
 * number, arrivals of such a process are independent and uniform over its time (Cox and Lewis 1966, chapter 2): sums of
 * exponential gaps, divided by the sum of one gap more. So gaps are those of clients that know nothing of each other,
 * and the rate is the one that was asked for at every seed.
 */
export class PoissonInstants {
  readonly count: number;
  /** No second has more. */
  readonly peakPerSecond: number;
  readonly #rate: FixedRate;
  readonly #draws: SeededDraws;
  /** The sum of all gaps, in mean gaps. */
  readonly #sum: number;

  /** @throws AppError OPTION_INVALID where that is less than one request, or too many */
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

  /** Nanoseconds after the start, whole, in order, all before the end of the time; then Infinity for ever. */
  begin(): () => number {
    let at = 0;
    let sum = 0;
    return () => {
      if (at === this.count) return Number.POSITIVE_INFINITY;
      sum += this.#gap(at++);
      return Math.min(this.#rate.durationNs - 1, Math.floor((sum / this.#sum) * this.#rate.durationNs));
    };
  }

  /** In mean gaps. */
  #gap(at: number): number {
    return -Math.log1p(-this.#draws.draw({ high: Math.floor(at / 2 ** 32), low: at }, 'gap'));
  }

  /** Two clocks run over the same instants, a second apart. */
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
