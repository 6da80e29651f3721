import { NS_PER_S } from '../../core/units.ts';
import type { MonitorSample, SeriesFacts } from '../../documents/monitors.ts';

/** The value of a series at one reading or between two readings. Offsets from the start of the run, nanoseconds. */
export interface MonitorPoint {
  readonly fromNs: number;
  readonly toNs: number;
  /** Null if a reading failed. */
  readonly value: number | null;
}

/**
 * The values of a series. A gauge has a value at each reading. A counter has its rate per second between two readings,
 * a mean likewise. After a failed reading these are unknown; nothing is interpolated.
 */
export function* pointsOf(
  kind: SeriesFacts['kind'],
  samples: Iterable<MonitorSample>,
): Generator<MonitorPoint> {
  let before: MonitorSample | null = null;
  for (const sample of samples) {
    const fromNs = before?.offsetNs ?? sample.offsetNs;
    if (kind === 'gauge') yield { fromNs: sample.offsetNs, toNs: sample.offsetNs, value: sample.value };
    else if (before !== null) {
      const value = kind === 'counter' ? rateOf(before, sample) : meanOf(before, sample);
      if (value !== undefined) yield { fromNs, toNs: sample.offsetNs, value };
    }
    before = sample;
  }
}

function rateOf(before: MonitorSample, after: MonitorSample): number | null {
  if (before.value === null || after.value === null || after.offsetNs <= before.offsetNs) return null;
  return growth(before.value, after.value) / ((after.offsetNs - before.offsetNs) / NS_PER_S);
}

/** Undefined if nothing was counted between the readings: there is no mean, but no reading failed either. */
function meanOf(before: MonitorSample, after: MonitorSample): number | null | undefined {
  if (before.value === null || after.value === null || before.base === null || after.base === null)
    return null;
  const count = growth(before.base, after.base);
  return count === 0 ? undefined : growth(before.value, after.value) / count;
}

/** A counter that is lower than before was reset to 0. */
function growth(before: number, after: number): number {
  return after < before ? after : after - before;
}

/** The values of a series in the judged part of a run. */
export interface MonitoredValues {
  /** In ascending order. */
  readonly samples: Float64Array;
  readonly missing: number;
  /**
   * Of a counter, its growth between the edges of the part; of a mean, the mean between them. Null if the value at an
   * edge is unknown.
   */
  readonly change: number | null;
  readonly resets: number;
  /**
   * Number of values and series of its source beyond a limit. This series may be among them. Absent if there are none.
   */
  readonly unkept?: number;
}

/** Series by their name in objectives. Several sources may have the same series. */
export type MonitoredByName = ReadonlyMap<string, readonly MonitoredValues[]>;

/** The judged part of a run. Offsets from the start of the run, nanoseconds. */
export interface MonitoredPart {
  readonly fromNs: number;
  /** End of its load. Later the target only sends the last answers and is less busy. */
  readonly toNs: number;
  /** End of its last answer. Counters include the work until then. */
  readonly answeredNs: number;
}

/**
 * The load ends at the planned instant, or later if requests waited. The load of a stopped run ends earlier.
 * @param fromNs start of the judged part; all spans count from there
 * @param settlingNs length of the beginning to leave out; nothing is left out of a shorter load
 */
export function monitoredPartOf(
  fromNs: number,
  plannedSpanNs: number,
  { sentSpanNs, endOffsetNs }: { readonly sentSpanNs: number; readonly endOffsetNs: number },
  settlingNs = 0,
): MonitoredPart {
  const spanNs = Math.min(Math.max(plannedSpanNs, sentSpanNs), endOffsetNs);
  const skippedNs = settlingNs < spanNs ? settlingNs : 0;
  return { fromNs: fromNs + skippedNs, toNs: fromNs + spanNs, answeredNs: fromNs + endOffsetNs };
}

/** @param samples in order of time, including the readings directly before and after the judged part */
export function monitoredValues(
  kind: SeriesFacts['kind'],
  samples: readonly MonitorSample[],
  { fromNs, toNs, answeredNs }: MonitoredPart,
): MonitoredValues {
  const inside = [...pointsOf(kind, samples)].filter((point) => {
    const middleNs = (point.fromNs + point.toNs) / 2;
    return middleNs >= fromNs && middleNs <= toNs;
  });
  const known = inside.flatMap(({ value }) => (value === null ? [] : [value]));
  const { change, resets } =
    kind === 'gauge' ? { change: null, resets: 0 } : changeOf(kind, samples, fromNs, answeredNs);
  return {
    samples: Float64Array.from(known).sort(),
    missing: inside.length - known.length,
    change,
    resets,
  };
}

/**
 * From the last reading at or before the part to the first at or after it. Failed readings between them do not matter.
 */
function changeOf(kind: 'counter' | 'mean', all: readonly MonitorSample[], fromNs: number, toNs: number) {
  const none = { change: null, resets: 0 };
  const first = all.findLastIndex(({ offsetNs }) => offsetNs <= fromNs);
  const last = all.findIndex(({ offsetNs }) => offsetNs >= toNs);
  if (first < 0 || last < 0) return none;
  const between = all.slice(first, last + 1);
  if (between[0]?.value == null || between.at(-1)?.value == null) return none;
  const values = between.flatMap(({ value, base }) => (value === null ? [] : [{ value, base: base ?? 0 }]));
  let [grown, counted, resets] = [0, 0, 0];
  for (const [at, after] of values.entries()) {
    const before = values[at - 1];
    if (before === undefined) continue;
    grown += growth(before.value, after.value);
    counted += growth(before.base, after.base);
    if (after.value < before.value) resets += 1;
  }
  if (kind === 'counter') return { change: grown, resets };
  return { change: counted === 0 ? null : grown / counted, resets };
}

/** One figure of a series. @returns null if no value is known */
export function monitoredValue(
  { samples, change }: MonitoredValues,
  aggregation: { readonly kind: string; readonly percent?: number },
): number | null {
  const { length } = samples;
  if (aggregation.kind === 'count') return change;
  if (length === 0) return null;
  if (aggregation.kind === 'avg') return samples.reduce((sum, value) => sum + value, 0) / length;
  if (aggregation.kind === 'min') return samples[0] as number;
  if (aggregation.kind === 'max') return samples[length - 1] as number;
  const rank = Math.ceil(((aggregation.percent ?? 50) / 100) * length);
  return samples[Math.max(0, rank - 1)] as number;
}

/** The figures of a series for documents. */
export function monitoredFigures(values: MonitoredValues) {
  const at = (percent: number) => monitoredValue(values, { kind: 'percentile', percent });
  return {
    samples: values.samples.length,
    missing: values.missing,
    min: monitoredValue(values, { kind: 'min' }),
    mean: monitoredValue(values, { kind: 'avg' }),
    p50: at(50),
    p95: at(95),
    max: monitoredValue(values, { kind: 'max' }),
  };
}
