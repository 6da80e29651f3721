import { Histogram } from '../../core/histogram.ts';
import type { TimeRange } from '../../core/ports.ts';
import { US_PER_S } from '../../core/units.ts';
import { byPercent, PERCENTS } from '../../documents/percentiles.ts';
import type { ConcurrencyFigures, SeriesColumns } from '../../documents/profile.ts';

/** One request of the series. */
interface SeriesEntry {
  readonly arrivalUs: number;
  readonly failed: boolean;
  /** Null if it did not complete, or the time was not recorded. */
  readonly latencyUs: number | null;
  readonly inFlight: number | null;
}

interface Bin {
  requests: number;
  failed: number;
  peak1s: number;
  latencyCount: number;
  latencySumUs: number;
  inFlight: number | null;
}

/** Possible widths of a step, seconds. */
const LADDER_S = [
  1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 14_400, 43_200, 86_400, 604_800, 31_449_600,
] as const;
/** Most steps: more than a screen has points. */
const MAX_STEPS = 4_096;

/**
 * Sums over the time of some windows, in at most 4,096 steps. A step without arrivals is 0. Time outside the windows
 * has no steps. Seconds are counted from the first arrival, so that the first one is whole.
 */
export class RateSeries {
  readonly #stepS: number;
  readonly #windows: readonly TimeRange[];
  /** From a second of the clock to the first arrival; null before that. */
  #shiftUs: number | null = null;
  /** By the number of the step since 1970. */
  readonly #bins = new Map<number, Bin>();
  #second = Number.NaN;
  #secondCount = 0;
  #bin: Bin = emptyBin();

  /** @param windows in any order */
  constructor(windows: readonly TimeRange[]) {
    const stepsOf = (stepS: number) =>
      windows.reduce((sum, { fromUs, toUs }) => sum + Math.ceil((toUs - fromUs) / US_PER_S / stepS), 0);
    const stepS = LADDER_S.find((each) => stepsOf(each) <= MAX_STEPS) ?? 31_449_600;
    this.#stepS = stepS;
    this.#windows = windows;
  }

  add({ arrivalUs, failed, latencyUs, inFlight }: SeriesEntry): void {
    this.#shiftUs ??= this.#begin(arrivalUs % US_PER_S);
    const second = Math.floor((arrivalUs - this.#shiftUs) / US_PER_S);
    if (second !== this.#second) {
      this.#second = second;
      this.#secondCount = 0;
      this.#bin = this.#bins.get(Math.floor(second / this.#stepS)) ?? emptyBin();
    }
    this.#secondCount += 1;
    const bin = this.#bin;
    bin.requests += 1;
    if (this.#secondCount > bin.peak1s) bin.peak1s = this.#secondCount;
    if (failed) bin.failed += 1;
    if (latencyUs !== null) {
      bin.latencyCount += 1;
      bin.latencySumUs += latencyUs;
    }
    if (inFlight !== null && inFlight > (bin.inFlight ?? 0)) bin.inFlight = inFlight;
  }

  #begin(shiftUs: number): number {
    const stepOf = (atUs: number) => Math.floor((atUs - shiftUs) / US_PER_S / this.#stepS);
    for (const { fromUs, toUs } of this.#windows) {
      const last = stepOf(toUs - 1);
      for (let at = stepOf(fromUs); at <= last; at += 1) this.#bins.set(at, emptyBin());
    }
    return shiftUs;
  }

  columns(): SeriesColumns {
    this.#shiftUs ??= this.#begin(0);
    const ordered = [...this.#bins].sort(([a], [b]) => a - b);
    const bins = ordered.map(([, bin]) => bin);
    return {
      stepS: this.#stepS,
      at: ordered.map(([index]) => index * this.#stepS),
      requests: bins.map(({ requests }) => requests),
      failed: bins.map(({ failed }) => failed),
      peak1s: bins.map(({ peak1s }) => peak1s),
      meanLatencyMs: bins.map(({ latencyCount, latencySumUs }) =>
        latencyCount === 0 ? null : Math.round(latencySumUs / latencyCount) / 1e3,
      ),
      inFlight: bins.map(({ inFlight }) => inFlight),
    };
  }
}

function emptyBin(): Bin {
  return { requests: 0, failed: 0, peak1s: 0, latencyCount: 0, latencySumUs: 0, inFlight: null };
}

const MAX_OPEN = 65_536;

/**
 * Counts requests in flight, from arrivals in order and their ends. Requests that began before a window are unknown, so
 * each window begins with none in flight.
 */
export class Concurrency {
  /** Ends of the requests in flight, the soonest last. */
  #ends: number[] = [];
  #busyUs = 0;
  #spanUs = 0;
  #firstUs: number | null = null;
  #lastUs = 0;
  #max = 0;
  #known = 0;
  #capped = false;
  readonly #atArrival = new Histogram();

  /**
   * Adds the next arrival of a window; `endUs` is null if unknown.
   * @returns how many requests are in flight now; null before the first with a known end
   */
  add(atUs: number, endUs: number | null): number | null {
    this.#firstUs ??= atUs;
    this.#lastUs = atUs;
    while (this.#ends.length > 0 && this.#ends.at(-1)! <= atUs) this.#ends.pop();
    if (endUs !== null && endUs >= atUs) {
      this.#known += 1;
      this.#busyUs += endUs - atUs;
      this.#push(endUs);
      // The request counts itself, even if it ends at this same instant.
      this.#max = Math.max(this.#max, this.#ends.length);
      this.#atArrival.record(this.#ends.length);
    }
    return this.#known === 0 ? null : this.#ends.length;
  }

  /** Ends a window. Requests still in flight count up to its last arrival. */
  endWindow(): void {
    for (const endUs of this.#ends) this.#busyUs -= Math.max(0, endUs - this.#lastUs);
    this.#ends = [];
    if (this.#firstUs !== null) this.#spanUs += this.#lastUs - this.#firstUs;
    this.#firstUs = null;
  }

  figures(): ConcurrencyFigures {
    const isKnown = this.#known > 0;
    return {
      mean: isKnown && this.#spanUs > 0 ? this.#busyUs / this.#spanUs : null,
      max: isKnown ? this.#max : null,
      atArrival: byPercent(PERCENTS, (percent) => this.#atArrival.percentile(percent)),
      known: this.#known,
      capped: this.#capped,
    };
  }

  #push(endUs: number): void {
    const ends = this.#ends;
    if (ends.length === MAX_OPEN) {
      this.#capped = true;
      this.#busyUs -= Math.max(0, endUs - this.#lastUs);
      return;
    }
    let [low, high] = [0, ends.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ends[middle]! > endUs) low = middle + 1;
      else high = middle;
    }
    ends.splice(low, 0, endUs);
  }
}
