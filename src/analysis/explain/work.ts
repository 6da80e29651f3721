import type { NamedCause } from '../../documents/explanation.ts';
import { type Server, serve, serverOf } from '../stats/queues.ts';
import {
  type Candidate,
  type Evidence,
  groupsOf,
  LEAST_SEPARATION,
  medianOf,
  percentileOf,
  thresholdOf,
} from './evidence.ts';
import type { ExplainedRequest } from './requests.ts';

/** The target as a queue that explains how long its answers took. */
export interface FittedQueue {
  readonly server: Server;
  /** Places of the answered requests, in the order of the server's works. */
  readonly places: readonly number[];
  /** By the place of a request. */
  readonly waitMs: Float64Array;
}

/** Fewer answers do not show a queue. */
const LEAST_ANSWERS = 50;
/** The rank correlation that a queue may leave between the work of a request and the number in flight. */
const MOST_DEPENDENCE = 0.25;

/** Null if no queue explains the answers. */
export function fittedQueue({ requests, timed }: Evidence): FittedQueue | null {
  if (timed.length < LEAST_ANSWERS) return null;
  const served = servedOf(requests, timed);
  const server = serverOf(served);
  if (Math.abs(server.dependence) > MOST_DEPENDENCE) return null;
  const waitMs = new Float64Array(requests.length);
  for (const [index, at] of timed.entries())
    waitMs[at] = Math.max(0, served.latencies[index]! - Math.max(0, server.works[index]!));
  return { server, places: timed, waitMs };
}

function servedOf(requests: readonly ExplainedRequest[], places: readonly number[]) {
  const sentMs = (at: number) => requests[at]!.sentMs ?? requests[at]!.plannedMs;
  return {
    arrivals: Float64Array.from(places, sentMs),
    latencies: Float64Array.from(places, (at) => Math.max(0, (requests[at]!.endMs ?? 0) - sentMs(at))),
  };
}

/** A consequence of other causes too: they come first where they explain as much. */
const WAITING_PREFERENCE = 0.8;
/** The requests that found the fewest others in flight show the time without waiting. */
const LEAST_CROWDED_PERCENT = 10;
/** A server that is idle more rarely shows its rate, not how many requests it serves at a time. */
const LEAST_IDLE = 0.1;

/** Requests that found about as many others: at least so many, and at most this share of all. */
const LEAST_OF_CROWD = 20;
const SHARE_OF_CROWD = 0.02;
/** Waits of requests that found as many others differ by this factor. */
const SPREAD = 1.25;
/** How far the fitted number of executors may be from the one by Little's law. */
const MOST_OFF = 1.5;

/**
 * Waiting for other requests: slow requests found more of them in flight than fast ones. It explains the time that is
 * usual for requests that found as many.
 */
export function waitingCause(evidence: Evidence, queue: FittedQueue | null): Candidate[] {
  const { requests, excessMs, targetMs, timed } = evidence;
  const inFlight = (at: number) => requests[at]!.inFlight;
  const from = thresholdOf(evidence, inFlight);
  if (from === null) return [];
  const usualMs = new Float64Array(requests.length);
  const ordered = timed.toSorted((a, b) => inFlight(a) - inFlight(b));
  const size = Math.max(LEAST_OF_CROWD, Math.ceil(SHARE_OF_CROWD * timed.length));
  for (let first = 0; first < ordered.length; first += size) {
    const crowd = ordered.slice(first, first + size);
    const median = medianOf(crowd, (at) => targetMs[at]!) ?? 0;
    for (const at of crowd) usualMs[at] = SPREAD * median;
  }
  const least = percentileOf(timed.map(inFlight), LEAST_CROWDED_PERCENT) ?? 0;
  const alone = timed.filter((at) => inFlight(at) <= least);
  const aloneMs = evidence.targetAt(50, alone);
  const figures = loadFigures(evidence);
  const executors = queue?.server.executors ?? 0;
  const off = executors / (((figures.ratePerSecond ?? 0) * aloneMs) / 1e3);
  const idle = timed.filter((at) => inFlight(at) < executors).length;
  const isKnown = idle >= LEAST_IDLE * timed.length && off <= MOST_OFF && off >= 1 / MOST_OFF;
  const more = {
    figures: { ...figures, fromInFlight: from, executors: isKnown ? executors : null, aloneMs },
    preference: WAITING_PREFERENCE,
  };
  const found = evidence.exposure({ kind: 'waiting', subject: null }, (at) => inFlight(at) >= from, more);
  const explainedMs = (at: number) =>
    inFlight(at) > least ? Math.min(excessMs[at]!, Math.max(0, usualMs[at]! - aloneMs)) : 0;
  return found === null ? [] : [{ ...found, explainedMs }];
}

