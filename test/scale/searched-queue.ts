import { unseenOverload } from '../../src/analysis/capacity/boundary.ts';
import { type HealthyStep, LittlesLaw } from '../../src/analysis/capacity/early-stop.ts';
import {
  type DueRequest,
  hopelessAtS,
  playQueue,
  type QueueModel,
  uniformBy,
} from '../../src/analysis/capacity/queue-model.ts';
import {
  CapacitySearch,
  type PlayedWindow,
  type SearchEnd,
  type SearchOptions,
} from '../../src/analysis/capacity/search.ts';
import { settlingOf } from '../../src/app/capacity/plan.ts';
import { STEADY_RESIDUAL } from '../../src/app/capacity/step-document.ts';
import { parseObjectives } from '../../src/documents/metrics/objectives.ts';
import { azureArrivalsUs } from '../support/azure-trace.ts';
import { SERVICE_TIMES, type ServiceName, uniform } from '../support/queue-simulator.ts';

/** A case for a capacity search on a virtual clock: traffic, server and objective. */
export interface QueueCase {
  readonly arrivals: 'poisson' | 'azure';
  readonly service: ServiceName;
  readonly executors: number;
  /** Share of the executors' time that the traffic uses at 1x. */
  readonly load: number;
  /** The objective: this percentile is below `limit` mean service times. */
  readonly percent: number;
  readonly limit: number;
  /** The multiplier at which half of the windows pass, so the true capacity. */
  readonly boundary: number;
}

/** As `bruteForce` finds them. */
const BOUNDARIES = [3.530534, 3.755167, 6.445466, 3.036597, 4.955364, 3.420102, 6.316693];

/** Steady and skewed service times, one to eight executors, Poisson arrivals and a recorded trace. */
export const QUEUE_CASES: readonly QueueCase[] = (
  [
    { arrivals: 'poisson', service: 'steady', executors: 4, load: 0.2, percent: 95, limit: 2 },
    { arrivals: 'poisson', service: 'exponential', executors: 1, load: 0.2, percent: 95, limit: 10 },
    { arrivals: 'poisson', service: 'exponential', executors: 4, load: 0.13, percent: 95, limit: 5 },
    { arrivals: 'poisson', service: 'skewed', executors: 8, load: 0.3, percent: 99, limit: 8 },
    { arrivals: 'poisson', service: 'exponential', executors: 4, load: 0.2, percent: 95, limit: 25 },
    { arrivals: 'azure', service: 'steady', executors: 4, load: 0.2, percent: 95, limit: 2 },
    { arrivals: 'azure', service: 'exponential', executors: 4, load: 0.13, percent: 95, limit: 5 },
  ] as const
).map((queue, at) => ({ ...queue, boundary: BOUNDARIES[at]! }));

const NS_PER_S = 1e9;
const MEAN_S = 0.04;
export const WINDOW_S = 20;
const COOL_DOWN_S = 2;
/** The longest settling time of these queues. */
const MOST_SETTLING_S = 4;
/**
 * Time at a load after which the queue is in the steady state of that load. The trace varies over longer periods, so
 * load before a step would not belong to it: with two minutes of the trace before each step, the boundary is 2 % lower.
 */
const STEADY_S: Readonly<Record<QueueCase['arrivals'], number>> = { poisson: 120, azure: WINDOW_S };
const GOAL = 'latency';
const REQUEST_BYTES = 1_000;

export const SEARCH: SearchOptions = {
  goals: [GOAL],
  start: 1,
  floor: 0.1,
  ceiling: 64,
  width: 0.12,
  noise: 0,
  windowSAt: () => WINDOW_S,
  windowsToDecide: 3,
  overheadS: MOST_SETTLING_S + COOL_DOWN_S,
  budgetS: 1_800,
};

const models = new Map<ServiceName, readonly number[]>();
function modelOf({ service, executors }: QueueCase): QueueModel {
  const random = uniform(1);
  const draw = () => Array.from({ length: 20_000 }, () => SERVICE_TIMES[service](random) * MEAN_S);
  const servicesS = models.get(service) ?? draw();
  models.set(service, servicesS);
  return { executors, sizes: [{ upToBytes: Number.POSITIVE_INFINITY, servicesS }] };
}

