/** Requests in the order of their arrival, with the time until the end of each answer. Any unit of time. */
export interface Served {
  readonly arrivals: Float64Array;
  readonly latencies: Float64Array;
}

/** A server that explains how long answers took. */
export interface Server {
  /** How many requests are served at full speed at the same time. */
  readonly executors: number;
  /** Whether more requests than executors are served at the same time, each slower, instead of waiting for their turn. */
  readonly isShared: boolean;
  /** How long each request takes without others. */
  readonly works: Float64Array;
  /**
   * Rank correlation between the work of a request and the number in flight at its arrival. It is near 0 for a server
   * that explains the run: negative for too few executors, positive for too many.
   */
  readonly dependence: number;
}

/** The times at which executors become free, in a binary heap. */
export class Executors {
  readonly #freeAt: Float64Array;

  constructor(count: number) {
    this.#freeAt = new Float64Array(count).fill(Number.NEGATIVE_INFINITY);
  }

  /** When the first executor is free. */
  get firstFree(): number {
    return this.#freeAt[0]!;
  }

  /** Makes the first free executor busy until this time. */
  busyUntil(end: number): void {
    const heap = this.#freeAt;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child += 1;
      if (child >= heap.length || heap[child]! >= end) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = end;
  }
}

/** Latencies minus the waiting time with this many executors. Negative if an answer came before its turn. */
export function servicesOf({ arrivals, latencies }: Served, executors: number): Float64Array {
  const pool = new Executors(executors);
  return arrivals.map((arrival, at) => {
    const start = Math.max(arrival, pool.firstFree);
    const end = arrival + latencies[at]!;
    pool.busyUntil(Math.max(start, end));
    return end - start;
  });
}

/** The work of requests that share executors: the time in flight, less if more requests than executors are in flight. */
function sharesOf({ arrivals, latencies }: Served, executors: number): Float64Array {
  const works = new Float64Array(arrivals.length);
  const ends = arrivals.map((arrival, at) => arrival + latencies[at]!);
  const byEnd = Uint32Array.from(ends.keys()).sort((a, b) => ends[a]! - ends[b]!);
  let [done, now, inFlight, arrived] = [0, 0, 0, 0];
  const workUntil = (instant: number) => {
    done += (instant - now) * Math.min(1, executors / Math.max(1, inFlight));
    now = instant;
  };
  for (const at of byEnd) {
    for (; arrived < arrivals.length && arrivals[arrived]! <= ends[at]!; arrived++) {
      workUntil(arrivals[arrived]!);
      works[arrived] = -done;
      inFlight += 1;
    }
    workUntil(ends[at]!);
    works[at]! += done;
    inFlight -= 1;
  }
  return works;
}

/** If more answers than this share come before their turn, requests do not wait for their turn. */
const MOST_BEFORE_TURN = 0.01;
/** The correlation of independent values exceeds this divided by √n once in a hundred times. */
const CHANCE = 2.58;
/** Executors that are not shared explain the run up to this dependence. Beyond it, shared ones are tried too. */
const EXPLAINED = 0.1;

/**
 * Finds the server that explains the run. For each number of executors, the time that a request waited for others is
 * subtracted from its latency. With the right number, the rest does not depend on how many requests were in flight.
 */
export function serverOf(served: Served): Server {
  const inFlight = foundInFlight(served);
  // One more than were ever in flight is as many as there are requests: none waits, in other replays neither.
  const needed = inFlight.reduce((max, each) => Math.max(max, each), 0) + 1;
  const ranks = ranksOf(inFlight);
  const candidate = (isShared: boolean, executors: number): Server => {
    const works = isShared ? sharesOf(served, executors) : servicesOf(served, executors);
    const early = works.reduce((count, work) => count + (work < 0 ? 1 : 0), 0);
    const dependence = early > MOST_BEFORE_TURN * works.length ? -1 : correlation(ranksOf(works), ranks);
    return { executors, isShared, works, dependence };
  };
  const inTurn = leastDependent((executors) => candidate(false, executors), needed, served.arrivals.length);
  if (Math.abs(inTurn.dependence) <= EXPLAINED) return inTurn;
  const shared = leastDependent((executors) => candidate(true, executors), needed, served.arrivals.length);
  return Math.abs(shared.dependence) < Math.abs(inTurn.dependence) ? shared : inTurn;
}

/**
 * Dependence grows with the number of executors, so the one where it changes its sign is found by bisection. If that of
 * the most may be chance, no request waited.
 */
function leastDependent(candidate: (executors: number) => Server, needed: number, enough: number): Server {
  let [low, high] = [1, needed - 1];
  let best = candidate(enough);
  if (Math.abs(best.dependence) <= CHANCE / Math.sqrt(best.works.length)) return best;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const each = candidate(middle);
    if (Math.abs(each.dependence) < Math.abs(best.dependence)) best = each;
    if (each.dependence < 0) low = middle + 1;
    else high = middle;
  }
  return best;
}

