import { countBelow, type Server, serve, serverOf } from '../stats/queues.ts';
import { type Candidate, type Evidence, GROUPS, namesOf, percentileOf } from './evidence.ts';
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
/** A request waited if it did for this share of its excess. */
const MOST_OF = 0.5;
const LEAST_IDLE = 0.1;

/** Waiting for other requests: by a fitted queue, else because slow requests found more requests in flight. */
export function waitingCauses(evidence: Evidence, queue: FittedQueue | null): Candidate[] {
  const { requests, excessMs, timed } = evidence;
  const inFlight = (at: number) => requests[at]!.inFlight;
  const named = { kind: 'waiting', subject: null } as const;
  const figures = loadFigures(evidence);
  const found = thresholdOf(evidence, inFlight);
  const byNumber =
    found === null
      ? null
      : evidence.exposure(named, (at) => inFlight(at) >= found, {
          figures: { ...figures, executors: null, fromInFlight: found },
          preference: WAITING_PREFERENCE,
        });
  const candidates = byNumber === null ? [] : [byNumber];
  // Requests of a queue waited because they found others there, whoever they are.
  if (queue === null || (found === null && evidence.fast.length > 0)) return candidates;
  const { waitMs, server } = queue;
  // A server that is never idle shows its rate, not how many requests it serves at a time.
  const idle = timed.filter((at) => inFlight(at) < server.executors).length / timed.length;
  const isKnown = idle >= LEAST_IDLE;
  const exposed = (at: number) => waitMs[at]! > 0 && waitMs[at]! >= MOST_OF * excessMs[at]!;
  const waits = timed.filter(exposed).map((at) => waitMs[at]!);
  candidates.push({
    ...named,
    exposed,
    explainedMs: (at) => (isKnown ? Math.min(excessMs[at]!, waitMs[at]!) : exposed(at) ? excessMs[at]! : 0),
    figures: {
      ...figures,
      executors: isKnown ? server.executors : null,
      medianWaitMs: percentileOf(waits, 50),
      requests: waits.length,
    },
    separation: evidence.separation(exposed),
    preference: WAITING_PREFERENCE,
  });
  return candidates;
}

/** Little's law while requests were slow: in flight = rate × latency. */
function loadFigures({ requests, slow, fast }: Evidence) {
  const first = requests[slow[0] ?? 0]?.sentMs ?? 0;
  const last = requests[slow.at(-1) ?? 0]?.sentMs ?? 0;
  let [count, sumMs] = [0, 0];
  for (const { sentMs, endMs } of requests) {
    if (sentMs === null || endMs === null || sentMs < first || sentMs > last) continue;
    count += 1;
    sumMs += endMs - sentMs;
  }
  const ratePerSecond = last > first ? (count / (last - first)) * 1e3 : null;
  const meanMs = count === 0 ? null : sumMs / count;
  const median = (places: readonly number[]) =>
    percentileOf(
      places.map((at) => requests[at]!.inFlight),
      50,
    );
  return {
    ratePerSecond,
    meanMs,
    meanInFlight: ratePerSecond === null || meanMs === null ? null : (ratePerSecond * meanMs) / 1e3,
    foundInFlight: median(slow),
    othersFoundInFlight: median(fast),
  };
}

