import type { CauseFigures, CauseKind, NamedCause } from '../../documents/explanation.ts';
import type { FaultsDocument } from '../../documents/faults.ts';
import type { MonitoredLine } from '../../documents/report.ts';
import { type Candidate, CONSTANT_PREFERENCE, type Evidence, percentileOf } from './evidence.ts';

/** A time in which something held, milliseconds after the start of the run. */
export interface Period {
  readonly fromMs: number;
  readonly toMs: number;
}

/** The values of a monitored series over time. */
export type SeenSeries = Pick<MonitoredLine, 'name' | 'kind' | 'unit'> & {
  readonly values: readonly (Period & { readonly value: number })[];
};

type Exposed = (at: number) => boolean;

/** Whether a request was in flight in one of these periods, which are in order and do not overlap. */
function during({ requests }: Evidence, periods: readonly Period[]): Exposed {
  const inPeriods = requests.map(({ sentMs, plannedMs, endMs }) => {
    const from = sentMs ?? plannedMs;
    const next = periods[firstAfter(periods, from)];
    return next !== undefined && next.fromMs < (endMs ?? from);
  });
  return (at) => inPeriods[at]!;
}

/** The place of the first period that ends after an instant. */
function firstAfter(periods: readonly Period[], instant: number): number {
  let [low, high] = [0, periods.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (periods[middle]!.toMs <= instant) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Requests that met a planned fault of a dependency. */
export function faultCauses(evidence: Evidence, faults: FaultsDocument | null | undefined): Candidate[] {
  return (faults?.faults ?? []).flatMap(({ name, proxy, fault, fromS, toS, appliedS, removedS }) => {
    const period = { fromMs: (appliedS ?? fromS) * 1e3, toMs: (removedS ?? toS) * 1e3 };
    const figures = { proxy, fault, fromS: period.fromMs / 1e3, toS: period.toMs / 1e3 };
    const named = { kind: 'dependency', subject: name } as const;
    const more = { figures, preference: KNOWN_PREFERENCE };
    return evidence.exposure(named, during(evidence, [period]), more) ?? [];
  });
}

/** A pause lasts at least this long, and so long that by chance this many answers would have come. */
const LEAST_PAUSE_MS = 40;
const LEAST_MISSING = 8;
/** Of the requests that usually arrive in that time, this share did arrive. */
const LEAST_ARRIVED = 0.3;
/** After a pause, the queue is gone within this many times its length, and answers end at this many times the usual rate. */
const MOST_DRAIN = 4;
const LEAST_BURST = 1.5;
/** A server that rests more than this share of the time answers in batches. */
const MOST_PAUSED = 0.6;
const LEAST_PAUSES = 3;
/** Times between periodic pauses are near a multiple of their median, as one may have been missed. */
const NEAR = 0.15;
const LEAST_NEAR = 0.75;

/** Pauses in which the target ended no answer although requests went on to arrive, each until the queue is gone. */
export function stallCauses(evidence: Evidence): Candidate[] {
  const pauses = pausesOf(evidence);
  if (pauses.length === 0) return [];
  const overlapMs = (at: number) => {
    const { sentMs, endMs } = evidence.requests[at]!;
    let sum = 0;
    for (let next = firstAfter(pauses, sentMs ?? 0); next < pauses.length; next += 1) {
      const { fromMs, toMs } = pauses[next]!;
      if (fromMs >= (endMs ?? 0)) break;
      sum += Math.min(toMs, endMs ?? 0) - Math.max(fromMs, sentMs ?? 0);
    }
    return sum;
  };
  const overlaps = Float64Array.from(evidence.requests, (_, at) => overlapMs(at));
  const exposed: Exposed = (at) => overlaps[at]! > 0 && overlaps[at]! >= evidence.excessMs[at]! / 2;
  return [
    {
      ...{ kind: 'stalls', subject: null },
      exposed,
      explainedMs: (at) => Math.min(evidence.excessMs[at]!, overlaps[at]!),
      figures: {
        stalls: pauses.length,
        medianMs: percentileOf(
          pauses.map(({ pausedMs }) => pausedMs),
          50,
        ),
        everyMs: everyMs(pauses),
        firstS: pauses[0]!.fromMs / 1e3,
      },
      separation: evidence.separation(exposed),
      preference: 1,
    },
  ];
}

/** The time between periodic times; null if they are not periodic. */
function everyMs(periods: readonly Period[]): number | null {
  const apart = periods.slice(1).map(({ fromMs }, index) => fromMs - periods[index]!.fromMs);
  const median = percentileOf(apart, 50) ?? 0;
  const near = apart.filter((ms) => Math.abs(ms / median - Math.max(1, Math.round(ms / median))) <= NEAR);
  return periods.length >= LEAST_PAUSES && near.length >= LEAST_NEAR * apart.length ? median : null;
}

function pausesOf({ requests, timed }: Evidence): (Period & { readonly pausedMs: number })[] {
  const arrivals = Float64Array.from(timed, (at) => requests[at]!.sentMs ?? 0).sort();
  // The run may begin in a pause: its first arrival counts as the end before it.
  const ends = Float64Array.from([arrivals[0] ?? 0, ...timed.map((at) => requests[at]!.endMs ?? 0)]).sort();
  const spanMs = (ends.at(-1) ?? 0) - (ends[0] ?? 0);
  if (ends.length < LEAST_MISSING || spanMs <= 0) return [];
  const perMs = ends.length / spanMs;
  const arrivedBy = (instant: number) => countUpTo(arrivals, instant);
  const pauses: (Period & { readonly pausedMs: number })[] = [];
  for (let at = 1; at < ends.length; at += 1) {
    const [fromMs, endMs] = [ends[at - 1]!, ends[at]!];
    const pausedMs = endMs - fromMs;
    const missing = perMs * pausedMs;
    if (pausedMs < LEAST_PAUSE_MS || missing < LEAST_MISSING) continue;
    if (arrivedBy(endMs) - arrivedBy(fromMs) < LEAST_ARRIVED * missing) continue;
    const before = arrivedBy(fromMs) - at;
    let drained = at;
    while (drained + 1 < ends.length && arrivedBy(ends[drained]!) - drained - 1 > before + 1) drained += 1;
    const toMs = ends[drained]!;
    // Answers that are only late go on to end at the usual rate.
    if (toMs - endMs > MOST_DRAIN * pausedMs || drained - at < LEAST_BURST * perMs * (toMs - endMs)) continue;
    if (toMs > (pauses.at(-1)?.toMs ?? 0))
      pauses.push({ fromMs: Math.max(fromMs, pauses.at(-1)?.toMs ?? 0), toMs, pausedMs });
  }
  const pausedMs = pauses.reduce((sum, each) => sum + each.pausedMs, 0);
  return pausedMs > MOST_PAUSED * spanMs ? [] : pauses;
}

/** How many of the values in ascending order are at most this. */
function countUpTo(sorted: Float64Array, level: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! <= level) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A time in which everything is slow separates slow requests from fast ones at least this well. */
const LEAST_OF_EPISODE = 0.6;
/** With more arrivals than this many times the usual ones, more load is the better explanation. */
const MOST_TIMES_LOAD = 1.3;
/** Requests of that time that found no more in flight than fast ones, and were slow nevertheless. */
const LEAST_UNCROWDED = 3;
const LEAST_TIMES_SLOWER = 2;
const MOST_OF_RUN = 0.7;
/** A known cause that holds for the same time comes first. */
const EPISODE_PREFERENCE = 0.95;

/** Times in which all requests were slow, without more load and without a queue that grows: at the start, or later. */
export function episodeCauses(evidence: Evidence): Candidate[] {
  const { requests, timed } = evidence;
  const periods = slowPeriods(evidence);
  const [firstPeriod, lastPeriod] = [periods[0], periods.at(-1)];
  if (firstPeriod === undefined || lastPeriod === undefined) return [];
  const sentMs = (at: number) => requests[at]!.sentMs ?? 0;
  const within = requests.map(
    (_, at) => (periods[firstAfter(periods, sentMs(at) - 1e-6)]?.fromMs ?? Infinity) <= sentMs(at),
  );
  const exposed: Exposed = (at) => within[at]!;
  if (evidence.separation(exposed) < LEAST_OF_EPISODE) return [];
  const runMs = sentMs(timed.at(-1)!) - sentMs(timed[0]!);
  const inside = timed.filter(exposed);
  const lengthMs = periods.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0);
  const usualRate = (timed.length - inside.length) / Math.max(1, runMs - lengthMs);
  if (inside.length / Math.max(1, lengthMs) > MOST_TIMES_LOAD * usualRate || lengthMs > MOST_OF_RUN * runMs)
    return [];
  const times = timesSlower(evidence, inside);
  if (times.length < LEAST_UNCROWDED || (percentileOf(times, 50) ?? 0) < LEAST_TIMES_SLOWER) return [];
  const before = timed.filter((at) => sentMs(at) < firstPeriod.fromMs).length;
  const kind = periods.length === 1 && before <= LEAST_UNCROWDED ? 'cold_start' : 'episode';
  const figures = {
    periods: periods.length,
    everyMs: everyMs(periods),
    fromS: firstPeriod.fromMs / 1e3,
    toS: lastPeriod.toMs / 1e3,
  };
  const more = { figures, preference: EPISODE_PREFERENCE };
  return [evidence.exposure({ kind, subject: null }, exposed, more)].filter((each) => each !== null);
}

/** How many times as long requests take as fast ones that found as many in flight; nothing for those without such. */
function timesSlower({ requests, fast, targetMs }: Evidence, places: readonly number[]): number[] {
  const byCrowd = Map.groupBy(fast, (at) => requests[at]!.inFlight);
  const usual = new Map(
    [...byCrowd].map(([crowd, of]) => [
      crowd,
      percentileOf(
        of.map((at) => targetMs[at]!),
        50,
      ) ?? 0,
    ]),
  );
  return places.flatMap((at) => {
    const ms = usual.get(requests[at]!.inFlight);
    return ms === undefined ? [] : [targetMs[at]! / Math.max(ms, 1e-3)];
  });
}

/** Of so many requests in a row, this share is slow in a slow time. */
const IN_A_ROW = 9;
const LEAST_SLOW = 0.75;

/** The times in which most requests in a row are slow. */
function slowPeriods({ requests, slow, fast }: Evidence): Period[] {
  const isSlow = new Set(slow);
  const ordered = [...slow, ...fast].sort((a, b) => a - b);
  const half = (IN_A_ROW - 1) / 2;
  const periods: { fromMs: number; toMs: number; last: number; requests: number }[] = [];
  for (const [index, at] of ordered.entries()) {
    if (!isSlow.has(at)) continue;
    const near = ordered.slice(Math.max(0, index - half), index + half + 1);
    if (near.filter((each) => isSlow.has(each)).length < LEAST_SLOW * near.length) continue;
    const instant = requests[at]!.sentMs ?? 0;
    const open = periods.at(-1);
    if (open !== undefined && index - open.last <= half) {
      Object.assign(open, { toMs: instant, last: index, requests: open.requests + 1 });
    } else periods.push({ fromMs: instant, toMs: instant, last: index, requests: 1 });
  }
  return periods.filter((each) => each.requests > half);
}

/** What a monitored series says of the target when its value is high. */
interface Resource {
  readonly kind: CauseKind;
  readonly name: RegExp;
  /** From which value on it is at its limit. Null for `LEAST_TIMES_HIGHER` times its usual value. */
  readonly limit: number | null;
}

const RESOURCES: readonly Resource[] = [
  { kind: 'kv_cache', name: /^kv_cache_utilization$/, limit: 0.9 },
  { kind: 'kv_cache', name: /^preemptions$/, limit: 0.01 },
  { kind: 'gpu', name: /^gpu_(?:utilization|engine_active|memory_active|memory_utilization)$/, limit: 0.95 },
  { kind: 'cpu', name: /^cpu_throttled$/, limit: 0.1 },
  { kind: 'cpu', name: /^cpu_utilization$/, limit: 0.9 },
  { kind: 'memory', name: /^memory_utilization$/, limit: 0.9 },
];
/** Times that a server measures of its own requests: their growth is what is to be explained. */
const OWN_TIMES = /^(?:server_|queue_|compute_|preprocess_|postprocess_|batch_)/;
const LEAST_TIMES_HIGHER = 3;
/** A resource at its limit for this share of the slow requests explains them, even if it was so all the time. */
const LEAST_SATURATED = 0.8;
/** A known cause that separates slow from fast requests comes before a guessed one. */
const KNOWN_PREFERENCE = 1.1;
/** A process that uses whole processors, within this, has no more of them. */
const WHOLE_CORES = 0.07;

/** Resources of the target that were at their limit, and dependencies that were slow, as monitors saw them. */
export function resourceCauses(evidence: Evidence, series: readonly SeenSeries[]): Candidate[] {
  return series.flatMap((each) => {
    const limited = limitOf(each);
    if (limited === null) return [];
    const { kind, isHigh } = limited;
    const exposed = during(
      evidence,
      each.values.filter(({ value }) => isHigh(value)),
    );
    const slowValues = each.values.flatMap(({ value }) => (isHigh(value) ? [value] : []));
    const figures = { series: each.name, mean: meanOf(slowValues), max: Math.max(0, ...slowValues) };
    return exposedTo(evidence, { kind, subject: each.name }, exposed, figures, kind === 'dependency');
  });
}

function exposedTo(
  evidence: Evidence,
  named: NamedCause,
  exposed: Exposed,
  figures: CauseFigures,
  mustSeparate = false,
): Candidate[] {
  const { slow, excessMs } = evidence;
  const separating = evidence.exposure(named, exposed, { figures, preference: KNOWN_PREFERENCE });
  const saturated = slow.filter(exposed).length / Math.max(1, slow.length);
  if (separating !== null || mustSeparate || saturated < LEAST_SATURATED)
    return separating ? [separating] : [];
  const explainedMs = (at: number) => (exposed(at) ? excessMs[at]! : 0);
  return [
    { ...named, exposed, explainedMs, figures, separation: saturated, preference: CONSTANT_PREFERENCE },
  ];
}

function limitOf({ name, kind, unit, values }: SeenSeries): {
  readonly kind: CauseKind;
  readonly isHigh: (value: number) => boolean;
} | null {
  const resource = RESOURCES.find((each) => each.name.test(name));
  if (resource !== undefined) {
    const limit = resource.limit ?? 0;
    return { kind: resource.kind, isHigh: (value) => value >= limit };
  }
  if (name === 'cpu') {
    const cores = Math.round(
      percentileOf(
        values.map(({ value }) => value),
        90,
      ) ?? 0,
    );
    return cores < 1
      ? null
      : { kind: 'cpu', isHigh: (value) => Math.abs(value - cores) <= WHOLE_CORES * cores };
  }
  if (unit !== 's' || kind === 'counter' || OWN_TIMES.test(name)) return null;
  const usual =
    percentileOf(
      values.map(({ value }) => value),
      20,
    ) ?? 0;
  return { kind: 'dependency', isHigh: (value) => value > LEAST_TIMES_HIGHER * usual && value > 0 };
}

/** Replicas that were missing while requests were slow: fewer than desired, or fewer than there were later. */
export function replicaCauses(evidence: Evidence, series: readonly SeenSeries[]): Candidate[] {
  const ready = series.find(({ name }) => name === 'replicas_ready');
  if (ready === undefined) return [];
  const desired = series.find(({ name }) => name === 'replicas_desired');
  const most = Math.max(...ready.values.map(({ value }) => value));
  const least = Math.min(...ready.values.map(({ value }) => value));
  const desiredAt = (instant: number) =>
    desired?.values.findLast(({ fromMs }) => fromMs <= instant)?.value ?? 0;
  const firstSlowMs = evidence.requests[evidence.slow[0] ?? 0]?.sentMs ?? 0;
  const missing = ready.values.filter(
    ({ fromMs, toMs, value }) => value < desiredAt(fromMs) || (value < most && toMs > firstSlowMs),
  );
  if (missing.length === 0) return [];
  const readyS =
    ready.values.find(({ fromMs, value }) => fromMs > firstSlowMs && value === most)?.fromMs ?? null;
  const figures = {
    leastReady: least,
    mostReady: most,
    mostDesired: desired === undefined ? null : Math.max(...desired.values.map(({ value }) => value)),
    firstSlowS: firstSlowMs / 1e3,
    readyS: readyS === null ? null : readyS / 1e3,
  };
  return exposedTo(evidence, { kind: 'replicas', subject: null }, during(evidence, missing), figures);
}

function meanOf(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}
