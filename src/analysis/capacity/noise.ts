import type { Send } from '../../core/run.ts';
import type { NoiseFigures } from '../../documents/capacity.ts';
import { studentT } from '../stats/percentiles.ts';

/** More pairs would not change the result. */
const MOST_PAIRS = 50_000;
/** Two-sided 95 %. */
const UPPER = 0.975;
/** Neighbouring requests wait together, so they form blocks. Blocks count as independent. */
const MOST_BLOCKS = 20;

/**
 * How much a target differs from itself, from the same requests sent twice at the same load. Each pair gives the
 * logarithm of the ratio of its service times. The noise is the absolute mean of these plus its error margin by batch
 * means (Law, Simulation Modeling and Analysis, 9.5.3). Capacity depends on service times, so a boundary cannot be more
 * exact than this.
 */
export class NoiseStatistics {
  readonly #first = new Map<number, number>();
  #isSecond = false;
  readonly #logs: { readonly index: number; readonly log: number }[] = [];

  /** Sends added from now on belong to the second half. */
  beginSecond(): void {
    this.#isSecond = true;
  }

  /** Adds finished sends, in any order, each once. Indexes count from 0 in both halves. */
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
      this.#logs.push({ index, log: Math.log(tookNs / firstNs) });
    }
  }

  /** Null with fewer than two pairs. */
  figures(): NoiseFigures | null {
    const pairs = this.#logs.length;
    if (pairs < 2) return null;
    const logs = this.#logs.toSorted((a, b) => a.index - b.index).map(({ log }) => log);
    const blocks = Math.min(MOST_BLOCKS, Math.max(2, Math.floor(Math.sqrt(pairs))));
    const means = Array.from({ length: blocks }, (_, at) =>
      meanOf(logs.slice(Math.floor((at * pairs) / blocks), Math.floor(((at + 1) * pairs) / blocks))),
    );
    const mean = meanOf(logs);
    const variance = means.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (blocks - 1);
    const share = Math.expm1(Math.abs(mean) + studentT(UPPER, blocks - 1) * Math.sqrt(variance / blocks));
    return { share: Math.min(1, share), source: 'measured', pairs };
  }
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, each) => sum + each, 0) / values.length;
}
