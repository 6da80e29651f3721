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
type TargetName = (typeof TARGETS)[number];

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

/** One replay of a plan: the latency of each request at an idle server. The seed decides the server. */
export function replayOf(plan: Float64Array, target: TargetName, load: number, seed: number): Float64Array {
  const random = uniform(seed);
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
      const { whole, times } = measured(plan, replayOf(plan, target, load, seedOf(parts, at, run)));
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
  const ofCase = TARGETS.indexOf(target) + 20 * Math.round(100 * load);
  return plan * 5_000 + run + 100_003 * ofCase + 7_919 * plans[0]!.length;
}

function measured(plan: Float64Array, latencies: Float64Array) {
  const [whole, times] = [new Histogram(), new WindowPercentiles()];
  for (const [at, latency] of latencies.entries()) {
    whole.record(Math.round(latency * UNIT_NS));
    times.record(plan[at]! * UNIT_NS, Math.round(latency * UNIT_NS));
  }
  return { whole, times };
}
