import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { WindowPercentiles } from '../../src/analysis/stats/percentiles.ts';
import { serve } from '../../src/analysis/stats/queues.ts';
import { Histogram } from '../../src/core/histogram.ts';
import { azureArrivalsUs } from './azure-trace.ts';
import {
  poissonArrivals,
  queueLatencies,
  SERVICE_TIMES,
  type ServiceName,
  uniform,
} from './queue-simulator.ts';
import { sharedData } from './shared-data.ts';

/** Where arrivals come from. `wandering`: another rate each ten seconds, with an IDC(10 s) of 201 at 20 per second. */
export const ARRIVALS = ['poisson', 'azure', 'mooncake', 'servegen', 'wandering'] as const;
type ArrivalsName = (typeof ARRIVALS)[number];

/** Servers, each with a mean work of `load` between two arrivals if all its executors are busy. */
export const TARGETS = [
  'exponential 1',
  'exponential 4',
  'exponential 16',
  'batches of 8',
  'processor sharing',
  'lognormal 4',
  'even 1',
  'even 4',
  '4 lines of 4',
  '8 lines of 4',
] as const;

/**
 * Targets that serve several kinds of requests: a pool for most of them, and other routes beside it. The plan decides
 * the kind of each request. `pool beside fast`: a fifth takes a fifth of the pool's mean work, without a queue. `pool
 * beside slow`: a fifth takes ten times as long, without a queue. `two pools`: two kinds, each with executors of its
 * own. `pool in stages`: one in seven comes to the pool four times and waits elsewhere in between; a few are refused
 * without work.
 */
export const MIXED_TARGETS = ['pool beside fast', 'pool beside slow', 'two pools', 'pool in stages'] as const;
type MixedName = (typeof MIXED_TARGETS)[number];
type TargetName = (typeof TARGETS)[number] | MixedName;

const MOONCAKE = sharedData('mooncake-synthetic/synthetic_trace.jsonl.gz');
const SERVEGEN = sharedData('alibaba-servegen/m-large-derived-arrivals.csv.gz');
const MOST_OF_SERVEGEN = 200_000;

/** Arrivals of public traces in any unit; null if the trace is missing. */
const TRACES: Readonly<Record<'azure' | 'mooncake' | 'servegen', () => Float64Array | null>> = {
  azure: () => Float64Array.from(azureArrivalsUs()),
  mooncake: () => linesOf(MOONCAKE, (line) => (JSON.parse(line) as { readonly timestamp: number }).timestamp),
  servegen: () => {
    const gaps = linesOf(SERVEGEN, (line) => Number.parseInt(line, 10))?.subarray(1, MOST_OF_SERVEGEN);
    let now = 0;
    return gaps?.map((gap) => (now += gap)) ?? null;
  },
};
const TRACES_READ = new Map<string, Float64Array | null>();

function linesOf(path: string | null, read: (line: string) => number): Float64Array | null {
  if (path === null) return null;
  return Float64Array.from(gunzipSync(readFileSync(path)).toString('latin1').trimEnd().split('\n'), read);
}

function wandering(requests: number, random: () => number): Float64Array {
  const draw = () => -20 * Math.log(random());
  let [now, end, rate] = [0, 10, draw()];
  return Float64Array.from({ length: requests }, () => {
    for (;;) {
      const next = now - Math.log(random()) / rate;
      if (next <= end) {
        now = next;
        return now;
      }
      [now, end, rate] = [end, end + 10, draw()];
    }
  });
}

/** The arrivals of one plan, one per unit of time on average; null if the trace is missing or shorter. */
export function planOf(name: ArrivalsName, requests: number, seed: number): Float64Array | null {
  const random = uniform(seed * 7 + 1);
  if (name === 'poisson') return evened(poissonArrivals(requests, 1, random));
  if (name === 'wandering') return evened(wandering(requests, random));
  if (!TRACES_READ.has(name)) TRACES_READ.set(name, TRACES[name]());
  const trace = TRACES_READ.get(name) ?? null;
  if (trace === null || trace.length <= requests) return null;
  const from = Math.floor(random() * (trace.length - requests));
  return evened(trace.subarray(from, from + requests));
}

