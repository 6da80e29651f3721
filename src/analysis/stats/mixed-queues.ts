import {
  correlation,
  Executors,
  foundInFlight,
  ranksOf,
  type Served,
  type Server,
  serve,
  serverOf,
} from './queues.ts';

/** Requests of a run, each with its kind: what is the same in every replay of a plan and may decide how it is served. */
export interface ServedKinds extends Served {
  /** Numbers from 0 on. */
  readonly kinds: Uint8Array;
}

/** How the requests of one kind use a queue. */
interface QueueUse {
  /** How often a request waits for its turn. */
  readonly turns: number;
  /** The share of its work in which it occupies an executor. */
  readonly held: number;
}

/** Requests of a run that share a queue, and no executor with any others. */
export interface Part {
  readonly arrivals: Float64Array;
  readonly server: Pick<Server, 'executors' | 'isShared'>;
  /** How long each of them takes without others. */
  readonly works: Float64Array;
  /** The requests whose works are alike, by their places in this part. */
  readonly groups: readonly Uint32Array[];
  /** For each request; null if all wait once and occupy an executor for their whole work. */
  readonly uses: readonly QueueUse[] | null;
}

/** Queues that explain a run. */
export interface RunQueues {
  readonly parts: readonly Part[];
  readonly explainRun: boolean;
}

/** If the works depend more than this on the number in flight, the server does not explain the run. */
const UNEXPLAINED = 0.1;
/** The correlation of independent values exceeds this divided by √n once in a hundred times. */
const CHANCE = 2.58;
/** Kinds with fewer requests are taken together, because nothing is known of them. */
const LEAST_OF_KIND = 20;
/** The first requests of a run show how kinds use a queue. */
const MOST_FITTED = 4_096;
/** What is tried for kinds that do not occupy an executor for their whole work. */
const HELD = [0.1, 0.2, 0.4, 0.6, 1] as const;
const MOST_TURNS = 8;
/** If a request waits several times, the waits differ. So this share may seem to end before its turns. */
const MOST_BEFORE_TURNS = 0.03;

/**
 * Finds the queues that explain a run. A single queue is tried first. If requests of several kinds use it differently,
 * these are tried, until one explains the works of each kind:
 * - one queue for all kinds whose latencies depend on the number in flight, and none for the others
 * - a queue for each kind
 * - one queue, in which some kinds wait several times, and occupy an executor for a part of their work only
 */
export function queuesOf(served: ServedKinds): RunQueues {
  const run = new KindsOfRun(served);
  const server = serverOf(served);
  const single: RunQueues = {
    parts: [partOf(served, server, [placesOf(served.arrivals.length)])],
    explainRun: Math.abs(server.dependence) <= UNEXPLAINED,
  };
  if (run.places.length < 2 || run.isExplainedBy([server.works], [placesOf(served.arrivals.length)]))
    return single;
  for (const queues of run.candidates()) if (queues !== null) return { parts: queues, explainRun: true };
  return single;
}

/** The latencies of a replay of a part. */
export function servePart(
  { server, arrivals, uses }: Part,
  works: Float64Array,
  factor: number,
): Float64Array {
  if (uses === null) return serve(server, arrivals, (at) => works[at]! * factor);
  const pool = new Executors(server.executors);
  return arrivals.map((arrival, at) => {
    const { turns, held } = uses[at]!;
    const waited = Math.max(0, pool.firstFree - arrival);
    const work = works[at]! * factor;
    if (held > 0) pool.busyUntil(arrival + waited + held * work);
    return turns * waited + work;
  });
}

/** The kinds of requests of a run, the most frequent one first. */
class KindsOfRun {
  /** Which requests are of each kind. */
  readonly places: readonly Uint32Array[];
  readonly #served: Served;
  readonly #inFlight: Float64Array;

  constructor(served: ServedKinds) {
    const byKind = new Map<number, number[]>();
    for (const [at, kind] of served.kinds.entries()) {
      const places = byKind.get(kind);
      if (places === undefined) byKind.set(kind, [at]);
      else places.push(at);
    }
    const all = [...byKind.values()].sort((a, b) => b.length - a.length);
    const rare = all.filter((each) => each.length < LEAST_OF_KIND).flat();
    const kinds = [...all.filter((each) => each.length >= LEAST_OF_KIND), rare.sort((a, b) => a - b)];
    this.places = kinds.filter((each) => each.length > 0).map((each) => Uint32Array.from(each));
    this.#served = served;
    this.#inFlight = foundInFlight(served);
  }

