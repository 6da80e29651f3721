import { Histogram } from '../../core/histogram.ts';
import { NS_PER_MS, NS_PER_S } from '../../core/units.ts';
import type { LatencySteps } from '../../documents/report.ts';
import type { TimeCourse } from '../metrics/measure.ts';
import { sampleFloor } from '../stats/percentiles.ts';

/** Numbers of steps to join, tried in order until there are enough samples. */
const WIDTHS = [1, 2, 3, 4, 5, 10, 15, 30, 60, 120] as const;
/** Fewer points than this do not show a development over time. */
const LEAST_POINTS = 4;
/** The share of the steps with requests that must have enough requests. */
const MOST_STEPS = 0.75;
/** Percentiles to try in this order, below the requested one. */
const TAILS = [99.9, 99, 95, 90] as const;

/**
 * The fewest steps to join so that most joined steps have no samples or at least `floor`. Undefined if no width is
 * enough.
 */
export function widthFor(counts: readonly number[], floor: number): number | undefined {
  return WIDTHS.find((width) => {
    const samples = together(counts, width).map((part) => part.reduce((sum, count) => sum + count, 0));
    const used = samples.filter((count) => count > 0).length;
    const enough = samples.filter((count) => count >= floor).length;
    return enough >= LEAST_POINTS && enough >= MOST_STEPS * used;
  });
}

/** Splits a list into parts of this length. The last may be shorter. */
export function together<Item>(list: readonly Item[], width: number): (readonly Item[])[] {
  return Array.from({ length: Math.ceil(list.length / width) }, (_, at) =>
    list.slice(at * width, (at + 1) * width),
  );
}

/** The step of an instant; null if it is outside all steps. */
export function stepAt(ns: number, stepS: number, steps: number): number | null {
  const at = Math.floor(ns / NS_PER_S / stepS);
  return at >= 0 && at < steps ? at : null;
}

/** Times of requests, and the number of requests without an answer, by the step in which they were due. */
export class SteppedTimes implements TimeCourse {
  readonly #stepS: number;
  /** Undefined if no request of the step completed. */
  readonly #histograms: (Histogram | undefined)[];
  /** The same for requests that the replay cancelled. */
  readonly #left: (Histogram | undefined)[];
  readonly #unanswered: number[];
  /** Number of streams with a token, and of their gaps. */
  #streams = 0;
  #gaps = 0;

  constructor(stepS: number, steps: number) {
    this.#stepS = stepS;
    this.#histograms = new Array<Histogram | undefined>(steps).fill(undefined);
    this.#left = new Array<Histogram | undefined>(steps).fill(undefined);
    this.#unanswered = new Array<number>(steps).fill(0);
  }

  /** @param intendedNs offset from the start of the run */
  record(intendedNs: number, ns: number, times = 1): void {
    this.#recordIn(this.#histograms, intendedNs, ns, times);
  }

  /**
   * Records a cancelled request: an answer would have taken at least this time. Percentiles of answered requests
   * exclude it.
   */
  recordLeft(intendedNs: number, ns: number): void {
    this.#recordIn(this.#left, intendedNs, ns, 1);
  }

  /** Adds a request that counts as slower than all others. */
  addUnanswered(intendedNs: number): void {
    const at = stepAt(intendedNs, this.#stepS, this.#histograms.length);
    if (at !== null) this.#unanswered[at]! += 1;
  }

  addStream(gaps: number): void {
    this.#streams += 1;
    this.#gaps += gaps;
  }

  /** Requests with an answer, by step. */
  counts(): number[] {
    return this.#histograms.map((step) => step?.count ?? 0);
  }

  /** A percentile of the answered requests of each step; null for a step without any. */
  answeredMs(percent: number): (number | null)[] {
    return this.#histograms.map((step) => msOf(step?.percentile(percent) ?? null) as number | null);
  }

  /**
   * Median and tail over steps that are wide enough.
   * @param asked the percentile of the tail, if there are enough samples
   */
  course(asked: number): LatencySteps {
    // A stream without an answer counts as often as the mean number of gaps of other streams.
    const weight = this.#streams === 0 ? 1 : Math.max(1, this.#gaps / this.#streams);
    const counts = this.counts().map(
      (count, at) => count + (this.#left[at]?.count ?? 0) + Math.round(this.#unanswered[at]! * weight),
    );
    const tails = [asked, ...TAILS.filter((tail) => tail < asked)];
    const found = tails
      .map((percent) => ({ percent, width: widthFor(counts, sampleFloor(percent)) }))
      .find(({ width }) => width !== undefined);
    const { percent, width = 1 } = found ?? { percent: tails.at(-1)! };
    const unanswered = together(this.#unanswered, width);
    const left = together(this.#left, width);
    const steps = together(this.#histograms, width).map((part, at) => {
      const whole = new Histogram();
      for (const step of [...part, ...left[at]!]) if (step !== undefined) whole.merge(step);
      const infinite = Math.round(unanswered[at]!.reduce((sum, count) => sum + count, 0) * weight);
      return { whole, infinite, count: whole.count + infinite };
    });
    const valuesOf = (each: number) =>
      steps.map(({ whole, infinite, count }) =>
        count < sampleFloor(each) ? null : msOf(whole.percentile(each, infinite)),
      );
    return {
      stepS: this.#stepS * width,
      percent,
      at: steps.map((_, at) => at * this.#stepS * width),
      samples: steps.map(({ count }) => count),
      p50Ms: valuesOf(50),
      tailMs: valuesOf(percent),
    };
  }

  #recordIn(steps: (Histogram | undefined)[], intendedNs: number, ns: number, times: number): void {
    const at = stepAt(intendedNs, this.#stepS, steps.length);
    if (at === null) return;
    steps[at] ??= new Histogram();
    steps[at].record(ns, times);
  }
}

function msOf(ns: number | null): number | 'Infinity' | null {
  if (ns === Number.POSITIVE_INFINITY) return 'Infinity';
  return ns === null ? null : ns / NS_PER_MS;
}