function evened(arrivals: Float64Array): Float64Array {
  const [first, last] = [arrivals[0]!, arrivals.at(-1)!];
  return arrivals.map((each) => ((each - first) * arrivals.length) / (last - first));
}

/** The kind of each request: the same in each replay of a plan. All are of one kind if the target is not mixed. */
export function kindsOf(plan: Float64Array, target: TargetName): Uint8Array {
  const kinds = new Uint8Array(plan.length);
  const random = uniform(plan.length);
  if (!isMixed(target)) return kinds;
  const shares = target === 'two pools' ? [0.4] : target === 'pool in stages' ? [0.15, 0.04] : [0.2];
  return kinds.map(() => {
    const drawn = random();
    return drawn < shares[0]! ? 1 : drawn < shares[0]! + (shares[1] ?? 0) ? 2 : 0;
  });
}

function isMixed(target: TargetName): target is MixedName {
  return MIXED_TARGETS.some((each) => each === target);
}

/** A stage of a request: work in the pool, or time elsewhere. */
interface Stage {
  readonly isPooled: boolean;
  readonly time: number;
}

function mixedLatencies(
  plan: Float64Array,
  target: MixedName,
  load: number,
  random: () => number,
): Float64Array {
  const kinds = kindsOf(plan, target);
  const pooled = (time: number): Stage => ({ isPooled: true, time });
  const elsewhere = (time: number): Stage => ({ isPooled: false, time });
  const { exponential, steady, skewed } = SERVICE_TIMES;
  if (target === 'two pools') {
    const latencies = new Float64Array(plan.length);
    for (const [kind, share, executors] of [
      [0, 0.6, 4],
      [1, 0.4, 2],
    ] as const) {
      const places = [...plan.keys()].filter((at) => kinds[at] === kind);
      const work = () => (exponential(random) * executors * load) / share;
      const own = queueLatencies(
        Float64Array.from(places, (at) => plan[at]!),
        executors,
        work,
      );
      for (const [nth, at] of places.entries()) latencies[at] = own[nth]!;
    }
    return latencies;
  }
  if (target === 'pool in stages') {
    // A request in stages takes as much of the pool as four others.
    const work = (2 * load) / (0.81 + 4 * 0.15);
    const stages = () => [0, 1, 2, 3].flatMap(() => [pooled(steady(random) * work), elsewhere(1.5 * work)]);
    return stagedLatencies(plan, 2, (at) =>
      kinds[at] === 0
        ? [pooled(steady(random) * work)]
        : kinds[at] === 1
          ? stages()
          : [elsewhere(skewed(random) * 0.05 * work)],
    );
  }
  const work = (4 * load) / 0.8;
  const [factor, draw] = target === 'pool beside fast' ? [0.2, steady] : [10, skewed];
  return stagedLatencies(plan, 4, (at) =>
    kinds[at] === 0 ? [pooled(exponential(random) * work)] : [elsewhere(draw(random) * factor * work)],
  );
}

/** Requests that go through their stages one after the other; the pool serves in the order in which they come to it. */
function stagedLatencies(
  plan: Float64Array,
  executors: number,
  stagesOf: (at: number) => readonly Stage[],
): Float64Array {
  const freeAt = new Float64Array(executors);
  const latencies = new Float64Array(plan.length);
  const due: { now: number; at: number; left: readonly Stage[] }[] = [];
  const insert = (event: (typeof due)[number]) => {
    let place = due.length;
    while (place > 0 && due[place - 1]!.now < event.now) place -= 1;
    due.splice(place, 0, event);
  };
  let arrived = 0;
  while (arrived < plan.length || due.length > 0) {
    if (arrived < plan.length && (due.length === 0 || plan[arrived]! <= due.at(-1)!.now)) {
      insert({ now: plan[arrived]!, at: arrived, left: stagesOf(arrived) });
      arrived += 1;
      continue;
    }
    const { now, at, left } = due.pop()!;
    const [stage, ...rest] = left;
    if (stage === undefined) {
      latencies[at] = now - plan[at]!;
      continue;
    }
    let end = now + stage.time;
    if (stage.isPooled) {
      const first = freeAt.indexOf(Math.min(...freeAt));
      end = Math.max(now, freeAt[first]!) + stage.time;
      freeAt[first] = end;
    }
    insert({ now: end, at, left: rest });
  }
  return latencies;
}

