import type { RunSecond } from '../../core/run.ts';
import { NS_PER_MS, NS_PER_S } from '../../core/units.ts';
import { byPercent, PERCENTS } from '../../documents/percentiles.ts';
import type { LatencyMap, LatencySteps, TimeColumns } from '../../documents/report.ts';
import type { MonitorPoint } from '../metrics/monitored.ts';
import { SteppedTimes } from './stepped.ts';

/** Maximum number of steps. A page is not wide enough for more. */
export const MAX_STEPS = 720;
/** Widths of a step, seconds. */
const LADDER_S = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400, 604_800,
] as const;

/** The shortest step that divides this time into at most `MAX_STEPS`. */
export function stepFor(seconds: number): number {
  const fitting = LADDER_S.find((step) => Math.ceil(seconds / step) <= MAX_STEPS);
  return fitting ?? Math.ceil(seconds / MAX_STEPS);
}

/**
 * Divides a run of any length into a bounded number of steps. All steps stay open, because rows come in the order of
 * the plan. If sessions wait for answers, requests are due in another order.
 */
export class TimeSteps {
  readonly stepS: number;
  readonly steps: number;
  readonly #sums: Record<'offered' | 'sent' | 'completed' | 'failed' | 'refused', number[]>;
  readonly #inFlight: (number | null)[];
  readonly #lagMaxMs: (number | null)[];
  readonly #scheduled: SteppedTimes;
  readonly #service: SteppedTimes;
  readonly #lastOfStep: (number | null)[];

  /** @param seconds from the start of the run to the end of the last second with an event */
  constructor(seconds: number) {
    this.stepS = stepFor(seconds);
    this.steps = Math.ceil(seconds / this.stepS);
    const zeros = (): number[] => new Array<number>(this.steps).fill(0);
    const unknown = (): (number | null)[] => new Array<number | null>(this.steps).fill(null);
    this.#sums = { offered: zeros(), sent: zeros(), completed: zeros(), failed: zeros(), refused: zeros() };
    this.#scheduled = new SteppedTimes(this.stepS, this.steps);
    this.#service = new SteppedTimes(this.stepS, this.steps);
    this.#inFlight = unknown();
    this.#lastOfStep = unknown();
    this.#lagMaxMs = unknown();
  }

  /** Adds the seconds of the run in order. */
  addSecond(second: Omit<RunSecond, 'cancelled'>): void {
    const at = this.#stepOf(second.second);
    if (at === null) return;
    for (const name of ['offered', 'sent', 'completed', 'failed', 'refused'] as const) {
      this.#sums[name][at]! += second[name];
    }
    this.#inFlight[at] = Math.max(this.#inFlight[at] ?? 0, second.inFlight);
    this.#lastOfStep[at] = second.inFlight;
    if (second.lagMaxNs !== null)
      this.#lagMaxMs[at] = Math.max(this.#lagMaxMs[at] ?? 0, second.lagMaxNs / NS_PER_MS);
  }

  /** Adds the latency of a completed request, in any order. */
  addLatency(intendedNs: number, scheduledNs: number, serviceNs: number): void {
    this.#scheduled.record(intendedNs, scheduledNs);
    this.#service.record(intendedNs, serviceNs);
  }

  /** Adds a request that the replay cancelled like the recorded client, with the time that it waited. */
  addLeft(intendedNs: number, scheduledNs: number): void {
    this.#scheduled.recordLeft(intendedNs, scheduledNs);
  }

  /** Adds a failed or refused request, in any order. It counts as slower than all others. */
  addUnanswered(intendedNs: number): void {
    this.#scheduled.addUnanswered(intendedNs);
  }

