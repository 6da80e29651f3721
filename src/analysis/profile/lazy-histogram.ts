import { Histogram } from '../../core/histogram.ts';

/** A histogram that is made when there is something to hold: each takes a quarter of a megabyte, and most stay empty. */
export class LazyHistogram {
  #histogram: Histogram | null = null;

  /** Null while nothing was recorded. */
  get histogram(): Histogram | null {
    return this.#histogram;
  }

  get count(): number {
    return this.#histogram?.count ?? 0;
  }

  /** Takes whole values; what is below 0 counts as 0. */
  record(value: number): void {
    this.#histogram ??= new Histogram();
    this.#histogram.record(Math.max(0, value));
  }
}