/** Little's law while requests were slow: in flight = rate × latency. */
function loadFigures({ requests, slow, fast }: Evidence) {
  const [first = 0, last = 0] = [slow[0], slow.at(-1)].map((at) => requests[at ?? 0]?.sentMs ?? 0);
  const sent = requests.filter(({ sentMs, endMs }) => endMs !== null && sentMs! >= first && sentMs! <= last);
  const sumMs = sent.reduce((sum, { sentMs, endMs }) => sum + endMs! - sentMs!, 0);
  const isKnown = last > first;
  return {
    ratePerSecond: isKnown ? (sent.length / (last - first)) * 1e3 : null,
    meanMs: isKnown ? sumMs / sent.length : null,
    meanInFlight: isKnown ? sumMs / (last - first) : null,
    foundInFlight: medianOf(slow, (at) => requests[at]!.inFlight),
    othersFoundInFlight: medianOf(fast, (at) => requests[at]!.inFlight),
  };
}

/** One route, model or client is slow. */
export function groupCauses(evidence: Evidence): Candidate[] {
  const groups = groupsOf(evidence.requests, evidence.slow, LEAST_SEPARATION);
  return groups.flatMap(({ kind, subject, isIn }) => evidence.exposure({ kind, subject }, isIn) ?? []);
}

const SIZES = {
  'request body': ({ requestBytes }: ExplainedRequest) => requestBytes,
  prompt: ({ promptTokens }: ExplainedRequest) => promptTokens,
  output: ({ outputTokens }: ExplainedRequest) => outputTokens,
  'response body': ({ responseBytes }: ExplainedRequest) => responseBytes,
} as const;

/** Large requests or answers are slow. Names come before sizes where both hold for the same requests. */
const SIZE_PREFERENCE = 0.97;

export function sizeCauses(evidence: Evidence): Candidate[] {
  return Object.entries(SIZES).flatMap(([subject, sizeOf]) => {
    const size = (at: number) => sizeOf(evidence.requests[at]!);
    const from = thresholdOf(evidence, size);
    if (from === null) return [];
    const unit = subject.endsWith('body') ? 'fromBytes' : 'fromTokens';
    const exposed = (at: number) => (size(at) ?? -1) >= from;
    const more = { figures: { [unit]: from }, preference: SIZE_PREFERENCE };
    return evidence.exposure({ kind: 'size', subject }, exposed, more) ?? [];
  });
}

/** A cause holds a queue up if without its extra work so much of the waiting would be gone. */
const LEAST_GONE = 0.5;
const LEAST_TIMES_WORK = 3;
/** Groups with a smaller share of the requests are not tried. */
const LEAST_FILLING = 0.05;
const LARGE_PERCENTS = [95, 90, 75, 50];

/**
 * The requests whose work fills the queue in which all wait: by simulating the queue with as much work for them as for
 * the others. Null if they were as slow when recorded, because then the queue is just too small for its load.
 */
export function fillingCause(evidence: Evidence, queue: FittedQueue): Candidate | null {
  const { requests } = evidence;
  const { places } = queue;
  const groups = groupsOf(requests, places, LEAST_FILLING).map((each) => ({ ...each, figures: {} }));
  const bytes = places.map((at) => requests[at]!.requestBytes);
  const sizes = LARGE_PERCENTS.map((percent) => {
    const from = percentileOf(bytes, percent) ?? 0;
    const isIn = (at: number) => requests[at]!.requestBytes >= from;
    return { kind: 'size', subject: 'request body', figures: { fromBytes: from }, isIn } as const;
  });
  const found = [...groups, ...sizes].flatMap((of) => fillingBy(evidence, queue, of) ?? []);
  return found.sort((a, b) => b.separation - a.separation)[0] ?? null;
}

