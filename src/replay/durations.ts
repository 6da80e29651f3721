import { Histogram } from '../core/histogram.ts';
import type { DurationsNs } from './engine-health.ts';

/** Nanoseconds of something that happens often, at constant memory. */
export class Durations {
  readonly #histogram = new Histogram();

  /** Less than nothing, as rounding can make it, is nothing. */
  record(ns: number): void {
    this.#histogram.record(Math.max(0, Math.round(ns)));
  }

  summary(): DurationsNs {
    const { count, max } = this.#histogram;
    const at = (percent: number): number => this.#histogram.percentile(percent) ?? 0;
    return { count, p50Ns: at(50), p90Ns: at(90), p99Ns: at(99), maxNs: max ?? 0 };
  }
}