/** One route, model or client is slow. */
export function groupCauses(evidence: Evidence): Candidate[] {
  return GROUPS.flatMap((kind) =>
    namesOf(evidence.requests, evidence.slow, kind).flatMap((subject) => {
      const exposed = (at: number) => evidence.requests[at]![kind] === subject;
      return evidence.exposure({ kind, subject }, exposed) ?? [];
    }),
  );
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

const THRESHOLDS = 64;
/** A threshold is the best of many, so it must separate better than a name. */
const LEAST_OF_THRESHOLD = 0.4;
const LEAST_KNOWN = 0.9;

/** The value from which on requests are slow; null if it hardly separates slow requests from fast ones. */
function thresholdOf({ slow, fast }: Evidence, sizeAt: (at: number) => number | null): number | null {
  const known = (places: readonly number[]) =>
    Float64Array.from(places.flatMap((at) => sizeAt(at) ?? [])).sort();
  const [ofSlow, ofFast] = [known(slow), known(fast)];
  if (ofSlow.length <= LEAST_KNOWN * slow.length || ofFast.length <= LEAST_KNOWN * fast.length) return null;
  let [best, from] = [LEAST_OF_THRESHOLD, null as number | null];
  for (let step = 0; step < THRESHOLDS; step += 1) {
    const value = ofSlow[Math.floor((step * ofSlow.length) / THRESHOLDS)]!;
    const separation = countBelow(ofFast, value) / ofFast.length - countBelow(ofSlow, value) / ofSlow.length;
    if (separation > best) [best, from] = [separation, value];
  }
  return from;
}

/** A cause holds a queue up if without its extra work so much of the waiting would be gone. */
const LEAST_GONE = 0.5;
const LEAST_TIMES_WORK = 3;

/**
 * The requests whose work fills the queue in which all wait: by simulating the queue with as much work for them as for
 * the others. Null if they were as slow when recorded, because then the queue is just too small for its load.
 */
export function fillingCause(evidence: Evidence, { server, places, waitMs }: FittedQueue): Candidate | null {
  const { requests, excessMs } = evidence;
  const works = server.works.map((work) => Math.max(0, work));
  const arrivals = servedOf(requests, places).arrivals;
  const totalWait = places.reduce((sum, at) => sum + waitMs[at]!, 0);
  const medianIn = (values: (index: number) => number | null, isIn: (at: number) => boolean) =>
    percentileOf(
      places.flatMap((at, index) => (isIn(at) ? (values(index) ?? []) : [])),
      50,
    );
  let best: Candidate | null = null;
  for (const kind of GROUPS) {
    for (const subject of namesOf(requests, places, kind)) {
      const isIn = (at: number) => requests[at]![kind] === subject;
      const ratioOf = (values: (index: number) => number | null) => {
        const [inside, outside] = [medianIn(values, isIn), medianIn(values, (at) => !isIn(at))];
        return inside === null || outside === null ? null : inside / Math.max(outside, 1e-3);
      };
      const times = ratioOf((index) => works[index]!) ?? 0;
      const recordedTimes = ratioOf((index) => requests[places[index]!]!.recordedMs);
      if (times < LEAST_TIMES_WORK || recordedTimes === null || recordedTimes > times / 2) continue;
      const usual =
        medianIn(
          (index) => works[index]!,
          (at) => !isIn(at),
        ) ?? 0;
      const lighter = (index: number) =>
        isIn(places[index]!) ? Math.min(usual, works[index]!) : works[index]!;
      const left = serve(server, arrivals, lighter).map((ms, index) => Math.max(0, ms - lighter(index)));
      const gone = 1 - left.reduce((sum, ms) => sum + ms, 0) / Math.max(totalWait, 1e-9);
      if (gone < Math.max(LEAST_GONE, best?.separation ?? 0)) continue;
      best = {
        ...{ kind, subject },
        exposed: () => true,
        explainedMs: (at) => Math.min(excessMs[at]!, waitMs[at]! * gone + (isIn(at) ? excessMs[at]! : 0)),
        figures: { timesWork: times, recordedTimesWork: recordedTimes, waitingGone: gone },
        separation: gone,
        preference: 1,
      };
    }
  }
  return best;
}

/** Opening a connection on one host takes longer than this; choosing an open one does not. */
const LEAST_OPENING_MS = 0.15;

/** Requests that opened a connection are slow to be answered, others are not: the target takes few connections. */
export function openingCause(evidence: Evidence): Candidate[] {
  const exposed = (at: number) => (evidence.requests[at]!.openedMs ?? 0) >= LEAST_OPENING_MS;
  const named = { kind: 'connecting', subject: 'new connections' } as const;
  return [evidence.exposure(named, exposed)].filter((each) => each !== null);
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
