import { picked } from '../../core/picked.ts';
import {
  CAPACITY_SCHEMA_VERSION,
  type CapacityDocument,
  type CapacityGoal,
  type CapacityState,
  type CapacityStep,
  type EndedBy,
  type LoadPoint,
  type MonitoredAtLoad,
  type SearchedLoadDocument,
  type StepWindow,
} from '../../documents/capacity.ts';
import { objectiveOf } from '../../documents/metrics/objectives.ts';
import type { TestedDocument } from '../../documents/parts.ts';
import { kneeOf } from './knee.ts';
import { CapacitySearch, type GoalResult, type PlayedStep, type SearchOptions } from './search.ts';
import { isOfGenerator } from './step-windows.ts';
import { goalsOfTier, keepsAll, type Tier } from './tiers.ts';

/** The goal that loads are chosen for: every objective together. */
export const ALL_OBJECTIVES = 'all';

/** Ends of a search whose target does not answer as production would, so that it would break at another load. */
export const UNCOMPARABLE: ReadonlySet<EndedBy> = new Set(['not_representative', 'repeats_cached']);

/** Facts about a search, besides its results. */
export interface CapacityFacts {
  readonly version: string;
  readonly capture: string;
  readonly target: string;
  /** Null if the test has no name. */
  readonly name: string | null;
  readonly tested: TestedDocument;
  readonly objectives: readonly string[];
  readonly tiers: readonly Tier[];
  /** How steps at a multiplier are scaled. */
  readonly scalingAt: (
    multiplier: number,
  ) => Pick<CapacityDocument, 'scaling' | 'scalingKeeps' | 'scalingBends'>;
  readonly search: SearchOptions;
  /** How far above its capacity a target may pass at a load, as a share of the capacity. */
  readonly unseenAt: (multiplier: number) => number;
  /** What is replayed at 1x. */
  readonly load: SearchedLoadDocument;
  /** Requests per second of its busiest minute, or of all of it if it is shorter. */
  readonly peakPerSecond: number;
  readonly replicas: number;
  readonly replicaCost: number | null;
  readonly directory: string;
}

/**
 * The steps in the form that the search needs.
 * @param sets sets of goals, by name; each set is also judged as one goal
 */
export function playedSteps(
  steps: readonly CapacityStep[],
  sets: ReadonlyMap<string, readonly string[]> = new Map(),
): PlayedStep[] {
  return steps.map(({ multiplier, windows, endedEarly, spentS }) => ({
    multiplier,
    spentS,
    windows: windows.map((window, at) => ({
      kept: {
        ...window.goals,
        [ALL_OBJECTIVES]: keptOf(window),
        ...Object.fromEntries([...sets].map(([id, goals]) => [id, keepsAll(window.goals, goals)])),
      },
      endedEarly:
        (endedEarly === 'hopeless' || endedEarly === 'failed') &&
        at === windows.length - 1 &&
        window.result === 'bad',
      isVoid: isSpoiled(window),
      isCapped: isSpoiled(window) && window.doubts.includes('in_flight_cap'),
      lossRatio: window.planned === 0 ? 0 : 1 - window.completed / window.planned,
    })),
  }));
}

/** Whether a window is void because of the generator. */
export function isSpoiled({ result, doubts }: StepWindow): boolean {
  return result === 'void' && doubts.some(isOfGenerator);
}

function keptOf({ result }: StepWindow): boolean | null {
  return result === 'void' ? null : result === 'good';
}