function fillingBy(
  { requests, excessMs }: Evidence,
  { server, places, waitMs }: FittedQueue,
  {
    isIn,
    figures,
    ...named
  }: NamedCause & Pick<Candidate, 'figures'> & { readonly isIn: (at: number) => boolean },
): Candidate | null {
  const works = new Map(places.map((at, index) => [at, Math.max(0, server.works[index]!)]));
  const others = places.filter((at) => !isIn(at));
  // Without others, its work cannot be compared: the run has one route, model or size.
  if (others.length === 0) return null;
  const usual = medianOf(others, (at) => works.get(at)!) ?? 0;
  const recorded = (among: readonly number[]) => medianOf(among, (at) => requests[at]!.recordedMs);
  const inside = places.filter(isIn);
  const timesWork = (medianOf(inside, (at) => works.get(at)!) ?? 0) / Math.max(usual, 1e-3);
  const recordedTimesWork = (recorded(inside) ?? Number.POSITIVE_INFINITY) / (recorded(others) ?? 1e-3);
  if (timesWork < LEAST_TIMES_WORK || recordedTimesWork > timesWork / 2) return null;
  const lighter = Float64Array.from(places, (at) =>
    isIn(at) ? Math.min(usual, works.get(at)!) : works.get(at)!,
  );
  const left = serve(server, servedOf(requests, places).arrivals, (index) => lighter[index]!);
  const leftMs = left.reduce((sum, ms, index) => sum + Math.max(0, ms - lighter[index]!), 0);
  const waitingGone =
    1 -
    leftMs /
      Math.max(
        places.reduce((sum, at) => sum + waitMs[at]!, 0),
        1e-9,
      );
  if (waitingGone < LEAST_GONE) return null;
  return {
    ...named,
    exposed: () => true,
    explainedMs: (at) => Math.min(excessMs[at]!, isIn(at) ? excessMs[at]! : excessMs[at]! * waitingGone),
    figures: { ...figures, timesWork, recordedTimesWork, waitingGone },
    separation: waitingGone,
    preference: 1,
  };
}

const TIMEOUT_PREFERENCE = 0.5;

/** Requests that were never answered, if nothing explains which ones. */
export function timeoutCauses(evidence: Evidence): Candidate[] {
  const { requests, slow, excessMs } = evidence;
  return [...new Set(slow.flatMap((at) => requests[at]!.error ?? []))].map((error) => {
    const exposed = (at: number) => requests[at]!.error === error;
    return {
      ...{ kind: 'refusals', subject: error, exposed, figures: {} },
      explainedMs: (at) => (exposed(at) ? excessMs[at]! : 0),
      separation: evidence.separation(exposed),
      preference: TIMEOUT_PREFERENCE,
    };
  });
}

/** Excesses of a fixed delay are within this share of it, or of twice or three times it. */
const NEAR = 0.15;
const LEAST_NEAR = 0.85;
const MOST_DELAYS = 3;
/** Few requests are late by a part of the delay. */
const MOST_BETWEEN = 0.05;
const DELAY_PREFERENCE = 0.6;

/** Slow requests are late by one fixed time, or a multiple of it, and others not at all: a time-out, and a new try. */
export function fixedDelayCause(evidence: Evidence): Candidate[] {
  const { timed, excessMs, fast } = evidence;
  // Our own time-outs are no answers.
  const slow = evidence.slow.filter((at) => evidence.requests[at]!.error === null);
  const delayMs =
    percentileOf(
      slow.map((at) => excessMs[at]!),
      FIRST_PERCENT,
    ) ?? 0;
  const spreadMs = evidence.targetAt(90, fast) - evidence.targetAt(10, fast);
  if (delayMs < 3 * spreadMs || delayMs === 0) return [];
  const exposed = (at: number) => {
    const times = Math.round(excessMs[at]! / delayMs);
    return times >= 1 && times <= MOST_DELAYS && Math.abs(excessMs[at]! - times * delayMs) <= NEAR * delayMs;
  };
  const near = slow.filter(exposed).length / Math.max(1, slow.length);
  const between = timed.filter((at) => {
    const share = excessMs[at]! / delayMs;
    return share > 0.3 && share < 1 - NEAR;
  }).length;
  if (near < LEAST_NEAR || between > MOST_BETWEEN * slow.length) return [];
  const more = { figures: { delayMs }, preference: DELAY_PREFERENCE };
  return [evidence.exposure({ kind: 'retries', subject: null }, exposed, more)].filter(
    (each) => each !== null,
  );
}

/** Of excesses near a delay and its multiples, this percentile is near the delay itself. */
const FIRST_PERCENT = 30;
