import type { Send } from '../../core/run.ts';
import type { NoiseFigures } from '../../documents/capacity.ts';

/** Of more requests the others say the same. */
const MOST_PAIRS = 50_000;
/** Two-sided 95 % of a normal distribution. */
const Z = 1.96;

/**
 * How far a target differs from itself: the same requests at the same load, twice. For each request the logarithm of
 * the ratio of both service times; of these the mean, and its standard error on top. A capacity is a rate of services,
 * so a boundary cannot be known better than this.
 */
export class NoiseStatistics {
  readonly #first = new Map<number, number>();
  #isSecond = false;
  #pairs = 0;
  #sum = 0;
  #sumOfSquares = 0;

  /** What comes from now on is of the second half of the pair. */
  beginSecond(): void {
    this.#isSecond = true;
  }

  /** Takes finished sends, in any order, each once. Indexes count from 0 in both halves. */
  addSends(sends: readonly Send[]): void {
    for (const { index, actualOffsetNs, lastByteOffsetNs, error, cancelled } of sends) {
      if (actualOffsetNs === null || lastByteOffsetNs === null || error !== null || cancelled) continue;
      const tookNs = Math.max(1, lastByteOffsetNs - actualOffsetNs);
      if (!this.#isSecond) {
        if (this.#first.size < MOST_PAIRS) this.#first.set(index, tookNs);
        continue;
      }
      const firstNs = this.#first.get(index);
      if (firstNs === undefined) continue;
      const log = Math.log(tookNs / firstNs);
      this.#pairs += 1;
      this.#sum += log;
      this.#sumOfSquares += log * log;
    }
  }

  /** Null below two pairs. */
  figures(): NoiseFigures | null {
    if (this.#pairs < 2) return null;
    const mean = this.#sum / this.#pairs;
    const variance = Math.max(0, (this.#sumOfSquares - this.#pairs * mean * mean) / (this.#pairs - 1));
    const share = Math.expm1(Math.abs(mean) + Z * Math.sqrt(variance / this.#pairs));
    return { share: Math.min(1, share), source: 'measured', pairs: this.#pairs };
  }
}