/** Builds the document of a search, ready for JSON. */
export function capacityDocument(
  facts: CapacityFacts,
  state: CapacityState,
  endedBy: EndedBy,
  endedAt: string,
): CapacityDocument {
  const { search, load } = facts;
  const { steps, calibration } = state;
  const noise = state.noise ?? { share: 0, source: 'none' as const, pairs: 0 };
  const names = [
    ...new Set(steps.flatMap(({ windows }) => windows.flatMap(({ goals }) => Object.keys(goals)))),
  ];
  const sets = new Map(
    facts.tiers.map((tier) => [`tier ${tier.name}`, goalsOfTier(tier, facts.tiers, names)]),
  );
  const goals = [ALL_OBJECTIVES, ...names, ...sets.keys()] as const;
  const results = new CapacitySearch({ ...search, goals }, playedSteps(steps, sets))
    .results()
    .map((result) => (UNCOMPARABLE.has(endedBy) ? { ...result, fit: null } : result));
  const byLoad = stepsOfCurve(steps);
  const curve = byLoad.map(curvePoint);
  // A load that was replayed has the rate at which it was sent.
  const pointOf = (multiplier: number): LoadPoint => ({
    multiplier,
    ratePerSecond:
      curve.find((point) => point.multiplier === multiplier)?.ratePerSecond ??
      multiplier * load.ratePerSecond,
  });
  const found = results.map((result) =>
    goalOf(result, { noise: noise.share, unseenAt: facts.unseenAt }, pointOf),
  );
  const [all = { passes: null, fails: null, boundary: null, interval: null }] = found;
  const knee = kneeOf(curve);
  const { name: _, ...breaking } = { name: '', ...all };
  return {
    schemaVersion: CAPACITY_SCHEMA_VERSION,
    kind: 'capacity',
    ...picked(facts, 'version', 'capture', 'target', 'name'),
    ...facts.tested,
    startedAt: state.startedAt,
    endedAt,
    objectives: [...facts.objectives],
    load,
    ...facts.scalingAt((all.boundary ?? all.fails)?.multiplier ?? 1),
    limitedBy: all.interval !== null ? 'objective' : endedBy === 'resolved' ? 'unjudged' : endedBy,
    endedBy,
    breakingPoint: {
      ...breaking,
      conditionalPerSecond: conditionalPerSecond(results[0], pointOf),
      shape: results[0]?.fit?.shape ?? null,
      transition: results[0]?.fit?.transition ?? null,
    },
    gaveFirst: gaveFirst(steps, all.fails?.multiplier ?? null),
    goals: found.slice(1, 1 + names.length),
    tiers: facts.tiers.map(({ name, objectives }, at) => ({
      ...found[1 + names.length + at]!,
      name,
      objectives: objectives.map(({ expression }) => expression),
    })),
    curve,
    knee: knee && pointOf(knee.multiplier),
    monitors: monitorsOf(steps, byLoad, knee?.multiplier ?? null),
    sizing: UNCOMPARABLE.has(endedBy) ? null : sizing(facts, all, curve),
    calibration:
      calibration && picked(calibration, 'pairs', 'representative', 'differences', 'p50Ms', 'statusDistance'),
    noise,
    width: Math.max(search.width, noise.share),
    windowS: state.windowS,
    windowsToDecide: search.windowsToDecide,
    voidWindows: voidsOf(steps),
    inverted: [...(results[0]?.bounds.inverted ?? [])],
    unplayed: unplayedOf(results[0], Math.max(search.width, noise.share)),
    steps: [...steps],
    budgetS: search.budgetS,
    spentS: steps.reduce((sum, { spentS }) => sum + spentS, 0),
    directory: facts.directory,
  };
}

/**
 * Conditional throughput as in MLRsearch: well answered requests per second of the median window at the lower bound.
 */
function conditionalPerSecond(
  all: GoalResult | undefined,
  pointOf: (multiplier: number) => LoadPoint,
): number | null {
  const lower = all?.bounds.lower ?? null;
  return lower && pointOf(lower.multiplier).ratePerSecond * (1 - lower.stat.lossRatio);
}

/**
 * Widens the interval to the noise: a boundary is not more exact than two runs of the same load agree. It also reaches
 * down to the capacity of a target whose queue grew too slowly to be seen.
 */
function goalOf(
  { id, bounds, fit }: GoalResult,
  { noise, unseenAt }: { readonly noise: number } & Pick<CapacityFacts, 'unseenAt'>,
  pointOf: (multiplier: number) => LoadPoint,
): CapacityGoal {
  const least = fit && fit.multiplier / (1 + noise / 2);
  const seen = fit && fit.low / (1 + unseenAt(fit.multiplier));
  const most = fit && fit.multiplier * (1 + noise / 2);
  return {
    name: id,
    passes: bounds.lower && pointOf(bounds.lower.multiplier),
    fails: bounds.upper && pointOf(bounds.upper.multiplier),
    boundary: fit && pointOf(fit.multiplier),
    interval: fit && [Math.min(seen ?? fit.low, least ?? fit.low), Math.max(fit.high, most ?? fit.high)],
  };
}

/** Gaps between judged loads up to the largest that passes, wider than the interval is to be. */
function unplayedOf(all: GoalResult | undefined, width: number): [number, number][] {
  const most = all?.bounds.lower?.multiplier ?? 0;
  const judged = (all?.loads ?? []).filter((each) => each.judged > 0 && each.multiplier <= most);
  return judged
    .map(({ multiplier }, at): [number, number] => [judged[at - 1]?.multiplier ?? multiplier, multiplier])
    .filter(([from, to]) => to > from * (1 + width));
}

/**
 * The first objective that broke at the smallest failing load. Of several in one window, the one with the largest
 * excess.
 */
function gaveFirst(steps: readonly CapacityStep[], multiplier: number | null): CapacityDocument['gaveFirst'] {
  const windows = steps.filter((step) => step.multiplier === multiplier).flatMap((step) => step.windows);
  const first = windows.find(({ result, goals }) => result === 'bad' && Object.values(goals).includes(false));
  if (multiplier === null || first === undefined) return null;
  const broken = Object.entries(first.goals).filter(([, held]) => held === false);
  const excess = (name: string) => {
    const observed = first.observed[name];
    // A percentile is infinite if too many requests failed. Then the failures came first.
    if (observed === 'Infinity' || observed == null) return 1;
    // The limit in the unit of the observation: `1.5s` is 1,500 ms, and `95%` is 0.95.
    const limit = objectiveOf(name)?.limit ?? Number.NaN;
    return observed / Math.max(limit, 1e-9);
  };
  const [name = ''] = broken.toSorted(([a], [b]) => excess(b) - excess(a))[0] ?? [];
  return { objective: name, multiplier, window: first.index, observed: first.observed[name] ?? null };
}