/**
 * The latencies of requests that arrive at these instants and find the server idle at first.
 * @param workOf draws the work of each request, in the order of arrival
 */
export function serve(
  { executors, isShared }: Pick<Server, 'executors' | 'isShared'>,
  arrivals: Float64Array,
  workOf: (at: number) => number,
): Float64Array {
  if (isShared) return serveShared(executors, arrivals, workOf);
  const pool = new Executors(executors);
  return arrivals.map((arrival, at) => {
    const end = Math.max(arrival, pool.firstFree) + workOf(at);
    pool.busyUntil(end);
    return end - arrival;
  });
}

function serveShared(
  executors: number,
  arrivals: Float64Array,
  workOf: (at: number) => number,
): Float64Array {
  const latencies = new Float64Array(arrivals.length);
  // Requests in flight by the work after which they end, the next one last.
  const endsAfter = new Float64Array(arrivals.length);
  const requests = new Uint32Array(arrivals.length);
  let [inFlight, done, now] = [0, 0, 0];
  const workUntil = (instant: number) => {
    while (inFlight > 0) {
      const speed = Math.min(1, executors / inFlight);
      const end = now + (endsAfter[inFlight - 1]! - done) / speed;
      if (end > instant) {
        done += (instant - now) * speed;
        break;
      }
      inFlight -= 1;
      now = end;
      done = endsAfter[inFlight]!;
      latencies[requests[inFlight]!] = now - arrivals[requests[inFlight]!]!;
    }
    now = instant;
  };
  for (const [request, arrival] of arrivals.entries()) {
    workUntil(arrival);
    const end = done + workOf(request);
    let [low, high] = [0, inFlight];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (endsAfter[middle]! > end) low = middle + 1;
      else high = middle;
    }
    endsAfter.copyWithin(low + 1, low, inFlight);
    requests.copyWithin(low + 1, low, inFlight);
    endsAfter[low] = end;
    requests[low] = request;
    inFlight += 1;
  }
  workUntil(Number.POSITIVE_INFINITY);
  return latencies;
}

/** How many requests each request finds in flight. */
export function foundInFlight({ arrivals, latencies }: Served): Float64Array {
  const ends = arrivals.map((arrival, at) => arrival + latencies[at]!).sort();
  let ended = 0;
  return arrivals.map((arrival, before) => {
    while (ended < before && ends[ended]! <= arrival) ended += 1;
    return before - ended;
  });
}

/** How many others are in flight on average while each request is; as many as it finds if it takes no time. */
export function meanOthersInFlight({ arrivals, latencies }: Served): Float64Array {
  const found = foundInFlight({ arrivals, latencies });
  const ends = arrivals.map((arrival, at) => arrival + latencies[at]!);
  const sortedEnds = ends.toSorted();
  // The time in flight of all requests until an instant: that of the arrived ones, less what is left of them then.
  const [arrivedBefore, endedBefore] = [sumsOf(arrivals), sumsOf(sortedEnds)];
  const untilMs = (instant: number) => {
    const [arrived, ended] = [countBelow(arrivals, instant), countBelow(sortedEnds, instant)];
    return arrived * instant - arrivedBefore[arrived]! - (ended * instant - endedBefore[ended]!);
  };
  return found.map((others, at) =>
    latencies[at]! > 0
      ? Math.max(0, (untilMs(ends[at]!) - untilMs(arrivals[at]!)) / latencies[at]! - 1)
      : others,
  );
}

/** The sums of the first values: of none, of one, and so on. */
function sumsOf(values: Float64Array): Float64Array {
  const sums = new Float64Array(values.length + 1);
  for (const [at, value] of values.entries()) sums[at + 1] = sums[at]! + value;
  return sums;
}

/** The rank of each value; equal values have the same rank. */
export function ranksOf(values: Float64Array): Float64Array {
  const sorted = values.toSorted();
  return values.map((value) => countBelow(sorted, value));
}

/** How many of the values in ascending order are below a level. */
export function countBelow(sorted: Float64Array, level: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < level) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Pearson's correlation; 0 if one of both does not vary. */
export function correlation(a: Float64Array, b: Float64Array): number {
  const [meanA, meanB] = [meanOf(a), meanOf(b)];
  let [together, aloneA, aloneB] = [0, 0, 0];
  for (let at = 0; at < a.length; at++) {
    const [ofA, ofB] = [a[at]! - meanA, b[at]! - meanB];
    together += ofA * ofB;
    aloneA += ofA ** 2;
    aloneB += ofB ** 2;
  }
  return aloneA === 0 || aloneB === 0 ? 0 : together / Math.sqrt(aloneA * aloneB);
}

function meanOf(values: Float64Array): number {
  return values.reduce((sum, each) => sum + each, 0) / values.length;
}