/** One replay of a plan: the latency of each request at an idle server. The seed decides the server. */
export function replayOf(plan: Float64Array, target: TargetName, load: number, seed: number): Float64Array {
  const random = uniform(seed);
  if (isMixed(target)) return mixedLatencies(plan, target, load, random);
  if (target === 'batches of 8') {
    return batchLatencies(plan, 8, (size) => 8 * load * (0.6 + 0.05 * size) * SERVICE_TIMES.steady(random));
  }
  if (target === 'processor sharing') {
    return serve({ executors: 1, isShared: true }, plan, () => SERVICE_TIMES.exponential(random) * load);
  }
  if (target === '4 lines of 4' || target === '8 lines of 4') {
    return linesLatencies(plan, Number(target[0]), 4, random, load);
  }
  const [name = '', executors] = target.split(' ');
  const services: Readonly<Record<string, ServiceName>> = { lognormal: 'skewed', even: 'steady' };
  const draw = SERVICE_TIMES[services[name] ?? 'exponential'];
  return queueLatencies(plan, Number(executors), () => draw(random) * Number(executors) * load);
}

/** Separate queues with the same number of executors. Each request comes to one of them at random. */
function linesLatencies(
  plan: Float64Array,
  lines: number,
  executors: number,
  random: () => number,
  load: number,
): Float64Array {
  const places = Array.from({ length: lines }, (): number[] => []);
  for (const at of plan.keys()) places[Math.floor(random() * lines)]!.push(at);
  const latencies = new Float64Array(plan.length);
  for (const own of places) {
    const arrivals = Float64Array.from(own, (at) => plan[at]!);
    const work = () => SERVICE_TIMES.exponential(random) * lines * executors * load;
    for (const [nth, latency] of queueLatencies(arrivals, executors, work).entries())
      latencies[own[nth]!] = latency;
  }
  return latencies;
}

/** A server that takes all waiting requests at the same time, up to this many, as Triton does. */
function batchLatencies(plan: Float64Array, most: number, timeOf: (size: number) => number): Float64Array {
  const latencies = new Float64Array(plan.length);
  let free = 0;
  for (let from = 0; from < plan.length; ) {
    const start = Math.max(free, plan[from]!);
    let to = from;
    while (to < plan.length && to - from < most && plan[to]! <= start) to += 1;
    free = start + timeOf(to - from);
    for (; from < to; from++) latencies[from] = free - plan[from]!;
  }
  return latencies;
}

/** The true percentiles of a plan: those of the answers of many replays together. */
function truthOf(
  plan: Float64Array,
  target: TargetName,
  load: number,
  replays: number,
  percents: readonly number[],
): number[] {
  const all = new Float64Array(plan.length * replays);
  for (let replay = 0; replay < replays; replay++) {
    all.set(replayOf(plan, target, load, 1e6 + replay), replay * plan.length);
  }
  all.sort();
  return percents.map((percent) => percentileOf(all, percent));
}

/** In how many runs a bound or an interval is what it should be. */
interface BoundCounts {
  readonly percent: number;
  runs: number;
  /** The true percentile is 5 % over the limit, and the run passes. */
  wrong: number;
  /** It is half of the limit, and the run passes. */
  half: number;
  printed: number;
  /** Printed intervals that contain it. */
  holding: number;
  /** Runs that would pass at half of the limit if all of the server were known but its speed. No test can do better. */
  possible: number;
}

interface BoundParts {
  readonly target: TargetName;
  readonly load: number;
  readonly plans: readonly Float64Array[];
}

/**
 * @param runs replays of each plan that are judged
 * @param replays replays of each plan for the truth
 * @param withPossible whether `possible` is counted, which takes most of the time
 */
