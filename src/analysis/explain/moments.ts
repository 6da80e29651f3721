import { countBelow } from '../stats/queues.ts';
import { type Candidate, type Evidence, groupsOf, medianOf, percentileOf, thresholdOf } from './evidence.ts';
import { overlapsMs, type Period } from './resources.ts';

type Exposed = (at: number) => boolean;

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
const TINY_MS = 1e-6;
const LEAST_PAUSES = 3;
/** Times between periodic pauses are near a multiple of their median, as one may have been missed. */
const NEAR = 0.15;
const LEAST_NEAR = 0.75;

/** Pauses in which the target ended no answer although requests went on to arrive, each until the queue is gone. */
export function stallCauses(evidence: Evidence): Candidate[] {
  const pauses = pausesOf(evidence);
  if (pauses.length === 0) return [];
  const overlaps = overlapsMs(evidence, pauses);
  const exposed = evidence.metEnough(overlaps);
  return [
    {
      ...{ kind: 'stalls', subject: null },
      exposed,
      explainedMs: (at) => Math.min(evidence.excessMs[at]!, overlaps[at]!),
      figures: {
        stalls: pauses.length,
        medianMs: medianOf([...pauses.keys()], (at) => pauses[at]!.pausedMs),
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
  const arrivedBy = (instant: number) => countBelow(arrivals, instant + TINY_MS);
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
const START_PREFERENCE = 1.2;

/**
 * Times in which all requests, or all of one route, model or client, were slow without more load: at the start, later,
 * or from some time on. A queue that grows is none: in it, requests that find as few others in flight are as fast.
 */
export function episodeCauses(evidence: Evidence): Candidate[] {
  const { requests, timed, slow } = evidence;
  const groups = [{ subject: null, isIn: () => true }, ...groupsOf(requests, slow, LEAST_OF_EPISODE)];
  const from = thresholdOf(evidence, (at) => requests[at]!.sentMs);
  const toEnd = { fromMs: from ?? 0, toMs: requests[timed.at(-1) ?? 0]?.sentMs ?? 0 };
  return [
    ...(from === null ? [] : episodeOf(evidence, null, () => true, [toEnd])),
    ...groups.flatMap(({ subject, isIn }) => {
      const periods = slowPeriods(evidence, isIn);
      // The start may be slow, and other times for other reasons.
      return [periods, periods.slice(0, 1)].flatMap((each) => episodeOf(evidence, subject, isIn, each));
    }),
  ];
}

function episodeOf(
  evidence: Evidence,
  subject: string | null,
  isIn: Exposed,
  periods: readonly Period[],
): Candidate[] {
  const { requests, fast } = evidence;
  const timed = evidence.timed.filter(isIn);
  const [firstPeriod, lastPeriod] = [periods[0], periods.at(-1)];
  if (firstPeriod === undefined || lastPeriod === undefined) return [];
  const sentMs = (at: number) => requests[at]!.sentMs ?? 0;
  const ends = Float64Array.from(periods, ({ toMs }) => toMs);
  const within = requests.map(
    (_, at) => (periods[countBelow(ends, sentMs(at))]?.fromMs ?? Infinity) <= sentMs(at),
  );
  const exposed: Exposed = (at) => within[at]! && isIn(at);
  if (evidence.separation(exposed) < LEAST_OF_EPISODE) return [];
  const inside = timed.filter(exposed);
  const runMs = sentMs(timed.at(-1)!) - sentMs(timed[0]!);
  const lengthMs = periods.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0);
  const usualRate = (timed.length - inside.length) / Math.max(1, runMs - lengthMs);
  if (inside.length / Math.max(1, lengthMs) > MOST_TIMES_LOAD * usualRate || lengthMs > MOST_OF_RUN * runMs)
    return [];
  const isApart =
    subject !== null && fast.filter((at) => within[at]! && !isIn(at)).length >= inside.length / 3;
  if (!isApart && !isSlowUncrowded(evidence, inside)) return [];
  const before = timed.filter((at) => sentMs(at) < firstPeriod.fromMs).length;
  const isAtStart = periods.length === 1 && before <= LEAST_UNCROWDED;
  const kind = isAtStart ? 'cold_start' : 'episode';
  const figures = {
    periods: periods.length,
    everyMs: everyMs(periods),
    fromS: firstPeriod.fromMs / 1e3,
    toS: lastPeriod.toMs / 1e3,
  };
  const more = { figures, preference: isAtStart ? START_PREFERENCE : EPISODE_PREFERENCE };
  return [evidence.exposure({ kind, subject }, exposed, more)].filter((each) => each !== null);
}

/** Whether requests take much longer than fast ones that found as many in flight. */
function isSlowUncrowded({ requests, fast, targetMs }: Evidence, places: readonly number[]): boolean {
  const crowds = Map.groupBy(fast, (at) => requests[at]!.inFlight);
  const usual = new Map([...crowds].map(([crowd, of]) => [crowd, medianOf(of, (at) => targetMs[at]!)]));
  const compared = places.filter((at) => usual.has(requests[at]!.inFlight));
  const times = medianOf(
    compared,
    (at) => targetMs[at]! / Math.max(usual.get(requests[at]!.inFlight) ?? 0, 1e-3),
  );
  return compared.length >= LEAST_UNCROWDED && (times ?? 0) >= LEAST_TIMES_SLOWER;
}

/** Of so many requests in a row, this share is slow in a slow time. */
const IN_A_ROW = 9;
const LEAST_SLOW = 0.75;

/** The times in which most requests in a row are slow. */
function slowPeriods({ requests, slow, fast }: Evidence, isIn: Exposed): Period[] {
  const isSlow = new Set(slow);
  const ordered = [...slow, ...fast].filter(isIn).sort((a, b) => a - b);
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
