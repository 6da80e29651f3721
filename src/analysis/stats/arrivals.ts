import { Histogram } from '../../core/histogram.ts';
import { IDC_WINDOWS, type IdcWindow, LAG_PERCENTS } from '../../documents/parts.ts';
import { byPercent } from '../../documents/percentiles.ts';
import type { ArrivalFigures } from '../../documents/replay.ts';

/** Mean and population variance of a stream at constant memory, by Welford's numerically stable updates. */
class Moments {
  #count = 0;
  #mean = 0;
  #squares = 0;

  /** Coefficient of variation: standard deviation over mean. */
  get cv(): number | null {
    return this.#count === 0 || this.#mean === 0 ? null : Math.sqrt(this.#squares / this.#count) / this.#mean;
  }

  add(value: number): void {
    this.#count += 1;
    const delta = value - this.#mean;
    this.#mean += delta / this.#count;
    this.#squares += delta * (value - this.#mean);
  }
}

/** With fewer complete windows, a variance of counts is meaningless. */
const MIN_WINDOWS = 20;

/** The busiest window of one width. */
interface WindowPeak {
  readonly requests: number;
  /** Mean over all complete windows. */
  readonly meanRequests: number;
  /** When it began, on the clock of `at`. */
  readonly from: number;
}

/**
 * Counts arrivals in adjacent windows of one width, from offset 0. All sums are in whole ticks, so that windows do not
 * drift over weeks, and the same arrivals give the same figure in any unit. A pause of any length costs one step.
 */
export class WindowCounts {
  readonly #widthTicks: number;
  /** Of finished windows: their number, their arrivals, and the sum of their squared counts. */
  #windows = 0;
  #arrivals = 0;
  #squares = 0;
  #endOffset: number;
  #current = 0;
  #currentFrom = 0;
  #peak = 0;
  #peakFrom = 0;

  constructor(widthTicks: number) {
    this.#widthTicks = widthTicks;
    this.#endOffset = widthTicks;
  }

  /**
   * Adds an arrival.
   * @param offset ticks, never decreasing
   * @param at the same instant on another clock, for the time of the peak
   */
  add(offset: number, at = offset): void {
    if (offset >= this.#endOffset) {
      const passed = Math.floor((offset - this.#endOffset) / this.#widthTicks) + 1;
      this.#windows += passed;
      this.#arrivals += this.#current;
      this.#squares += this.#current * this.#current;
      if (this.#current > this.#peak) {
        this.#peak = this.#current;
        this.#peakFrom = this.#currentFrom;
      }
      this.#endOffset += passed * this.#widthTicks;
      this.#current = 0;
    }
    if (this.#current === 0) this.#currentFrom = at - (offset - (this.#endOffset - this.#widthTicks));
    this.#current += 1;
  }

  /** The greatest count of any window, including the last one, which may be unfinished. */
  get peak(): number {
    return Math.max(this.#peak, this.#current);
  }

  /** The busiest complete window; null before the first. */
  get wholePeak(): WindowPeak | null {
    if (this.#peak === 0) return null;
    return {
      requests: this.#peak,
      meanRequests: this.#arrivals / this.#windows,
      from: this.#peakFrom,
    };
  }

  /**
   * Index of dispersion for counts: population variance divided by mean, over complete windows. The window of the last
   * arrival is left out, because it may be incomplete. 1 for a Poisson process; null below 20 windows.
   */
  get dispersion(): number | null {
    if (this.#windows < MIN_WINDOWS) return null;
    const windows = BigInt(this.#windows);
    const arrivals = BigInt(this.#arrivals);
    // Both terms may be far greater than their difference, so BigInt keeps every digit.
    return Number(windows * BigInt(this.#squares) - arrivals * arrivals) / Number(windows * arrivals);
  }
}

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
   * Begins the windows at this instant instead of the first arrival. Call it before the first arrival, which must not
   * be earlier. Windows of sends begin at the planned start. The first send is microseconds late; windows from there
   * would put a send at a window's edge into the previous window.
   */
  layWindowsFrom(at: number): void {
    this.#windowsFrom = at;
  }

  /**
   * Adds the next arrival, in whole ticks since any origin.
   * @throws RangeError if it is earlier than the previous arrival
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
    const ticksPerSecond = this.#ticksPerSecond;
    const spanS = this.#count === 0 ? 0 : (this.#last - this.#first) / ticksPerSecond;
    const ratePerSecond = spanS > 0 ? this.#count / spanS : null;
    const peakOf = (seconds: IdcWindow) => this.#windows[IDC_WINDOWS.indexOf(seconds)]?.peak ?? 0;
    const peak1s = peakOf('1');
    const dispersions = IDC_WINDOWS.map((seconds, at) => [seconds, this.#windows[at]?.dispersion ?? null]);
    const inMs = (ticks: number | null) => ((ticks ?? 0) / ticksPerSecond) * 1000;
    const gaps = this.#gapTicks;
    return {
      count: this.#count,
      spanS,
      ratePerSecond,
      cv: this.#gaps.cv,
      ties: gaps.count === 0 ? null : this.#ties / gaps.count,
      idc: Object.fromEntries(dispersions) as Record<IdcWindow, number | null>,
      peak1s,
      peak60s: peakOf('60'),
      peakToMean1s: ratePerSecond === null ? null : peak1s / ratePerSecond,
      gapMs:
        gaps.count === 0
          ? null
          : {
              ...byPercent(LAG_PERCENTS, (percent) => inMs(gaps.percentile(percent))),
              max: inMs(gaps.max),
            },
    };
  }
}
