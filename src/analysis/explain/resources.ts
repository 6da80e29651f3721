import type { CauseFigures, CauseKind, NamedCause } from '../../documents/explanation.ts';
import type { FaultsDocument } from '../../documents/faults.ts';
import type { MonitoredLine } from '../../documents/report.ts';
import { countBelow } from '../stats/queues.ts';
import { type Candidate, CONSTANT_PREFERENCE, type Evidence, percentileOf } from './evidence.ts';

/** A time in which something held, milliseconds after the start of the run. */
export interface Period {
  readonly fromMs: number;
  readonly toMs: number;
}

/** The values of a monitored series over time. */
export type SeenSeries = Pick<MonitoredLine, 'name' | 'metric' | 'kind'> & {
  readonly values: readonly (Period & { readonly value: number })[];
};

/**
 * How much of the time of each request was in these periods, which are in order and do not overlap. For a time between
 * tokens it is as large a share of it as of the tokens.
 */
export function overlapsMs({ requests }: Evidence, periods: readonly Period[]): Float64Array {
  const ends = Float64Array.from(periods, ({ toMs }) => toMs);
  return Float64Array.from(requests, ({ sentMs, plannedMs, endMs, parts }) => {
    const from = parts?.fromMs ?? sentMs ?? plannedMs;
    const to = parts?.toMs ?? endMs ?? from;
    let sum = 0;
    for (let next = countBelow(ends, from); next < periods.length && periods[next]!.fromMs < to; next += 1)
      sum += Math.min(periods[next]!.toMs, to) - Math.max(periods[next]!.fromMs, from);
    return parts === null || to === from ? sum : sum * Math.min(1, parts.targetMs / (to - from));
  });
}

/** Requests that met a planned fault of a dependency. */
export function faultCauses(evidence: Evidence, faults: FaultsDocument | null | undefined): Candidate[] {
  return (faults?.faults ?? []).flatMap(({ name, proxy, fault, fromS, toS, appliedS, removedS }) => {
    const [from, to] = [appliedS ?? fromS, removedS ?? toS];
    const named = { kind: 'dependency', subject: name } as const;
    return exposedTo(evidence, named, [{ fromMs: from * 1e3, toMs: to * 1e3 }], {
      proxy,
      fault,
      fromS: from,
      toS: to,
    });
  });
}

/** What a monitored series says of the target when its value is high. */
interface Resource {
  readonly kind: CauseKind;
  readonly name: RegExp;
  /** From which value on it is at its limit. */
  readonly limit: number;
}

const RESOURCES: readonly Resource[] = [
  { kind: 'kv_cache', name: /^kv_cache_utilization$/, limit: 0.9 },
  { kind: 'kv_cache', name: /^preemptions$/, limit: 0.01 },
  { kind: 'gpu', name: /^gpu_(?:utilization|engine_active|memory_active|memory_utilization)$/, limit: 0.95 },
  { kind: 'cpu', name: /^cpu_throttled$/, limit: 0.1 },
  { kind: 'cpu', name: /^cpu_utilization$/, limit: 0.9 },
  { kind: 'memory', name: /^memory_utilization$/, limit: 0.9 },
];
const READY = 'replicas_ready';
const DESIRED = 'replicas_desired';
/** Processors that a process uses. */
const CORES = 'cpu';
/** A time, by the name of a series or of its metric. Of our own requests it is what is to be explained. */
const TIME = /latency|duration|seconds|time/i;
const OWN_TIME = /generator|server|queue|compute|process|batch|request|e2e|token/i;
const LEAST_TIMES_HIGHER = 3;
/** A resource at its limit for this share of the slow requests explains them, even if it was so all the time. */
const LEAST_SATURATED = 0.8;
/** A known cause that separates slow from fast requests comes before a guess that explains little more. */
export const KNOWN_PREFERENCE = 1.3;
/** A process that uses whole processors, within this, has no more of them. */
const WHOLE_CORES = 0.07;