  /** Queues that may explain the run. Null if they do not. */
  *candidates(): Generator<readonly Part[] | null> {
    const free = this.places.filter((each) => this.#excess(this.#latenciesOf(each), each) <= 1);
    const queued = this.places.filter((each) => !free.includes(each));
    const unqueued = free.map((each) => this.#unqueued(each));
    const joint = Uint32Array.from(queued.flatMap((each) => [...each])).sort();
    if (queued.length === 0) {
      yield this.#explaining(unqueued, free);
      return;
    }
    const requests = servedAt(this.#served, joint);
    if (free.length > 0) {
      const part = partOf(requests, serverOf(requests), groupsIn(joint, queued));
      yield this.#explaining([...unqueued, part], [...free, joint]);
    }
    if (queued.length > 1) {
      const own = queued.map((each) => {
        const ofKind = servedAt(this.#served, each);
        return partOf(ofKind, serverOf(ofKind), [placesOf(each.length)]);
      });
      yield this.#explaining([...unqueued, ...own], [...free, ...queued]);
      const part = usedQueue(requests, groupsIn(joint, queued));
      yield part && this.#explaining([...unqueued, part], [...free, joint]);
    }
  }

  /** Whether works depend on the number in flight by chance only, for each kind. */
  isExplainedBy(works: readonly Float64Array[], places: readonly Uint32Array[]): boolean {
    const all = new Float64Array(this.#inFlight.length);
    for (const [nth, own] of places.entries())
      for (const [within, at] of own.entries()) all[at] = works[nth]![within]!;
    return this.places.every((each) => this.#excess(valuesAt(all, each), each) <= 1);
  }

  #explaining(parts: readonly Part[], places: readonly Uint32Array[]): readonly Part[] | null {
    const works = parts.map((part) => part.works);
    return this.isExplainedBy(works, places) ? parts : null;
  }

  #unqueued(places: Uint32Array): Part {
    const requests = servedAt(this.#served, places);
    const server = { executors: places.length, isShared: false, works: requests.latencies };
    return partOf(requests, server, [placesOf(places.length)]);
  }

  #latenciesOf(places: Uint32Array): Float64Array {
    return valuesAt(this.#served.latencies, places);
  }

  /** How much more the works of some requests depend on the number in flight than is explained: above 1, or less. */
  #excess(works: Float64Array, places: Uint32Array): number {
    return excessOf(works, ranksOf(valuesAt(this.#inFlight, places)));
  }
}

/** A dependence, as a multiple of what a server that explains it may leave. */
function excessOf(works: Float64Array, ranks: Float64Array): number {
  return (
    Math.abs(correlation(ranksOf(works), ranks)) / Math.max(UNEXPLAINED, CHANCE / Math.sqrt(works.length))
  );
}

/**
 * One queue that the most frequent kind uses once and with its whole work. For each other kind, in turn, the share of
 * its work and the number of its turns are those that leave the least dependence. Null if none explains the run.
 */
function usedQueue(served: Served, groups: readonly Uint32Array[]): Part | null {
  const first = Math.min(MOST_FITTED, served.arrivals.length);
  const fitted = {
    arrivals: served.arrivals.subarray(0, first),
    latencies: served.latencies.subarray(0, first),
  };
  const fit = new QueueFit(
    fitted,
    groups.map((each) => each.filter((at) => at < first)),
  );
  const found = fit.find();
  if (found === null) return null;
  const { executors, uses } = found;
  const each = usesAt(uses, groups, served.arrivals.length);
  const works = worksOf(served, executors, each);
  return { ...partOf(served, { executors, isShared: false, works }, groups), uses: each };
}

interface Fitted {
  readonly executors: number;
  readonly uses: readonly QueueUse[];
  /** Above 1 if they do not explain the works. */
  readonly excess: number;
}

/** Tries how each kind uses a queue. */
class QueueFit {
  readonly #served: Served;
  readonly #groups: readonly Uint32Array[];
  readonly #ranks: readonly Float64Array[];
  readonly #most: number;

  constructor(served: Served, groups: readonly Uint32Array[]) {
    this.#served = served;
    this.#groups = groups;
    const inFlight = foundInFlight(served);
    this.#ranks = groups.map((each) => ranksOf(valuesAt(inFlight, each)));
    this.#most = inFlight.reduce((max, each) => Math.max(max, each), 0) + 1;
  }

  find(): Fitted | null {
    let best: Fitted | null = null;
    for (let nth = 1; nth < this.#groups.length; nth++) {
      const before: readonly QueueUse[] = best?.uses ?? this.#groups.map(() => ({ turns: 1, held: 1 }));
      const tried: Fitted[] = HELD.map((held) => this.#withUse(before, nth, held));
      best = tried.reduce((least, each) => (each.excess < least.excess ? each : least));
    }
    return best;
  }

  /** More turns are subtracted until the works of the kind do not depend on the number in flight. */
  #withUse(before: readonly QueueUse[], nth: number, held: number): Fitted {
    let best: Fitted | null = null;
    let [low, high] = [1, MOST_TURNS];
    while (low <= high) {
      const turns = Math.floor((low + high) / 2);
      const uses = before.with(nth, { turns, held });
      const executors = this.#executorsOf(uses);
      const dependences = this.#dependences(executors, uses);
      const excess = Math.max(...dependences.map((each, at) => Math.abs(each) / this.#allowed(at)));
      if (best === null || excess < best.excess) best = { executors, uses, excess };
      if (dependences[nth]! > 0) low = turns + 1;
      else high = turns - 1;
    }
    return best!;
  }

  /** With more executors, the works of the most frequent kind depend more on the number in flight. */
  #executorsOf(uses: readonly QueueUse[]): number {
    let [low, high] = [1, this.#most];
    let [best, least] = [1, Number.POSITIVE_INFINITY];
    while (low <= high) {
      const executors = Math.floor((low + high) / 2);
      const dependence = this.#dependences(executors, uses)[0]!;
      if (Math.abs(dependence) < least) [best, least] = [executors, Math.abs(dependence)];
      if (dependence < 0) low = executors + 1;
      else high = executors - 1;
    }
    return best;
  }

  #dependences(executors: number, uses: readonly QueueUse[]): number[] {
    const length = this.#served.arrivals.length;
    const works = worksOf(this.#served, executors, usesAt(uses, this.#groups, length));
    const early = works.reduce((count, work) => count + (work < 0 ? 1 : 0), 0);
    if (early > MOST_BEFORE_TURNS * length) return this.#groups.map(() => -1);
    return this.#groups.map((each, at) => correlation(ranksOf(valuesAt(works, each)), this.#ranks[at]!));
  }

  #allowed(nth: number): number {
    return Math.max(UNEXPLAINED, CHANCE / Math.sqrt(this.#groups[nth]!.length));
  }
}

/** Latencies minus the time for which requests waited. */
function worksOf(
  { arrivals, latencies }: Served,
  executors: number,
  uses: readonly QueueUse[],
): Float64Array {
  const pool = new Executors(executors);
  return arrivals.map((arrival, at) => {
    const { turns, held } = uses[at]!;
    const waited = Math.max(0, pool.firstFree - arrival);
    const work = latencies[at]! - turns * waited;
    if (held > 0) pool.busyUntil(arrival + waited + Math.max(0, held * work));
    return work;
  });
}

function partOf(
  { arrivals }: Served,
  { executors, isShared, works }: Pick<Server, 'executors' | 'isShared' | 'works'>,
  groups: readonly Uint32Array[],
): Part {
  return { arrivals, server: { executors, isShared }, works, groups, uses: null };
}

function usesAt(
  uses: readonly QueueUse[],
  groups: readonly Uint32Array[],
  length: number,
): readonly QueueUse[] {
  const each = new Array<QueueUse>(length);
  for (const [nth, places] of groups.entries()) for (const at of places) each[at] = uses[nth]!;
  return each;
}

/** The places of requests of the run among others in ascending order. */
function groupsIn(all: Uint32Array, places: readonly Uint32Array[]): Uint32Array[] {
  const nth = new Map(Array.from(all, (at, within) => [at, within]));
  return places.map((each) => each.map((at) => nth.get(at)!));
}

function placesOf(count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, at) => at);
}

function servedAt({ arrivals, latencies }: Served, places: Uint32Array): Served {
  return { arrivals: valuesAt(arrivals, places), latencies: valuesAt(latencies, places) };
}

function valuesAt(values: Float64Array, places: Uint32Array): Float64Array {
  return Float64Array.from(places, (at) => values[at]!);
}