/** Multiples of the golden ratio modulo 1 are spread evenly: where each step begins in the trace. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/** Arrivals of the trace as shares of its length. */
let trace: readonly number[] | null = null;
function azureShares(): readonly number[] {
  const us = trace === null ? azureArrivalsUs() : [];
  trace ??= us.map((each) => (each - us[0]!) / (us.at(-1)! - us[0]!));
  return trace;
}

/** A schedule at a multiplier, from a position in the recording, which repeats. Poisson arrivals are drawn again. */
function scheduleOf(
  queue: QueueCase,
  multiplier: number,
  seconds: number,
  position: number,
  random: () => number,
): DueRequest[] {
  const recordedPerS = (queue.load * queue.executors) / MEAN_S;
  const schedule: DueRequest[] = [];
  if (queue.arrivals === 'poisson') {
    for (let now = 0; ; ) {
      now -= Math.log(1 - random()) / (recordedPerS * multiplier);
      if (now >= seconds) return schedule;
      schedule.push({ offsetS: now, requestBytes: REQUEST_BYTES });
    }
  }
  const shares = azureShares();
  const lengthS = shares.length / recordedPerS / multiplier;
  for (let at = shares.findIndex((share) => share >= position); ; at++) {
    const round = Math.floor(at / shares.length);
    const offsetS = (shares[at % shares.length]! + round - position) * lengthS;
    if (offsetS >= seconds) return schedule;
    schedule.push({ offsetS, requestBytes: REQUEST_BYTES });
  }
}

/** Variance divided by mean of the counts per second. */
function dispersionOf(schedule: readonly DueRequest[]): number {
  const counts = new Array<number>(Math.ceil(schedule.at(-1)!.offsetS)).fill(0);
  for (const { offsetS } of schedule) counts[Math.floor(offsetS)]! += 1;
  const mean = schedule.length / counts.length;
  return counts.reduce((sum, count) => sum + (count - mean) ** 2, 0) / counts.length / mean;
}

/** The settling time that a search uses for such a server. */
function settlingSOf({ percent, limit }: QueueCase): number {
  return settlingOf(
    { objectives: parseObjectives([`latency: p(${percent})<${limit * MEAN_S * 1e3}`]) },
    WINDOW_S,
  );
}

/** As `CapacityFacts.unseenAt`. */
export function unseenIn(queue: QueueCase, multiplier: number): number {
  return unseenOverload(queue.limit * MEAN_S, settlingSOf(queue), SEARCH.windowSAt(multiplier));
}

export interface PlayedQueue {
  /** Whether each window kept the objective; null if it did only because the queue was still filling. */
  readonly kept: readonly (boolean | null)[];
  readonly hopelessAtS: number | null;
  readonly settlingS: number;
  readonly longS: number;
}

/** Simulates a step after a settling time. Each window is judged by the requests due in it. */
export function playedQueue(
  queue: QueueCase,
  multiplier: number,
  windows: number,
  position: number,
  random: () => number,
  settlingS = settlingSOf(queue),
): PlayedQueue {
  const longS = settlingS + windows * WINDOW_S;
  const schedule = scheduleOf(queue, multiplier, longS, position, random);
  const latencies = playQueue(modelOf(queue), schedule, random);
  const counts = Array.from({ length: windows }, () => ({ all: 0, over: 0 }));
  for (const [at, { offsetS }] of schedule.entries()) {
    const count = counts[Math.floor((offsetS - settlingS) / WINDOW_S)];
    if (count === undefined) continue;
    count.all += 1;
    if (latencies[at]! >= queue.limit * MEAN_S) count.over += 1;
  }
  const healthy: HealthyStep = {
    offeredPerS: schedule.length / longS,
    dispersion: dispersionOf(schedule),
    longestAnswerS: queue.limit * MEAN_S,
  };
  const law = new LittlesLaw(longS * NS_PER_S, healthy.longestAnswerS * NS_PER_S);
  law.add(
    schedule.map(({ offsetS }, at) => ({
      actualOffsetNs: offsetS * NS_PER_S,
      lastByteOffsetNs: (offsetS + latencies[at]!) * NS_PER_S,
    })),
  );
  const isSteady = (law.residual ?? 0) <= STEADY_RESIDUAL;
  return {
    kept: counts.map(({ all, over }) =>
      over <= all * (1 - queue.percent / 100) ? (isSteady ? true : null) : false,
    ),
    hopelessAtS: hopelessAtS(schedule, latencies, healthy),
    settlingS,
    longS,
  };
}