/** Resources of the target that were at their limit, and dependencies that were slow, as monitors saw them. */
export function resourceCauses(evidence: Evidence, series: readonly SeenSeries[]): Candidate[] {
  return series.flatMap((each) => {
    const kind = kindOf(each);
    if (kind === null || kind === 'replicas') return [];
    const isHigh = isHighIn(each);
    const high = each.values.filter(({ value }) => isHigh(value));
    const figures = { series: each.name, max: mostOf(high) };
    return exposedTo(evidence, { kind, subject: each.name }, high, figures);
  });
}

function mostOf(values: SeenSeries['values']): number {
  return values.reduce((most, { value }) => Math.max(most, value), 0);
}

/** A known cause during some periods. A resource explains slow requests even if it was at its limit all the time. */
function exposedTo(
  evidence: Evidence,
  named: NamedCause,
  periods: readonly Period[],
  figures: CauseFigures,
): Candidate[] {
  const { slow, excessMs } = evidence;
  const overlaps = overlapsMs(evidence, periods);
  const exposed = (at: number) => overlaps[at]! > 0;
  const separating = evidence.exposure(named, exposed, { figures, preference: KNOWN_PREFERENCE });
  if (separating !== null) return [separating];
  const separation = slow.filter(exposed).length / Math.max(1, slow.length);
  if (named.kind === 'dependency' || separation < LEAST_SATURATED) return [];
  const explainedMs = (at: number) => (exposed(at) ? excessMs[at]! : 0);
  return [{ ...named, exposed, explainedMs, figures, separation, preference: CONSTANT_PREFERENCE }];
}

/** What a series can show; null for nothing that an explanation uses. */
export function kindOf({ name, metric, kind }: Omit<SeenSeries, 'values'>): CauseKind | null {
  if (name === READY || name === DESIRED) return 'replicas';
  if (name === CORES) return 'cpu';
  const resource = RESOURCES.find((each) => each.name.test(name));
  const names = `${name} ${metric}`;
  const isTime = kind !== 'counter' && TIME.test(names) && !OWN_TIME.test(names);
  return resource?.kind ?? (isTime ? 'dependency' : null);
}

/** From which value on a series is high. */
function isHighIn({ name, values }: SeenSeries): (value: number) => boolean {
  const resource = RESOURCES.find((each) => each.name.test(name));
  if (resource !== undefined) return (value) => value >= resource.limit;
  const known = values.map(({ value }) => value);
  const cores = Math.round(percentileOf(known, 90) ?? 0);
  if (name === CORES) return (value) => cores > 0 && Math.abs(value - cores) <= WHOLE_CORES * cores;
  const usual = percentileOf(known, 20) ?? 0;
  return (value) => value > LEAST_TIMES_HIGHER * usual;
}

/** Replicas that were missing while requests were slow: fewer than desired, or fewer than there were later. */
export function replicaCauses(evidence: Evidence, series: readonly SeenSeries[]): Candidate[] {
  const ready = series.find(({ name }) => name === READY)?.values ?? [];
  const desired = series.find(({ name }) => name === DESIRED)?.values ?? [];
  const most = mostOf(ready);
  const begins = Float64Array.from(desired, ({ fromMs }) => fromMs);
  const desiredAt = (instant: number) => desired[countBelow(begins, instant + 1) - 1]?.value ?? 0;
  const firstSlowMs = evidence.requests[evidence.slow[0] ?? 0]?.sentMs ?? 0;
  const missing = ready.filter(
    ({ fromMs, toMs, value }) => value < desiredAt(fromMs) || (value < most && toMs > firstSlowMs),
  );
  if (missing.length === 0) return [];
  const readyAgain = ready.find(({ fromMs, value }) => fromMs > firstSlowMs && value === most);
  const figures = {
    leastReady: missing.reduce((least, { value }) => Math.min(least, value), most),
    mostReady: most,
    mostDesired: desired.length === 0 ? null : mostOf(desired),
    firstSlowS: firstSlowMs / 1e3,
    readyS: readyAgain === undefined ? null : readyAgain.fromMs / 1e3,
  };
  return exposedTo(evidence, { kind: 'replicas', subject: null }, missing, figures);
}
