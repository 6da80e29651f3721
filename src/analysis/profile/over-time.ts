import { Histogram } from '../../core/histogram.ts';
import type { TimeRange } from '../../core/ports.ts';
import type { ConcurrencyFigures, SeriesColumns } from '../../documents/profile.ts';

/** One request as the series takes it. */
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

/** Widths of a step, seconds. Each goes into the next, so that steps can be joined. */
const LADDER_S = [
  1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 14_400, 43_200, 86_400, 604_800, 31_449_600,
] as const;
const US_PER_S = 1e6;
/** More steps than a screen has points. */
const MAX_STEPS = 4_096;

/**
 * Sums over time at constant memory: steps are a second wide until there are 4,096 of them, then they are joined
 * into wider ones. Windows may come in any order.
 */
export class RateSeries {
  #bins = new Map<number, Bin>();
  #rung = 0;
  #second = Number.NaN;
  #secondCount = 0;
  #index = Number.NaN;
  #bin: Bin = emptyBin();

  add({ arrivalUs, failed, latencyUs, inFlight }: SeriesEntry): void {
    const second = Math.floor(arrivalUs / US_PER_S);
    if (second !== this.#second) {
      this.#enter(second);
      this.#secondCount = 0;
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

  /** The series over the windows: steps without arrivals are 0, time outside of them has none. */
  columns(windows: readonly TimeRange[]): SeriesColumns {
    while (this.#stepsOf(windows) > MAX_STEPS && this.#rung < LADDER_S.length - 1) this.#widen();
    const stepS = this.#stepS;
    const indices = new Set<number>();
    for (const { fromUs, toUs } of windows) {
      const last = Math.floor((toUs - 1) / US_PER_S / stepS);
      for (let index = Math.floor(fromUs / US_PER_S / stepS); index <= last; index += 1) indices.add(index);
    }
    const ordered = [...indices].sort((a, b) => a - b);
    const bins = ordered.map((index) => this.#bins.get(index) ?? emptyBin());
    return {
      stepS,
      at: ordered.map((index) => index * stepS),
      requests: bins.map(({ requests }) => requests),
      failed: bins.map(({ failed }) => failed),
      peak1s: bins.map(({ peak1s }) => peak1s),
      meanLatencyMs: bins.map(({ latencyCount, latencySumUs }) =>
        latencyCount === 0 ? null : Math.round(latencySumUs / latencyCount) / 1e3,
      ),
      inFlight: bins.map(({ inFlight }) => inFlight),
    };
  }

  get #stepS(): number {
    return LADDER_S[this.#rung] ?? 1;
  }

  #enter(second: number): void {
    this.#second = second;
    const index = Math.floor(second / this.#stepS);
    if (index === this.#index) return;
    this.#index = index;
    let bin = this.#bins.get(index);
    if (bin === undefined) {
      bin = emptyBin();
      this.#bins.set(index, bin);
    }
    this.#bin = bin;
    if (this.#bins.size > MAX_STEPS && this.#rung < LADDER_S.length - 1) this.#widen();
  }

  #widen(): void {
    const factor = (LADDER_S[this.#rung + 1] ?? 1) / this.#stepS;
    this.#rung += 1;
    const wider = new Map<number, Bin>();
    for (const [index, bin] of this.#bins) {
      const at = Math.floor(index / factor);
      const known = wider.get(at);
      if (known === undefined) wider.set(at, bin);
      else join(known, bin);
    }
    this.#bins = wider;
    this.#index = Math.floor(this.#second / this.#stepS);
    this.#bin = wider.get(this.#index) ?? this.#bin;
  }

  #stepsOf(windows: readonly TimeRange[]): number {
    return windows.reduce(
      (sum, { fromUs, toUs }) => sum + Math.ceil((toUs - fromUs) / US_PER_S / this.#stepS),
      0,
    );
  }
}

function emptyBin(): Bin {
  return { requests: 0, failed: 0, peak1s: 0, latencyCount: 0, latencySumUs: 0, inFlight: null };
}

function join(into: Bin, from: Bin): void {
  into.requests += from.requests;
  into.failed += from.failed;
  into.peak1s = Math.max(into.peak1s, from.peak1s);
  into.latencyCount += from.latencyCount;
  into.latencySumUs += from.latencySumUs;
  if (from.inFlight !== null) into.inFlight = Math.max(into.inFlight ?? 0, from.inFlight);
}

const MAX_OPEN = 1_048_576;
const INITIAL_OPEN = 1_024;

/**
 * Counts what is in flight, from arrivals in order and their ends. What began before a window is not known to it,
 * so that each window begins with nothing in flight.
 */
export class Concurrency {
  #ends = new Float64Array(INITIAL_OPEN);
  #open = 0;
  #busyUs = 0;
  #spanUs = 0;
  #firstUs: number | null = null;
  #lastUs = 0;
  #max = 0;
  #known = 0;
  #capped = false;
  readonly #atArrival = new Histogram();

  /**
   * Takes the next arrival of a window; `endUs` is null where it is not known.
   * @returns how many are in flight now, null before the first whose end is known
   */
  add(atUs: number, endUs: number | null): number | null {
    this.#firstUs ??= atUs;
    this.#lastUs = atUs;
    while (this.#open > 0 && this.#ends[0]! <= atUs) this.#pop();
    if (endUs !== null && endUs >= atUs) {
      this.#known += 1;
      this.#busyUs += endUs - atUs;
      this.#push(endUs);
      // Its own end may be this very instant; it was there nevertheless.
      this.#max = Math.max(this.#max, this.#open);
      this.#atArrival.record(this.#open);
    }
    return this.#known === 0 ? null : this.#open;
  }

  /** Ends a window: what is still in flight counts up to its last arrival. */
  endWindow(): void {
    for (let index = 0; index < this.#open; index += 1) {
      this.#busyUs -= Math.max(0, this.#ends[index]! - this.#lastUs);
    }
    this.#open = 0;
    if (this.#firstUs !== null) this.#spanUs += this.#lastUs - this.#firstUs;
    this.#firstUs = null;
  }

  figures(): ConcurrencyFigures {
    const isKnown = this.#known > 0;
    return {
      mean: isKnown && this.#spanUs > 0 ? this.#busyUs / this.#spanUs : null,
      max: isKnown ? this.#max : null,
      atArrival: {
        p50: this.#atArrival.percentile(50),
        p95: this.#atArrival.percentile(95),
        p99: this.#atArrival.percentile(99),
      },
      known: this.#known,
      capped: this.#capped,
    };
  }

  /** A binary heap of ends, the soonest first. */
  #push(endUs: number): void {
    if (this.#open === MAX_OPEN) {
      this.#capped = true;
      this.#busyUs -= Math.max(0, endUs - this.#lastUs);
      return;
    }
    if (this.#open === this.#ends.length) {
      const grown = new Float64Array(this.#ends.length * 2);
      grown.set(this.#ends);
      this.#ends = grown;
    }
    const ends = this.#ends;
    let at = this.#open;
    this.#open += 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (ends[parent]! <= endUs) break;
      ends[at] = ends[parent]!;
      at = parent;
    }
    ends[at] = endUs;
  }

  #pop(): void {
    const ends = this.#ends;
    this.#open -= 1;
    const last = ends[this.#open]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#open) break;
      if (child + 1 < this.#open && ends[child + 1]! < ends[child]!) child += 1;
      if (ends[child]! >= last) break;
      ends[at] = ends[child]!;
      at = child;
    }
    ends[at] = last;
  }
}