/** One step for each load, ascending: that with the most windows. So percentiles are of one step, never averaged. */
function stepsOfCurve(steps: readonly CapacityStep[]): CapacityStep[] {
  const byLoad = new Map<number, CapacityStep>();
  for (const step of steps) {
    const known = byLoad.get(step.multiplier);
    if (isJudged(step) && step.windows.length > (known?.windows.length ?? 0)) {
      byLoad.set(step.multiplier, step);
    }
  }
  return [...byLoad.values()].sort((a, b) => a.multiplier - b.multiplier);
}

function isJudged({ windows }: CapacityStep): boolean {
  return windows.some(({ result }) => result !== 'void');
}

function curvePoint(step: CapacityStep): CapacityDocument['curve'][number] {
  const { multiplier, ratePerSecond, achieved, latencyMeanMs, latencyMs, windows, windowS } = step;
  const judged = windows.filter(({ result }) => result !== 'void');
  const good = judged.reduce<number | null>(
    (sum, window) => (sum === null || window.good == null ? null : sum + window.good),
    0,
  );
  return {
    multiplier,
    ratePerSecond,
    completedPerSecond: achieved.ratePerSecond,
    goodPerSecond: good === null ? null : good / (judged.length * windowS),
    latencyMeanMs,
    latencyMs,
  };
}

/** Each monitored series over the loads. The maximum is over all steps at a load. */
function monitorsOf(
  steps: readonly CapacityStep[],
  byLoad: readonly CapacityStep[],
  knee: number | null,
): NonNullable<CapacityDocument['monitors']> {
  const keyOf = (multiplier: number, facts: object) => JSON.stringify([multiplier, facts]);
  const greatest = new Map<string, number>();
  for (const { multiplier, monitors = [] } of steps.filter(isJudged)) {
    for (const { p50: _, p95: __, max, ...facts } of monitors) {
      const key = keyOf(multiplier, facts);
      if (max !== null) greatest.set(key, Math.max(max, greatest.get(key) ?? max));
    }
  }
  const seen = byLoad.flatMap(({ multiplier, monitors = [] }) =>
    monitors.map(({ p50, p95, max: _, ...facts }) => ({
      facts,
      at: { multiplier, p50, p95, max: greatest.get(keyOf(multiplier, facts)) ?? null },
    })),
  );
  return [...Map.groupBy(seen, ({ facts }) => JSON.stringify(facts)).values()].map((each) => {
    const loads = each.map(({ at }) => at);
    const atKnee = loads.find(({ multiplier }) => multiplier === knee) ?? null;
    return { ...each[0]!.facts, knee: atKnee && seenAt(atKnee), loads };
  });
}

function seenAt({ p50, p95, max }: MonitoredAtLoad): MonitoredAtLoad {
  return { p50, p95, max };
}

const TIMES_PEAK = [1, 1.5, 2] as const;
/** Rounding error, so that 3.0000000000000004 replicas count as three. */
const ROUNDING = 1e-9;

/** How many replicas the recorded traffic needs, if capacity grows with their number, and the cost of good requests. */
function sizing(
  { replicas, replicaCost, peakPerSecond, load }: CapacityFacts,
  { passes, interval }: Pick<CapacityGoal, 'passes' | 'interval'>,
  curve: CapacityDocument['curve'],
): CapacityDocument['sizing'] {
  if (passes === null) return null;
  const certainMultiplier = interval && Math.min(passes.multiplier, interval[0]);
  const goodPerS = curve.find((point) => point.multiplier === passes.multiplier)?.goodPerSecond ?? 0;
  const forPeak = (multiplier: number) => (replicas * peakPerSecond) / load.ratePerSecond / multiplier;
  const needed = (timesPeak: number, multiplier: number) =>
    Math.max(1, Math.ceil(forPeak(multiplier) * timesPeak - ROUNDING));
  const safe = certainMultiplier ?? passes.multiplier;
  return {
    replicas,
    peakPerSecond,
    certainMultiplier,
    replicasNeeded: TIMES_PEAK.map((timesPeak) => ({
      timesPeak,
      replicas: needed(timesPeak, safe),
      replicasPassed: needed(timesPeak, passes.multiplier),
    })),
    overProvisionedShare: 1 - forPeak(safe) / replicas,
    costPerThousandGood:
      replicaCost === null || goodPerS <= 0 ? null : (replicas * replicaCost * 1_000) / (3_600 * goodPerS),
  };
}

function voidsOf(steps: readonly CapacityStep[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { windows } of steps) {
    for (const { result, doubts } of windows) {
      if (result === 'void') for (const code of doubts) counts[code] = (counts[code] ?? 0) + 1;
    }
  }
  return counts;
}
