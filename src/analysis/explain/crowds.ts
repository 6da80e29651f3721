import { correlation, foundInFlight, ranksOf } from '../stats/queues.ts';
import { type Candidate, type Evidence, GROUPS, medianOf, percentileOf, thresholdOf } from './evidence.ts';
import type { ExplainedRequest, RequestParts } from './requests.ts';
import { type FittedQueue, servedOf } from './work.ts';

/** A consequence of other causes too: they come first where they explain as much. */
const WAITING_PREFERENCE = 0.8;
/** In one queue for all, requests of the same group wait for each other too. */
const OWN_WAITING_PREFERENCE = 0.75;
/** The requests that found the fewest others in flight show the time without waiting. */
const LEAST_CROWDED_PERCENT = 10;
/** A server that is idle more rarely shows its rate, not how many requests it serves at a time. */
const LEAST_IDLE = 0.1;

/** Requests that found about as many others: at least so many, and at most this share of all. */
const LEAST_OF_CROWD = 20;
const SHARE_OF_CROWD = 0.02;
/** Waits of requests that found as many others differ by this factor. */
const SPREAD = 1.25;
/** Rank correlation, among slow requests, of their time and the number that they found in flight. */
const LEAST_OF_QUEUE = 0.5;
/** How far the fitted number of executors may be from the one by Little's law. */
const MOST_OFF = 1.5;

/**
 * Waiting for other requests: slow requests found more of them in flight than fast ones, and the slowest the most. It
 * explains the time that is usual for requests that found as many. What is slow for another reason lets requests pile
 * up too, but then those that find the most in flight are not the slowest.
 */
export function waitingCauses(evidence: Evidence, queue: FittedQueue | null): Candidate[] {
  const { requests } = evidence;
  return [
    ...waitingCause(evidence, null, (at) => requests[at]!.inFlight, queue),
    // Clients, models and routes may have separate limits or workers.
    ...GROUPS.flatMap((kind) => {
      const found = foundOfSame(requests, kind);
      return found === null ? [] : waitingCause(evidence, `same ${kind}`, (at) => found[at]!, null);
    }),
  ];
}

/** How many of the same group each request finds in flight; null if there is only one group. */
function foundOfSame(
  requests: readonly ExplainedRequest[],
  kind: (typeof GROUPS)[number],
): Float64Array | null {
  const groups = Map.groupBy(requests.keys(), (at) => requests[at]![kind]);
  if (groups.size < 2) return null;
  const found = new Float64Array(requests.length);
  for (const places of groups.values()) {
    const ofGroup = foundInFlight(servedOf(requests, places));
    for (const [index, at] of places.entries()) found[at] = ofGroup[index]!;
  }
  return found;
}

function waitingCause(
  evidence: Evidence,
  subject: string | null,
  inFlight: Value,
  queue: FittedQueue | null,
): Candidate[] {
  const { excessMs, targetMs, timed, slow, fast } = evidence;
  const from = thresholdOf(evidence, inFlight);
  const grows = correlationOf(slow, (at) => targetMs[at]!, inFlight);
  if (from === null || grows < LEAST_OF_QUEUE) return [];
  const ordered = timed.toSorted((a, b) => inFlight(a) - inFlight(b));
  const usualMs = usualOf(ordered, (at) => targetMs[at]!, targetMs.length);
  const least = percentileOf(timed.map(inFlight), LEAST_CROWDED_PERCENT) ?? 0;
  const alone = timed.filter((at) => inFlight(at) <= least);
  const aloneMs = evidence.targetAt(50, alone);
  const figures = loadFigures(evidence);
  const executors = queue?.server.executors ?? 0;
  const off = executors / (((figures.ratePerSecond ?? 0) * aloneMs) / 1e3);
  const idle = timed.filter((at) => inFlight(at) < executors).length;
  const isKnown = idle >= LEAST_IDLE * timed.length && off <= MOST_OFF && off >= 1 / MOST_OFF;
  const more = {
    figures: {
      ...figures,
      foundInFlight: medianOf(slow, inFlight),
      othersFoundInFlight: medianOf(fast, inFlight),
      ...{ fromInFlight: from, executors: isKnown ? executors : null, aloneMs },
    },
    preference: subject === null ? WAITING_PREFERENCE : OWN_WAITING_PREFERENCE,
  };
  const found = evidence.exposure({ kind: 'waiting', subject }, (at) => inFlight(at) >= from, more);
  const explainedMs = (at: number) =>
    inFlight(at) > least ? Math.min(excessMs[at]!, Math.max(0, SPREAD * usualMs[at]! - aloneMs)) : 0;
  return found === null ? [] : [{ ...found, explainedMs }];
}

type Value = (at: number) => number;

/** Rank correlation of two values of these requests. */
function correlationOf(places: readonly number[], a: Value, b: Value): number {
  return correlation(ranksOf(Float64Array.from(places, a)), ranksOf(Float64Array.from(places, b)));
}

function crowdSize(requests: number): number {
  return Math.max(LEAST_OF_CROWD, Math.ceil(SHARE_OF_CROWD * requests));
}