/**
 * Searches the capacity of a queue completely.
 * @param voids the share of windows that are void because of a busy generator
 */
export function searchedQueue(
  queue: QueueCase,
  seed: number,
  voids = 0,
): { readonly search: CapacitySearch; readonly reason: SearchEnd } {
  const random = uniformBy(seed);
  const search = new CapacitySearch(SEARCH);
  const start = random();
  const hiccups = uniformBy(seed + 2 ** 20);
  const shownOf = (kept: boolean | null, endedEarly: boolean) => {
    const isVoid = hiccups() < voids;
    return { ...windowOf(isVoid ? null : kept, endedEarly && !isVoid), isVoid };
  };
  for (;;) {
    const next = search.next();
    if (next.kind === 'done') return { search, reason: next.reason };
    const { multiplier, windows } = next;
    const position = (search.steps.length * GOLDEN + start) % 1;
    const played = playedQueue(queue, multiplier, windows, position, random);
    const whole = played.hopelessAtS === null ? windows : wholeWindows(played.hopelessAtS - played.settlingS);
    const shown = played.kept.slice(0, whole).map((kept) => shownOf(kept, false));
    if (played.hopelessAtS !== null && whole < windows) shown.push(shownOf(false, true));
    search.add({
      multiplier,
      windows: shown,
      spentS: Math.min(played.longS, played.hopelessAtS ?? played.longS) + COOL_DOWN_S,
    });
  }
}

function wholeWindows(seconds: number): number {
  return Math.max(0, Math.floor(seconds / WINDOW_S));
}

function windowOf(kept: boolean | null, endedEarly: boolean): PlayedWindow {
  return {
    kept: { [GOAL]: kept },
    endedEarly,
    isVoid: false,
    isCapped: false,
    lossRatio: 0,
  };
}

/** Whether a window was kept. After such a long time, a growing queue does not matter. */
function isKept(kept: boolean | null): boolean {
  return kept !== false;
}

/** Steps of each brute-force estimate, two windows each. */
const TRIED = 300;
const TRIED_NEAR = [-0.06, -0.03, 0, 0.03, 0.06] as const;

/** The multiplier at which half of the windows pass: bisection, then a line through its neighbours. Takes a minute. */
export function bruteForce(queue: QueueCase): number {
  const random = uniformBy(2 ** 40);
  const shareAt = (multiplier: number, steps: number) => {
    let passed = 0;
    for (let step = 0; step < steps; step++) {
      const { kept } = playedQueue(queue, multiplier, 2, random(), random, STEADY_S[queue.arrivals]);
      passed += kept.filter(isKept).length;
    }
    return passed / (2 * steps);
  };
  let [low, high] = [0.2 / queue.load, 1.5 / queue.load];
  for (let round = 0; round < 6; round++) {
    const middle = Math.sqrt(low * high);
    if (shareAt(middle, 40) > 0.5) low = middle;
    else high = middle;
  }
  const centre = Math.log(low * high) / 2;
  const shares = TRIED_NEAR.map((off) => shareAt(Math.exp(centre + off), TRIED));
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  const slope =
    shares.reduce((sum, share, at) => sum + TRIED_NEAR[at]! * (share - mean), 0) /
    TRIED_NEAR.reduce<number>((sum, off) => sum + off ** 2, 0);
  return Math.exp(centre + (0.5 - mean) / slope);
}
