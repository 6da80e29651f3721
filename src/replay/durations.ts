import { Histogram } from '../core/histogram.ts';
import type { DurationsNs } from './engine-health.ts';

/** A distribution on its way between threads: values and how often each, flat, ending with the greatest value. */
export type PackedDurations = Float64Array<ArrayBuffer>;

/** Nanoseconds of something that happens often, at constant memory. */
export class Durations {
  readonly #histogram = new Histogram();

  /** What several threads measured, as if one had. */
  static merged(packed: readonly PackedDurations[]): Durations {
    const merged = new Durations();
    for (const each of packed) merged.#add(each);
    return merged;
  }

  /** Less than nothing, as rounding can make it, is nothing. */
  record(ns: number): void {
    this.#histogram.record(Math.max(0, Math.round(ns)));
  }

  packed(): PackedDurations {
    const counts = [...this.#histogram.bins()].flatMap(({ highest, count }) => [highest, count]);
    return Float64Array.from([...counts, this.#histogram.max ?? 0]);
  }

  summary(): DurationsNs {
    const { count, max } = this.#histogram;
    const at = (percent: number): number => this.#histogram.percentile(percent) ?? 0;
    return { count, p50Ns: at(50), p90Ns: at(90), p99Ns: at(99), maxNs: max ?? 0 };
  }

  #add(packed: PackedDurations): void {
    const max = packed.at(-1) ?? 0;
    // A bin is known by its greatest value, but for the last one, whose greatest value is the greatest of all.
    for (let at = 0; at + 1 < packed.length; at += 2) {
      this.#histogram.record(Math.min(packed[at] ?? 0, max), packed[at + 1] ?? 0);
    }
  }
}