/** By the place of a request: the median time of requests with about as many others in flight. */
function usualOf(ordered: readonly number[], msAt: (at: number) => number, requests: number): Float64Array {
  const usualMs = new Float64Array(requests);
  const size = crowdSize(ordered.length);
  for (let first = 0; first < ordered.length; first += size) {
    const crowd = ordered.slice(first, first + size);
    const median = medianOf(crowd, msAt) ?? 0;
    for (const at of crowd) usualMs[at] = median;
  }
  return usualMs;
}

/**
 * Rate, latency and requests in flight while requests were slow. A backlog that grows is still open at the end of that
 * time, so that its in-flight is less than rate × latency.
 */
function loadFigures({ requests, slow }: Evidence) {
  const [first = 0, last = 0] = [slow[0], slow.at(-1)].map((at) => requests[at ?? 0]?.sentMs ?? 0);
  const sent = requests.filter(({ sentMs, endMs }) => endMs !== null && sentMs! >= first && sentMs! <= last);
  const sumMs = sent.reduce((sum, { sentMs, endMs }) => sum + endMs! - sentMs!, 0);
  const openMs = requests.reduce((sum, { sentMs, endMs }) => {
    if (sentMs === null || endMs === null) return sum;
    return sum + Math.max(0, Math.min(last, endMs) - Math.max(first, sentMs));
  }, 0);
  const isKnown = last > first;
  return {
    ratePerSecond: isKnown ? (sent.length / (last - first)) * 1e3 : null,
    meanMs: isKnown ? sumMs / sent.length : null,
    meanInFlight: isKnown ? openMs / (last - first) : null,
  };
}

/** A time that is made of equal parts: from one token to the next, or of the time that was recorded. */
interface Pace {
  readonly subject: string | null;
  /** How many parts a request has; 0 if that is unknown. */
  readonly partsOf: (request: ExplainedRequest) => number;
  readonly msOf: (parts: RequestParts) => number;
}

const hasTokens = ({ parts }: ExplainedRequest) => (parts?.tokenTimes ?? 0) > 0;
const PACES: readonly Pace[] = [
  {
    subject: 'tokens',
    partsOf: ({ parts }) => parts?.tokenTimes ?? 0,
    msOf: ({ targetMs, firstMs }) => targetMs - firstMs,
  },
  {
    subject: null,
    partsOf: (request) => (hasTokens(request) ? 0 : (request.recordedMs ?? 0)),
    msOf: ({ targetMs }) => targetMs,
  },
  { subject: null, partsOf: (request) => Number(!hasTokens(request)), msOf: ({ targetMs }) => targetMs },
];

/** Fewer requests do not show how a pace depends on the others in flight. */
const LEAST_PACED = 60;
/** Rank correlation of both, for all requests, and for the third of them with the most others. */
const LEAST_CORRELATION = 0.7;
const LEAST_OF_CROWDED = 0.8;
const LEAST_SLOWER = 1.5;

/**
 * Requests in flight that are served together, each slower the more there are: sequences in a batch, or threads on the
 * same processors. What is slow for another reason piles requests up too, but among those a further one costs no time.
 */
export function sharingCauses(evidence: Evidence): Candidate[] {
  return PACES.flatMap((pace) => sharingCause(evidence, pace) ?? []);
}

function sharingCause(evidence: Evidence, { subject, partsOf, msOf }: Pace): Candidate | null {
  const { requests, timed, targetMs, excessMs } = evidence;
  const places = timed.filter((at) => partsOf(requests[at]!) > 0);
  if (places.length < LEAST_PACED) return null;
  const paceMs = (at: number) => Math.min(targetMs[at]!, msOf(requests[at]!.parts!)) / partsOf(requests[at]!);
  const crowd = (at: number) => requests[at]!.meanInFlight;
  const ordered = places.toSorted((a, b) => crowd(a) - crowd(b));
  const usualMs = usualOf(ordered, paceMs, requests.length);
  const half = Math.floor(crowdSize(ordered.length) / 2);
  const [fewest, most] = [ordered.at(half)!, ordered.at(-1 - half)!];
  const [aloneMs, crowdedMs] = [usualMs[fewest]!, usualMs[most]!];
  const crowded = ordered.slice(-Math.floor(ordered.length / 3));
  const separation = correlationOf(ordered, paceMs, crowd);
  if (separation < LEAST_CORRELATION || correlationOf(crowded, paceMs, crowd) < LEAST_OF_CROWDED) return null;
  if (crowdedMs < LEAST_SLOWER * aloneMs) return null;
  const explainedMs = (at: number) => {
    const longerMs = Math.min(paceMs(at), SPREAD * usualMs[at]!) - aloneMs;
    return usualMs[at]! > aloneMs
      ? Math.min(excessMs[at]!, Math.max(0, longerMs * partsOf(requests[at]!)))
      : 0;
  };
  return {
    ...{ kind: 'waiting', subject },
    exposed: (at) => explainedMs(at) > 0 && explainedMs(at) >= excessMs[at]! / 2,
    explainedMs,
    figures: {
      ...loadFigures(evidence),
      fewestInFlight: crowd(fewest),
      mostInFlight: crowd(most),
      ...(subject === null
        ? { timesSlower: crowdedMs / aloneMs }
        : { aloneTokenMs: aloneMs, crowdedTokenMs: crowdedMs }),
    },
    separation,
    preference: subject === null ? WAITING_PREFERENCE : 1,
  };
}
