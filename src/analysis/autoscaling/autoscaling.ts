import type { Send } from '../../core/run.ts';
import { NS_PER_S } from '../../core/units.ts';
import type { AutoscalingDocument, ElasticityFigures, LoadStep } from '../../documents/autoscaling.ts';
import { factsOf, isOfWholeAnswers } from '../../documents/metrics/metrics.ts';
import type { Objective } from '../../documents/metrics/objectives.ts';
import type { MonitorSample } from '../../documents/monitors.ts';
import { measureOf } from '../metrics/index.ts';

/**
 * Counts the load of each second. A request counts when it is due, not when it is answered; otherwise an overloaded
 * target would look idle. A second violates an objective if more of its requests are over the limit than the objective
 * allows.
 */
export class LoadSeconds {
  readonly #objectives: readonly { readonly objective: Objective; readonly allowed: number }[];
  /** Requests by second, in a flat array, because a run may last for weeks. */
  readonly #offered: number[] = [];
  /** For each objective, the requests over its limit, by second. */
  readonly #over: readonly number[][];

  /** @param objectives only percentiles and maxima of latency and shares of errors are used: they apply to a second */
  constructor(objectives: readonly Objective[]) {
    this.#objectives = objectives.flatMap((objective) => {
      const allowed = allowedShare(objective);
      return allowed === null ? [] : [{ objective, allowed }];
    });
    this.#over = this.#objectives.map(() => []);
  }

  add(sends: readonly Send[]): void {
    for (const send of sends) {
      const at = Math.floor(send.intendedOffsetNs / NS_PER_S);
      this.#offered[at] = this.offeredAt(at) + 1;
      for (const [index, { objective }] of this.#objectives.entries()) {
        const over = this.#over[index];
        if (over !== undefined && isOver(objective, send)) over[at] = (over[at] ?? 0) + 1;
      }
    }
  }

  /** Requests that were due in a second. */
  offeredAt(second: number): number {
    return this.#offered[second] ?? 0;
  }

  /** Seconds that violate an objective, ascending; null if no objective applies to a second. */
  violated(): readonly number[] | null {
    if (this.#objectives.length === 0) return null;
    return [...this.#offered.keys()].filter((second) =>
      this.#objectives.some(
        ({ allowed }, at) => (this.#over[at]?.[second] ?? 0) > allowed * this.offeredAt(second) + 1e-9,
      ),
    );
  }
}

/** Only times of whole answers and failures are judged by the second. */
function allowedShare(objective: Objective): number | null {
  const isOfSeconds = isOfWholeAnswers(objective) || factsOf(objective).explainsOthers;
  if (!isOfSeconds || objective.slice !== null || !objective.operator.startsWith('<')) return null;
  return measureOf(objective).allowedShare?.(objective) ?? null;
}

/** Whether a request is over the limit. Failed and unsent requests are; requests cancelled as recorded are not. */
export function isOver(objective: Objective, send: Send): boolean {
  if (send.cancelled) return false;
  if (send.refused || send.actualOffsetNs === null) return true;
  return measureOf(objective).isBroken?.(objective, send, 'planned') === true;
}

/** Load and replicas in one window of a run. */
export interface ElasticityWindow {
  readonly offeredPerSecond: number;
  /** Ready replicas; null if unknown. */
  readonly replicas: number | null;
}

/**
 * Elasticity as the SPEC Research Group defines it (Herbst et al., "Ready for Rain?", 2016, and the BUNGEE benchmark).
 * It gives accuracy, timeshare and instability of the supply against the demand.
 * Demand d = ceil(load ÷ rate of one replica), at least 1.
 * @param windowS length of each window, seconds
 * @returns null if the number of replicas is unknown in every window
 */
export function elasticityOf(
  windows: readonly ElasticityWindow[],
  windowS: number,
  ratePerReplica: number,
): ElasticityFigures | null {
  const known = windows.flatMap(({ offeredPerSecond, replicas }) => {
    const demand = Math.max(1, Math.ceil(offeredPerSecond / ratePerReplica - 1e-9));
    return replicas === null ? [] : [{ demand, replicas }];
  });
  if (known.length === 0) return null;
  const sum = (of: (each: (typeof known)[number], at: number) => number) =>
    known.reduce((total, each, at) => total + of(each, at), 0);
  const percentOf = (total: number) => (100 / known.length) * total;
  const moves = (each: (typeof known)[number], at: number) => {
    const before = known[at - 1];
    if (before === undefined) return 0;
    const isAlike = Math.sign(each.replicas - before.replicas) === Math.sign(each.demand - before.demand);
    return isAlike ? 0 : 1;
  };
  return {
    ratePerReplica,
    windowS,
    knownS: known.length * windowS,
    under: {
      accuracyPercent: percentOf(sum(({ demand, replicas }) => Math.max(demand - replicas, 0) / demand)),
      timesharePercent: percentOf(sum(({ demand, replicas }) => (demand > replicas ? 1 : 0))),
    },
    over: {
      accuracyPercent: percentOf(sum(({ demand, replicas }) => Math.max(replicas - demand, 0) / demand)),
      timesharePercent: percentOf(sum(({ demand, replicas }) => (replicas > demand ? 1 : 0))),
    },
    instabilityPercent: percentOf(sum(moves)),
    replicaSeconds: {
      supplied: windowS * sum(({ replicas }) => replicas),
      needed: windowS * sum(({ demand }) => demand),
      overPerfect: windowS * sum(({ demand, replicas }) => Math.max(replicas - demand, 0)),
    },
  };
}