export function boundCounts(
  parts: BoundParts,
  percents: readonly number[],
  runs: number,
  replays: number,
  withPossible = false,
): BoundCounts[] {
  const { target, load, plans } = parts;
  const none = { runs: 0, wrong: 0, half: 0, printed: 0, holding: 0, possible: 0 };
  const counts = percents.map((percent): BoundCounts => ({ percent, ...none }));
  for (const [at, plan] of plans.entries()) {
    const truths = truthOf(plan, target, load, replays, percents);
    const observed = percents.map((): number[] => []);
    for (let run = 1; run <= runs; run++) {
      const latencies = replayOf(plan, target, load, seedOf(parts, at, run));
      const { whole, times } = measured(plan, latencies, kindsOf(plan, target));
      for (const [nth, count] of counts.entries()) {
        const truth = truths[nth]!;
        const bound = times.upper(count.percent, 0.95, whole.count, whole) / UNIT_NS;
        const interval = times.interval(count.percent, whole);
        observed[nth]!.push((whole.percentile(count.percent) ?? 0) / UNIT_NS);
        count.runs += 1;
        if (bound < truth / 1.05) count.wrong += 1;
        if (bound < truth * 2) count.half += 1;
        if (interval === null) continue;
        count.printed += 1;
        if (interval[0] <= truth * UNIT_NS && truth * UNIT_NS <= interval[1]) count.holding += 1;
      }
    }
    if (!withPossible) continue;
    const fastest = slowerBy(2, { target, load, plan, truths }, percents, replays);
    for (const [nth, count] of counts.entries())
      count.possible += observed[nth]!.filter((each) => each < fastest[nth]!).length;
  }
  return counts;
}

/** Each step makes the server slower by this. */
const STEP = 1.02;

/**
 * Makes a server slower until its percentiles are `times` as long.
 * @returns for each percentile what one run in twenty of that slower server is below
 */
function slowerBy(
  times: number,
  parts: Pick<BoundParts, 'target' | 'load'> & { plan: Float64Array; truths: readonly number[] },
  percents: readonly number[],
  replays: number,
): number[] {
  const { target, load, plan, truths } = parts;
  const found = percents.map(() => Number.POSITIVE_INFINITY);
  for (let factor = STEP; factor < 10 * times && found.includes(Number.POSITIVE_INFINITY); factor *= STEP) {
    const slower = Array.from({ length: replays }, (_, at) =>
      replayOf(plan, target, load * factor, 2e6 + at).sort(),
    );
    const together = Float64Array.from(slower.flatMap((each) => [...each])).sort();
    for (const [nth, percent] of percents.entries()) {
      if (found[nth] !== Number.POSITIVE_INFINITY) continue;
      if (percentileOf(together, percent) < times * truths[nth]!) continue;
      const each = slower.map((run) => percentileOf(run, percent)).sort((a, b) => a - b);
      found[nth] = each[Math.floor(0.05 * replays)]!;
    }
  }
  return found;
}

function percentileOf(ascending: Float64Array, percent: number): number {
  return ascending[Math.ceil((percent / 100) * ascending.length) - 1]!;
}

const UNIT_NS = 1e8;

/** Another one for each case, so that an unlucky draw counts once. */
function seedOf({ target, load, plans }: BoundParts, plan: number, run: number): number {
  const ofCase =
    ([...TARGETS, ...MIXED_TARGETS] as TargetName[]).indexOf(target) + 20 * Math.round(100 * load);
  return plan * 5_000 + run + 100_003 * ofCase + 7_919 * plans[0]!.length;
}

function measured(plan: Float64Array, latencies: Float64Array, kinds: Uint8Array) {
  const [whole, times] = [new Histogram(), new WindowPercentiles()];
  for (const [at, latency] of latencies.entries()) {
    whole.record(Math.round(latency * UNIT_NS));
    times.record(plan[at]! * UNIT_NS, Math.round(latency * UNIT_NS), 1, String(kinds[at]));
  }
  return { whole, times };
}
