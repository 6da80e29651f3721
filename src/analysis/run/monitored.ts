import { NS_PER_S } from '../../core/units.ts';
import type { MonitorSample, SeriesFacts } from '../../documents/monitors.ts';

/** What is known of a series between two of its looks, or at one. Offsets from the start of the run, nanoseconds. */
export interface MonitorPoint {
  readonly fromNs: number;
  readonly toNs: number;
  /** Null where a look failed. */
  readonly value: number | null;
}

/**
 * The values of a series as they are read: a gauge at each look; a counter as the rate a second between two looks, a
 * mean likewise. Across a failed look neither is known, and nothing is interpolated.
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

/** Undefined where nothing was counted meanwhile: there is no mean of nothing, and no look that failed. */
function meanOf(before: MonitorSample, after: MonitorSample): number | null | undefined {
  if (before.value === null || after.value === null || before.base === null || after.base === null)
    return null;
  const count = growth(before.base, after.base);
  return count === 0 ? undefined : growth(before.value, after.value) / count;
}

/** A counter that is less than before began anew at 0. */
function growth(before: number, after: number): number {
  return after < before ? after : after - before;
}

/** What a series came to in the judged part of a run. */
export interface MonitoredValues {
  /** Ascending. */
  readonly samples: Float64Array;
  readonly missing: number;
  /** Of a counter: its growth between the edges; of a mean, that over them. Null where an edge is not known. */
  readonly change: number | null;
  readonly resets: number;
  /** Values and series of its source that a bound kept out; it may be among them. None where left out. */
  readonly unkept?: number;
}

/** By the name that objectives give it: the same series of several sources. */
export type MonitoredByName = ReadonlyMap<string, readonly MonitoredValues[]>;

/** The part of a run that is judged. Offsets from the start of the run, nanoseconds. */
export interface MonitoredPart {
  readonly fromNs: number;
  /** Where its load ended: while the last answers come in, the target is idler than under load. */
  readonly toNs: number;
  /** Where its last answer ended: until then counters count what it cost. */
  readonly answeredNs: number;
}

/**
 * The load of a run ends as planned, or later where requests waited; that of a run that was stopped ends before.
 * @param fromNs where the judged part begins; all spans count from there
 * @param settlingNs how long its beginning is that is left out, if it lasts longer than that
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

/** @param samples in order of time, with the looks right before and after the judged part */
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

/** Between the last look at or before the part and the first at or after it; failed looks between them cost nothing. */
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

/** One figure of a series. @returns null where nothing is known */
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

/** The figures of a series as documents hold them. */
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