/** A series of replicas and where it comes from. */
export interface ReplicaSeries {
  readonly text: string;
  readonly samples: readonly MonitorSample[];
}

export interface AutoscalingInput {
  readonly load: LoadSeconds;
  readonly ready: ReplicaSeries;
  /** Null if no monitor reports the desired number. */
  readonly desired: ReplicaSeries | null;
  readonly intervalS: number;
  /** When each address of the target got its first request, nanoseconds after the start of the run. */
  readonly firstRequestsNs: readonly number[];
  /** The ends of stages with different loads. Without stages, load steps are searched. */
  readonly stageEndsNs: readonly number[];
  /** The judged part of the run, up to the end of its load, nanoseconds after its start. */
  readonly fromNs: number;
  readonly toNs: number;
  /** Requests per second that one replica can serve; null if unknown. */
  readonly ratePerReplica: number | null;
}

/**
 * How an autoscaler followed the load: the times after each load step, and its elasticity. Null if the number of ready
 * replicas is unknown.
 */
export function autoscalingOf(input: AutoscalingInput): AutoscalingDocument | null {
  const { load, ready, desired, intervalS, fromNs, toNs } = input;
  const counts = within(ready.samples, fromNs, toNs).map(({ value }) => value);
  const first = valueAt(ready.samples, fromNs) ?? counts[0];
  if (first === undefined) return null;
  const last = counts.at(-1) ?? first;
  const violated = load.violated()?.filter((second) => isWithin(second * NS_PER_S, fromNs, toNs)) ?? null;
  const steps = stepsOf(input);
  return {
    ready: ready.text,
    desired: desired?.text ?? null,
    intervalS,
    readyReplicas: { first, last, min: leastOf(counts, first), max: mostOf(counts, first) },
    steps: steps.map((step, at) => readOut(step, steps[at + 1]?.atNs ?? toNs, input, violated)),
    violatedS: violated?.length ?? null,
    elasticity: elasticityFor(input),
  };
}

interface Step {
  readonly atNs: number;
  readonly before: number;
  readonly after: number;
}

/** Loads are compared over this many seconds on both sides of a step; fewer in a short run. */
const SIDE_S = 10;
/** A step changes the load by at least this share, and by four standard deviations of a Poisson count. */
const LEAST_CHANGE = 0.25;
const LEAST_SCORE = 4;
/** The least change at the end of a stage. It is smaller, because the stages say where the load changes. */
const LEAST_STAGE_CHANGE = 0.1;
const MOST_STEPS = 20;

function stepsOf(input: AutoscalingInput): readonly Step[] {
  const { stageEndsNs, fromNs, toNs, load } = input;
  const spanS = (toNs - fromNs) / NS_PER_S;
  const sideS = Math.max(1, Math.min(SIDE_S, Math.floor(spanS / 4)));
  const meanOver = (fromS: number, untilS: number) => {
    const from = Math.max(Math.floor(fromNs / NS_PER_S), fromS);
    const until = Math.min(Math.ceil(toNs / NS_PER_S), untilS);
    let offered = 0;
    for (let second = from; second < until; second += 1) offered += load.offeredAt(second);
    return until > from ? offered / (until - from) : 0;
  };
  const at = (second: number): Step => ({
    atNs: second * NS_PER_S,
    before: meanOver(second - sideS, second),
    after: meanOver(second, second + sideS),
  });
  if (stageEndsNs.length > 1) {
    return stageEndsNs
      .slice(0, -1)
      .map((endNs) => ({ ...at(Math.round((fromNs + endNs) / NS_PER_S)), atNs: fromNs + endNs }))
      .filter((step) => changeOf(step) >= LEAST_STAGE_CHANGE)
      .slice(0, MOST_STEPS);
  }
  const seconds = Array.from({ length: Math.max(0, Math.floor(spanS) - 2 * sideS + 1) }, (_, index) =>
    at(Math.ceil(fromNs / NS_PER_S) + sideS + index),
  );
  const found: Step[] = [];
  const bySize = seconds
    .filter((step) => changeOf(step) >= LEAST_CHANGE && scoreOf(step, sideS) >= LEAST_SCORE)
    .sort((a, b) => scoreOf(b, sideS) - scoreOf(a, sideS));
  for (const step of bySize) {
    const isApart = found.every(({ atNs }) => Math.abs(atNs - step.atNs) >= 2 * sideS * NS_PER_S);
    if (isApart && found.length < MOST_STEPS) found.push(step);
  }
  return found.sort((a, b) => a.atNs - b.atNs);
}

