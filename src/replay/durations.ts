import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import type { DurationsNs } from './engine-health.ts';

/** An hour: what is longer counts as this long. */
const HIGHEST_NS = 3_600_000_000_000;

/** A histogram of durations, three significant digits, constant memory. */
export class Durations {
  readonly #histogram: RecordableHistogram = createHistogram({ lowest: 1, highest: HIGHEST_NS, figures: 3 });
  #maxNs = 0;

  /** Negative values (a stamp taken before its deadline) count as 0. */
  record(ns: number): void {
    this.#maxNs = Math.max(this.#maxNs, ns);
    this.#histogram.record(Math.min(HIGHEST_NS, Math.max(1, Math.round(ns))));
  }

  summary(): DurationsNs {
    const { count } = this.#histogram;
    const at = (percentile: number): number => (count === 0 ? 0 : this.#histogram.percentile(percentile));
    return { count, p50Ns: at(50), p90Ns: at(90), p99Ns: at(99), maxNs: this.#maxNs };
  }
}