  columns(): TimeColumns {
    let standing = 0;
    const inFlight = this.#inFlight.map((most, at) => {
      // A step without events keeps the last value of the previous step.
      const value = most ?? standing;
      standing = this.#lastOfStep[at] ?? standing;
      return value;
    });
    return {
      stepS: this.stepS,
      at: this.#inFlight.map((_, at) => at * this.stepS),
      ...this.#sums,
      inFlight,
      lagMaxMs: this.#lagMaxMs,
      samples: this.#scheduled.counts(),
      ...byPercent(PERCENTS, (percent) => this.#scheduled.answeredMs(percent), 'Ms'),
      serviceP99Ms: this.#service.answeredMs(99),
    };
  }

  /**
   * Median and tail over steps that are wide enough. @param asked the percentile of the tail, if there are enough
   * samples
   */
  latencySteps(asked: number): LatencySteps {
    return this.#scheduled.course(asked);
  }

  #stepOf(second: number): number | null {
    const at = Math.floor(second / this.stepS);
    return at >= 0 && at < this.steps ? at : null;
  }
}

/**
 * A monitored series over steps: the worst value in each step. A gauge is valid from its reading for the interval of
 * readings. A rate is valid between its two readings.
 * @param lastingNs interval of readings
 * @param worse of two values: the greater one, or the lesser one for an objective that asks for more
 */
export function monitoredSteps(
  points: Iterable<MonitorPoint>,
  lastingNs: number,
  stepS: number,
  count: number,
  worse: (a: number, b: number) => number = Math.max,
): (number | null)[] {
  const steps = new Array<number | null>(count).fill(null);
  for (const { fromNs, toNs, value } of points) {
    if (value === null) continue;
    const endNs = toNs > fromNs ? toNs : fromNs + lastingNs;
    const first = Math.max(0, Math.floor(fromNs / NS_PER_S / stepS));
    // The end is exclusive: a value that ends at the start of a step does not belong to it.
    const last = Math.min(count - 1, Math.ceil(endNs / NS_PER_S / stepS) - 1);
    for (let at = first; at <= last; at += 1) steps[at] = worse(steps[at] ?? value, value);
  }
  return steps;
}

const MAX_COLUMNS = 36;
/** Widths of a column, seconds. For longer runs, columns are as wide as necessary. */
const COLUMN_LADDER_S = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_200, 3_600, 7_200, 21_600, 43_200,
] as const;
/**
 * Latency classes, each twice as wide as the previous one. The first ends at 1/16 ms, the last is beyond half an hour.
 */
const LEAST_MS = 1 / 16;
const CLASSES = 26;

/** Counts latencies by time and class, with constant memory. */
export class LatencyMapCounts {
  readonly #columnS: number;
  readonly #columns: number;
  readonly #counts: Float64Array;

  constructor(seconds: number) {
    this.#columnS =
      COLUMN_LADDER_S.find((width) => Math.ceil(seconds / width) <= MAX_COLUMNS) ??
      Math.ceil(seconds / MAX_COLUMNS);
    this.#columns = Math.ceil(seconds / this.#columnS);
    this.#counts = new Float64Array(this.#columns * CLASSES);
  }

  add(intendedNs: number, scheduledNs: number): void {
    const column = Math.floor(intendedNs / NS_PER_S / this.#columnS);
    if (column < 0 || column >= this.#columns) return;
    this.#counts[column * CLASSES + classOf(scheduledNs / NS_PER_MS)]! += 1;
  }

  map(): LatencyMap {
    const columns = Array.from({ length: this.#columns }, (_, column) =>
      this.#counts.subarray(column * CLASSES, (column + 1) * CLASSES),
    );
    const totals = columns.map((counts) => counts.reduce((sum, count) => sum + count, 0));
    const used = Array.from({ length: CLASSES }, (_, at) => at).filter((at) =>
      columns.some((counts) => counts[at]! > 0),
    );
    const first = used[0] ?? 0;
    const last = used.at(-1) ?? -1;
    return {
      columnS: this.#columnS,
      at: columns.map((_, column) => column * this.#columnS),
      classes: Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => ({
        fromMs: first + index === 0 ? 0 : LEAST_MS * 2 ** (first + index - 1),
        toMs: LEAST_MS * 2 ** (first + index),
        shares: columns.map((counts, column) =>
          totals[column] === 0 ? null : counts[first + index]! / (totals[column] ?? 1),
        ),
      })),
    };
  }
}

function classOf(ms: number): number {
  if (ms <= LEAST_MS) return 0;
  return Math.min(CLASSES - 1, Math.ceil(Math.log2(ms / LEAST_MS) - 1e-12));
}
