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
export type SeenSeries = Pick<MonitoredLine, 'name' | 'metric' | 'kind' | 'source'> & {
  readonly values: readonly (Period & { readonly value: number })[];
};

/** How long each request was in flight in these periods, which are in order and do not overlap. */
export function overlapsMs({ requests }: Evidence, periods: readonly Period[]): Float64Array {
  const ends = Float64Array.from(periods, ({ toMs }) => toMs);
  return Float64Array.from(requests, ({ sentMs, plannedMs, endMs }) => {
    const from = sentMs ?? plannedMs;
    const to = endMs ?? from;
    let sum = 0;
    for (let next = countBelow(ends, from); next < periods.length && periods[next]!.fromMs < to; next += 1)
      sum += Math.min(periods[next]!.toMs, to) - Math.max(periods[next]!.fromMs, from);
    return sum;
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
/** A time, by the name of a series or of its metric. Of the server's own requests it is what is to be explained. */
const TIME = /latency|duration|seconds|time/i;
const OWN_TIME = /server|queue|compute|process|batch|request|e2e|token/i;
const LEAST_TIMES_HIGHER = 3;
/** A resource at its limit for this share of the slow requests explains them, even if it was so all the time. */
const LEAST_SATURATED = 0.8;
/** A known cause that separates slow from fast requests comes before a guess that explains little more. */
const KNOWN_PREFERENCE = 1.3;
/** A process that uses whole processors, within this, has no more of them. */
const WHOLE_CORES = 0.07;

/** Resources of the target that were at their limit, and dependencies that were slow, as monitors saw them. */
export function resourceCauses(evidence: Evidence, series: readonly SeenSeries[]): Candidate[] {
  return series.flatMap((each) => {
    const { kind, isHigh } = limitOf(each) ?? {};
    if (kind === undefined || isHigh === undefined) return [];
    const high = each.values.filter(({ value }) => isHigh(value));
    const figures = { series: each.name, max: high.reduce((most, { value }) => Math.max(most, value), 0) };
    return exposedTo(evidence, { kind, subject: each.name }, high, figures);
  });
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

function limitOf({ name, metric, kind, values }: SeenSeries) {
  const resource = RESOURCES.find((each) => each.name.test(name));
  if (resource !== undefined)
    return { kind: resource.kind, isHigh: (value: number) => value >= resource.limit };
  const at = (percent: number) =>
    percentileOf(
      values.map(({ value }) => value),
      percent,
    ) ?? 0;
  if (name === 'cpu') {
    const cores = Math.round(at(90));
    const isHigh = (value: number) => cores > 0 && Math.abs(value - cores) <= WHOLE_CORES * cores;
    return { kind: 'cpu' as const, isHigh };
  }
  const names = `${name} ${metric}`;
  if (kind === 'counter' || !TIME.test(names) || OWN_TIME.test(names)) return null;
  const usual = at(20);
  return { kind: 'dependency' as const, isHigh: (value: number) => value > LEAST_TIMES_HIGHER * usual };
}

/** Replicas that were missing while requests were slow: fewer than desired, or fewer than there were later. */
export function replicaCauses(evidence: Evidence, series: readonly SeenSeries[]): Candidate[] {
  const ready = series.find(({ name }) => name === 'replicas_ready');
  if (ready === undefined) return [];
  const desired = series.find(({ name }) => name === 'replicas_desired');
  const counts = ready.values.map(({ value }) => value);
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  const desiredAt = (instant: number) =>
    desired?.values.findLast(({ fromMs }) => fromMs <= instant)?.value ?? 0;
  const firstSlowMs = evidence.requests[evidence.slow[0] ?? 0]?.sentMs ?? 0;
  const missing = ready.values.filter(
    ({ fromMs, toMs, value }) => value < desiredAt(fromMs) || (value < most && toMs > firstSlowMs),
  );
  if (missing.length === 0) return [];
  const readyAgain = ready.values.find(({ fromMs, value }) => fromMs > firstSlowMs && value === most);
  const figures = {
    leastReady: least,
    mostReady: most,
    mostDesired: desired === undefined ? null : Math.max(...desired.values.map(({ value }) => value)),
    firstSlowS: firstSlowMs / 1e3,
    readyS: readyAgain === undefined ? null : readyAgain.fromMs / 1e3,
  };
  return exposedTo(evidence, { kind: 'replicas', subject: null }, missing, figures);
}