/** The change as a share of the smaller load. */
function changeOf({ before, after }: Step): number {
  return Math.abs(after - before) / Math.max(1e-9, Math.min(before, after));
}

function scoreOf({ before, after }: Step, sideS: number): number {
  return (Math.abs(after - before) * sideS) / Math.sqrt(Math.max(1, (before + after) * sideS));
}

function readOut(
  { atNs, before, after }: Step,
  untilNs: number,
  { ready, desired, firstRequestsNs }: AutoscalingInput,
  violated: readonly number[] | null,
): LoadStep {
  const isUp = after > before;
  const since = (ns: number | undefined) => (ns === undefined ? null : (ns - atNs) / NS_PER_S);
  const wanted = desired === null ? null : within(desired.samples, atNs, untilNs);
  const there = within(ready.samples, atNs, untilNs);
  const movedOf = (series: ReplicaSeries, samples: readonly Known[]) => {
    const start = valueAt(series.samples, atNs);
    return samples.find(({ value }) => start !== null && (isUp ? value > start : value < start))?.offsetNs;
  };
  const goals = (wanted ?? there).map(({ value }) => value);
  const goal = isUp ? mostOf(goals) : leastOf(goals);
  const start = valueAt(ready.samples, atNs);
  const hasToMove = start !== null && (isUp ? goal > start : goal < start);
  const all = hasToMove ? there.find(({ value }) => (isUp ? value >= goal : value <= goal)) : undefined;
  const newAddress = firstRequestsNs.filter((ns) => isWithin(ns, atNs, untilNs)).sort((a, b) => a - b)[0];
  return {
    atS: atNs / NS_PER_S,
    direction: isUp ? 'up' : 'down',
    offeredBefore: before,
    offeredAfter: after,
    desiredS: desired === null ? null : since(movedOf(desired, wanted ?? [])),
    readyFirstS: since(movedOf(ready, there)),
    readyS: since(all?.offsetNs),
    newAddressS: since(newAddress),
    ...objectiveAfter(atNs, untilNs, violated),
  };
}

function objectiveAfter(
  atNs: number,
  untilNs: number,
  violated: readonly number[] | null,
): Pick<LoadStep, 'objective' | 'objectiveMetS' | 'violatedS'> {
  if (violated === null) return { objective: 'unknown', objectiveMetS: null, violatedS: 0 };
  // A second in which a step happens belongs to the side that has its middle.
  const own = violated.filter((second) => isWithin((second + 0.5) * NS_PER_S, atNs, untilNs));
  const last = own.at(-1);
  if (last === undefined) return { objective: 'kept', objectiveMetS: null, violatedS: 0 };
  const endNs = (last + 1) * NS_PER_S;
  const isMet = endNs + NS_PER_S <= untilNs;
  return {
    objective: isMet ? 'met_again' : 'not_met',
    objectiveMetS: isMet ? (endNs - atNs) / NS_PER_S : null,
    violatedS: own.length,
  };
}

/** The minimum. `Math.min(...values)` would fail: a week of looks has 600,000 values, too many arguments for a call. */
function leastOf(values: readonly number[], first = Number.POSITIVE_INFINITY): number {
  return values.reduce((least, value) => Math.min(least, value), first);
}

function mostOf(values: readonly number[], first = Number.NEGATIVE_INFINITY): number {
  return values.reduce((most, value) => Math.max(most, value), first);
}

interface Known {
  readonly offsetNs: number;
  readonly value: number;
}

function within(samples: readonly MonitorSample[], fromNs: number, untilNs: number): Known[] {
  return samples.flatMap(({ offsetNs, value }) =>
    value !== null && isWithin(offsetNs, fromNs, untilNs) ? [{ offsetNs, value }] : [],
  );
}

function isWithin(ns: number, fromNs: number, untilNs: number): boolean {
  return ns >= fromNs && ns < untilNs;
}

/** The last value seen until an instant; null if there is none or the last look failed. */
function valueAt(samples: readonly MonitorSample[], atNs: number): number | null {
  return samples.findLast(({ offsetNs }) => offsetNs <= atNs)?.value ?? null;
}

/**
 * A window is a twentieth of the run, at least one look, and at most ten seconds: short windows show chance, not load.
 */
function elasticityFor({ load, ready, intervalS, fromNs, toNs, ratePerReplica }: AutoscalingInput) {
  if (ratePerReplica === null) return null;
  const spanS = (toNs - fromNs) / NS_PER_S;
  const windowS = Math.max(1, Math.ceil(intervalS), Math.min(SIDE_S, Math.floor(spanS / 20)));
  const first = Math.ceil(fromNs / NS_PER_S);
  const windows = Array.from({ length: Math.floor(spanS / windowS) }, (_, index): ElasticityWindow => {
    const from = first + index * windowS;
    let offered = 0;
    for (let second = from; second < from + windowS; second += 1) offered += load.offeredAt(second);
    return {
      offeredPerSecond: offered / windowS,
      replicas: valueAt(ready.samples, (from + windowS / 2) * NS_PER_S),
    };
  });
  return elasticityOf(windows, windowS, ratePerReplica);
}
