import type { NamedCause } from '../../documents/explanation.ts';
import { type Server, serve, serverOf } from '../stats/queues.ts';
import {
  type Candidate,
  type Evidence,
  groupsOf,
  LEAST_SEPARATION,
  medianOf,
  percentileOf,
  separationOf,
  thresholdOf,
} from './evidence.ts';
import type { ExplainedRequest } from './requests.ts';
import { KNOWN_PREFERENCE, overlapsMs } from './resources.ts';

type Exposed = Candidate['exposed'];

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

export function servedOf(requests: readonly ExplainedRequest[], places: readonly number[]) {
  const sentMs = (at: number) => requests[at]!.sentMs ?? requests[at]!.plannedMs;
  return {
    arrivals: Float64Array.from(places, sentMs),
    latencies: Float64Array.from(places, (at) => Math.max(0, (requests[at]!.endMs ?? 0) - sentMs(at))),
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

/** Requests of one kind, whose work may be too much. */
interface Work extends NamedCause, Pick<Candidate, 'figures'> {
  readonly isIn: Exposed;
}

function fillingBy(
  { requests, excessMs }: Evidence,
  { server, places, waitMs }: FittedQueue,
  { isIn, figures, ...named }: Work,
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

/** Fewer others that were held up show nothing. */
const LEAST_HELD_UP = 10;
/** Requests that take about as long as others wait with them in the same queue. */
const LEAST_TIMES_HELD = 2;

/**
 * Requests that hold up all others while they are at work until their first token, or their end if they have none: a
 * long prompt that is read in one step, or a lock. Other requests are slow while one of them is at work, and fast before
 * and after.
 */
export function holdingCauses(evidence: Evidence): Candidate[] {
  const { requests, timed, slow } = evidence;
  const sizes = (['request body', 'prompt'] as const).flatMap((subject) => {
    const known = timed.flatMap((at) => SIZES[subject](requests[at]!) ?? []);
    return LARGE_PERCENTS.map((percent) => {
      const from = percentileOf(known, percent) ?? 0;
      const figures = { [subject === 'prompt' ? 'fromTokens' : 'fromBytes']: from };
      const isIn: Exposed = (at) => (SIZES[subject](requests[at]!) ?? -1) >= from;
      return { kind: 'size', subject, figures, isIn } as const;
    });
  });
  const groups = groupsOf(requests, timed, 0).map((each) => ({ ...each, figures: {} }));
  return slow.length < LEAST_HELD_UP
    ? []
    : [...groups, ...sizes].flatMap((each) => holdingBy(evidence, each) ?? []);
}

function holdingBy(evidence: Evidence, { isIn, figures, ...named }: Work): Candidate | null {
  const { requests, timed, excessMs, slow, fast } = evidence;
  const untilMs = ({ firstTokenMs, endMs }: ExplainedRequest) => firstTokenMs ?? endMs ?? 0;
  const tookMs = (at: number) => untilMs(requests[at]!) - requests[at]!.sentMs!;
  const inside = timed.filter(isIn);
  const isOther: Exposed = (at) => !isIn(at);
  const [slowOthers, fastOthers] = [slow.filter(isOther), fast.filter(isOther)];
  if (inside.length === 0 || slowOthers.length < LEAST_HELD_UP) return null;
  const medianMs = medianOf(inside, tookMs) ?? 0;
  const othersMedianMs = medianOf(timed.filter(isOther), tookMs) ?? 0;
  if (medianMs < LEAST_TIMES_HELD * othersMedianMs) return null;
  const periods: { fromMs: number; toMs: number }[] = [];
  for (const at of inside) {
    const [fromMs, toMs] = [requests[at]!.sentMs!, untilMs(requests[at]!)];
    const last = periods.at(-1);
    if (last !== undefined && fromMs <= last.toMs) last.toMs = Math.max(last.toMs, toMs);
    else periods.push({ fromMs, toMs });
  }
  const overlaps = overlapsMs(evidence, periods);
  const isHeldUp = evidence.metEnough(overlaps);
  return {
    ...named,
    exposed: (at) => isIn(at) || isHeldUp(at),
    explainedMs: (at) => (isIn(at) ? excessMs[at]! : Math.min(excessMs[at]!, overlaps[at]!)),
    figures: {
      requests: inside.length,
      medianMs,
      othersMedianMs,
      heldUp: slowOthers.filter(isHeldUp).length,
      ...figures,
    },
    separation: separationOf(slowOthers, fastOthers, isHeldUp),
    preference: 1,
  };
}

/** Choosing an open connection rarely takes longer than this. */
const LEAST_OPENING_MS = 0.15;

/** Requests that opened a connection are answered late, others are not. */
export function openingCause(evidence: Evidence): Candidate[] {
  const openedMs = (at: number) => evidence.requests[at]!.openedMs ?? 0;
  const from = Math.max(LEAST_OPENING_MS, thresholdOf(evidence, openedMs) ?? Number.POSITIVE_INFINITY);
  const named = { kind: 'connecting', subject: 'new connections' } as const;
  const more = { preference: KNOWN_PREFERENCE };
  const found = evidence.exposure(named, (at) => openedMs(at) >= from, more);
  return found === null ? [] : [found];
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
const DELAY_PREFERENCE = 0.5;

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
