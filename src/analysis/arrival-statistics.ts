import { Histogram } from '../core/histogram.ts';
import { IDC_WINDOWS, type IdcWindow } from '../documents/parts.ts';
import type { ArrivalFigures } from '../documents/replay.ts';
import { Moments } from './moments.ts';
import { WindowCounts } from './window-counts.ts';

/** Arrivals in order, one at a time, at constant memory. */
export class ArrivalStatistics {
  readonly #ticksPerSecond: number;
  readonly #gaps = new Moments();
  readonly #gapTicks = new Histogram();
  readonly #windows: readonly WindowCounts[];
  #count = 0;
  #ties = 0;
  #first = 0;
  #windowsFrom: number | null = null;
  #last = 0;

  /** `ticksPerSecond`: 1e6 for microseconds, 1e9 for nanoseconds; a multiple of ten. */
  constructor(ticksPerSecond: number) {
    if (!Number.isSafeInteger(ticksPerSecond / 10) || ticksPerSecond <= 0) {
      throw new RangeError(`ticks per second must be a positive multiple of ten, not ${ticksPerSecond}`);
    }
    this.#ticksPerSecond = ticksPerSecond;
    this.#windows = IDC_WINDOWS.map(
      (seconds) => new WindowCounts(Math.round(Number(seconds) * ticksPerSecond)),
    );
  }

  get count(): number {
    return this.#count;
  }

  /** Gaps in ticks, for comparing the shape of two streams. */
  get gaps(): Histogram {
    return this.#gapTicks;
  }

  /**
   * Lays the windows from this instant, which no arrival precedes, and not from the first arrival. To be called
   * before that one comes. Of what was sent it is the planned start: from the first send's own, late by some
   * microseconds, whatever is planned for the edge of a window and leaves sooner would fall into the one before.
   */
  layWindowsFrom(at: number): void {
    this.#windowsFrom = at;
  }

  /**
   * Takes the next arrival, in whole ticks since any origin.
   * @throws RangeError when it lies before the one before it.
   */
  add(at: number): void {
    if (this.#count === 0) {
      this.#first = at;
    } else {
      const gap = at - this.#last;
      if (gap < 0) throw new RangeError(`arrival ${at} comes before ${this.#last}`);
      if (gap === 0) this.#ties += 1;
      this.#gaps.add(gap);
      this.#gapTicks.record(gap);
    }
    this.#last = at;
    this.#count += 1;
    const offset = Math.max(0, at - (this.#windowsFrom ?? this.#first));
    for (const window of this.#windows) window.add(offset);
  }

  figures(): ArrivalFigures {
    const spanS = this.#count === 0 ? 0 : (this.#last - this.#first) / this.#ticksPerSecond;
    const ratePerSecond = spanS > 0 ? this.#count / spanS : null;
    const peak1s = this.#peakOf('1');
    return {
      count: this.#count,
      spanS,
      ratePerSecond,
      cv: this.#cv(),
      ties: this.#gaps.count === 0 ? null : this.#ties / this.#gaps.count,
      idc: this.#idc(),
      peak1s,
      peak60s: this.#peakOf('60'),
      peakToMean1s: ratePerSecond === null ? null : peak1s / ratePerSecond,
      gapMs: this.#gapMs(),
    };
  }

  #cv(): number | null {
    const { mean, variance } = this.#gaps;
    return mean === null || variance === null || mean === 0 ? null : Math.sqrt(variance) / mean;
  }

  #idc(): Record<IdcWindow, number | null> {
    const dispersions = IDC_WINDOWS.map((seconds, at) => [seconds, this.#windows[at]?.dispersion ?? null]);
    return Object.fromEntries(dispersions) as Record<IdcWindow, number | null>;
  }

  #peakOf(seconds: IdcWindow): number {
    return this.#windows[IDC_WINDOWS.indexOf(seconds)]?.peak ?? 0;
  }

  #gapMs(): NonNullable<ArrivalFigures['gapMs']> | null {
    if (this.#gapTicks.count === 0) return null;
    const inMs = (ticks: number | null) => ((ticks ?? 0) / this.#ticksPerSecond) * 1000;
    return {
      p50: inMs(this.#gapTicks.percentile(50)),
      p90: inMs(this.#gapTicks.percentile(90)),
      p99: inMs(this.#gapTicks.percentile(99)),
      max: inMs(this.#gapTicks.max),
    };
  }
}
