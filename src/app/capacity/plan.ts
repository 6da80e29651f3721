import { createHash } from 'node:crypto';
import { unseenOverload } from '../../analysis/capacity/boundary.ts';
import { ALL_OBJECTIVES, type CapacityFacts } from '../../analysis/capacity/build-document.ts';
import { CapacitySearch, type SearchEnd, type SearchOptions } from '../../analysis/capacity/search.ts';
import { measureOf } from '../../analysis/metrics/index.ts';
import { plannedObjectives } from '../../analysis/verdict/summary.ts';
import { AppError } from '../../core/errors.ts';
import { picked } from '../../core/picked.ts';
import type { Logger, TimeRange } from '../../core/ports.ts';
import { formatInstantUs, formatMs } from '../../core/units.ts';
import {
  CAPACITY_SCHEMA_VERSION,
  type CapacityPlanDocument,
  type CapacityState,
  type EndedBy,
  type SearchedLoadDocument,
} from '../../documents/capacity.ts';
import { isOfStreams, isOfWholeAnswers } from '../../documents/metrics/metrics.ts';
import type { Objective } from '../../documents/metrics/objectives.ts';
import { describeMonitors, longestIntervalMs } from '../../monitors/options.ts';
import { describeReplayOptions, type ReplayOptions } from '../../replay/options/replay-options.ts';
import { SCALING_KINDS } from '../../replay/plan/scaling.ts';
import type { OpenedCapture } from '../open-capture.ts';
import { VERSION } from '../package.ts';
import {
  awaitsValues,
  choiceFacts,
  chooseReplay,
  planOf,
  type ReplayChoice,
  type ReplayPlan,
  requireSelected,
} from '../replay/plan.ts';
import { recordedServerOf } from '../replay/tested-server.ts';
import { loadOf, type SearchedLoad, secondsIn, windowLengthS } from './load.ts';
import { type CapacityOptions, SHORTEST_BUDGET_S } from './options.ts';
import { paceOf, type StepScene, stepScaling } from './step.ts';

/** A load is decided after this number of windows at most. */
const WINDOWS_TO_DECIDE = 3;
/** The budget must have room for this number of windows. */
const WINDOWS_IN_BUDGET = 40;
const SHORTEST_WINDOW_S = 2;
/**
 * A target at 10 % over its capacity adds 0.1 s of waiting each second. The wait must reach the largest limit within a
 * step. So settling time and window last at least `LEAST_LIMITS` times that limit, and the window `WINDOW_LIMITS` times
 * if the budget allows it.
 */
const LEAST_LIMITS = 4;
const WINDOW_LIMITS = 10;
/** Time to start threads, open connections and send a probe. */
const STARTING_S = 4;
/** The wait for the last answers of a step: this multiple of the largest limit, and at least `LEAST_DRAIN_MS`. */
const DRAIN_LIMITS = 2;
const LEAST_DRAIN_MS = 2_000;
const LEAST_LOOKS = 2;
const PEAK_S = 60;

/** The plan of a search, before anything is sent. */
export interface CapacityPlan {
  readonly options: CapacityOptions;
  readonly opened: OpenedCapture;
  readonly load: SearchedLoad;
  /** All parts of the recording that were chosen. The load is one of them, or within one. */
  readonly chosen: readonly TimeRange[];
  /** The replay of the load at 1x. */
  readonly base: ReplayPlan;
  readonly search: SearchOptions;
  /** The least length of a window. */
  readonly windowS: number;
  /** The option that limits the search upwards. */
  readonly ceilingBy: 'max_multiplier' | 'max_rate';
  readonly drainMs: number;
  /** Duration of each step before its first window. */
  readonly settlingS: number;
  readonly ratePerSecond: number;
  /** Share of the recording that passes the filters. Roll-ups do not consider filters. */
  readonly selectedShare: number;
  readonly peakPerSecond: number;
  /** Requests that a window at 1x needs: the maximum over all objectives. */
  readonly samples: number;
  /** Hash of the settings, equal for equivalent searches. It is a hash because the settings contain secrets. */
  readonly settings: string;
  /** Options of the generator. If they change, it is still the same search. */
  readonly generator: string;
  /** The shortest budget that has room for two steps. */
  readonly leastBudgetS: number;
}

/**
 * Plans a search. It reads roll-ups, and exchanges only if sessions are drawn or exchanges are left out.
 * @param kept what an earlier part of the search chose
 * @throws AppError CAPTURE_EMPTY, OPTION_INVALID
 */
export function planCapacity(
  opened: OpenedCapture,
  asked: CapacityOptions,
  kept: Pick<CapacityState, 'windowS' | 'load'> | null = null,
): CapacityPlan {
  assertSameWindows(asked, kept);
  const whole = chooseReplay(opened, asked.run.options);
  const options = { ...asked, awaitsValues: awaitsValues(opened, whole) };
  requireSelected(opened, whole);
  const load = kept?.load ?? loadOf(opened, whole, options);
  const choice = chooseReplay(opened, replayOf(options, load));
  const base = planOf(choice);
  const selected = selectedOf(choice, base.forecast.recordedPeakPerSecond);
  const spanS = Math.max(1e-9, base.window.plannedSpanNs / 1e9);
  const ratePerSecond = (selected.share * base.forecast.plannedExchanges) / spanS;
  const samples = Math.max(...options.objectives.map(samplesOf));
  const windowS =
    kept?.windowS ?? options.windowS ?? windowOf(options, samples / ratePerSecond, looksS(options));
  const windowSAt = (multiplier: number) =>
    windowLengthS(secondsIn(load.parts), windowS, paceOf(options, multiplier));
  const drainMs = drainOf(options);
  const settlingS = settlingOf(options, windowS);
  const overheadS = options.coolDownMs / 1e3 + settlingS + drainMs / 1e3 + STARTING_S;
  const { ceiling, ceilingBy } = ceilingOf(options, selected.peakShare * base.forecast.plannedPeakPerSecond);
  const start = Math.min(1, ceiling);
  return {
    options,
    opened,
    load,
    chosen: whole.window.parts,
    base,
    windowS,
    ceilingBy,
    drainMs,
    settlingS,
    ratePerSecond,
    samples,
    selectedShare: selected.share,
    peakPerSecond: Math.max(ratePerSecond, selected.share * peakOf(opened, base, ratePerSecond, spanS)),
    search: {
      goals: [ALL_OBJECTIVES],
      start,
      floor: Math.min(options.minMultiplier, ceiling),
      ceiling,
      width: options.width,
      noise: 0,
      windowSAt,
      windowsToDecide: WINDOWS_TO_DECIDE,
      overheadS,
      budgetS: options.budgetS,
    },
    ...settingsOf(opened, options, whole),
    leastBudgetS: leastOf(options, windowSAt(start), overheadS),
  };
}

/** The replay of a load at 1x. */
function replayOf({ run: { options } }: CapacityOptions, { parts }: SearchedLoad): ReplayOptions {
  return { ...options, window: { ...options.window, ranges: parts, search: null } };
}

/** @throws AppError OPTION_INVALID if a search that goes on had windows of another length */
function assertSameWindows({ windowS }: CapacityOptions, kept: Pick<CapacityState, 'windowS'> | null): void {
  if (windowS === null || kept === null || windowS === kept.windowS) return;
  throw new AppError(
    'OPTION_INVALID',
    `--step: this search began with windows of ${formatMs(kept.windowS * 1e3)}`,
    { hint: 'Leave --step out to go on, or give a new directory to --out.' },
  );
}

/** What a search is going to play, before anything is sent. */
export function capacityPlanDocument(plan: CapacityPlan): CapacityPlanDocument {
  const { options, base, search, windowS, ceilingBy, ratePerSecond, settlingS, samples } = plan;
  const { capture, target, window } = choiceFacts(base);
  const largestLimitS = (largestLimitMs(options.objectives) ?? 0) / 1e3;
  const { name, bends } = scalingOf(options, search.ceiling);
  return {
    schemaVersion: CAPACITY_SCHEMA_VERSION,
    kind: 'capacity_plan',
    version: VERSION,
    capture,
    target,
    window,
    load: loadDocument(plan),
    ratePerSecond,
    windowS,
    leastWindowS: LEAST_LIMITS * largestLimitS,
    objectives: plannedObjectives(options.objectives),
    largestLimitS,
    settlingS,
    samples,
    calibrates: options.calibrates,
    multipliers: new CapacitySearch(search).doublings,
    ceilingBy,
    scaling: name,
    scalingBends: bends,
    budgetS: options.budgetS,
    longestS: search.budgetS + search.overheadS,
    width: search.width,
  };
}

/** The load of a search for its documents. */
export function loadDocument({ load, ratePerSecond }: CapacityPlan): SearchedLoadDocument {
  return {
    isBusiest: load.isBusiest,
    windows: load.parts.map(({ fromUs, toUs }) => ({
      from: formatInstantUs(fromUs),
      to: formatInstantUs(toUs - 1),
    })),
    seconds: secondsIn(load.parts),
    ratePerSecond,
  };
}

/** The common parts of all steps. */
export function sceneOf(
  { opened, options, load, chosen, search, drainMs, settlingS, selectedShare }: CapacityPlan,
  logger: Logger,
): StepScene {
  const limitMs = largestLimitMs(options.objectives);
  return {
    opened,
    drainMs,
    settlingS,
    selectedShare,
    logger,
    ...picked(options, 'run', 'isScalingStated', 'awaitsValues', 'objectives', 'tiers'),
    parts: load.parts,
    chosen,
    windowSAt: search.windowSAt,
    limitS: limitMs === null ? null : limitMs / 1e3,
  };
}

export function factsOf(plan: CapacityPlan, search: SearchOptions, directory: string): CapacityFacts {
  const { options, base, peakPerSecond, settlingS } = plan;
  const limitMs = largestLimitMs(options.objectives);
  return {
    version: VERSION,
    capture: base.overview.name,
    target: options.run.options.target?.url ?? '',
    name: options.verdict.name,
    tested: {
      labels: options.run.labels,
      captureDigest: plan.opened.digest,
      recordedServer: recordedServerOf(plan.opened, plan.load.parts),
    },
    objectives: options.objectives.map(({ expression }) => expression),
    ...picked(options, 'tiers', 'replicas', 'replicaCost'),
    scalingAt: (multiplier) => {
      const { name, keeps, bends } = scalingOf(options, multiplier);
      return { scaling: name, scalingKeeps: keeps, scalingBends: bends };
    },
    search,
    unseenAt: (multiplier) =>
      unseenOverload(limitMs === null ? null : limitMs / 1e3, settlingS, search.windowSAt(multiplier)),
    load: loadDocument(plan),
    peakPerSecond,
    directory,
  };
}

/** The largest limit of a time, milliseconds; null without such an objective. */
export function largestLimitMs(objectives: readonly Objective[]): number | null {
  const limits = objectives
    .flatMap((each) => [each, ...each.limits])
    .filter(isOfWholeAnswers)
    .map(({ limit }) => limit);
  return limits.length === 0 ? null : Math.max(...limits);
}

/** The scaling of a step with this multiplier. Below 1x, sessions are left out. */
function scalingOf(options: CapacityOptions, multiplier: number) {
  const name = stepScaling(options, multiplier);
  return { name, ...SCALING_KINDS[name] };
}

function samplesOf(objective: Objective): number {
  const { floor, floorOfWindow = floor } = measureOf(objective);
  return floorOfWindow(objective);
}

/** With an objective on a monitored series, the minimum length of a window: two readings. */
function looksS({ objectives, run }: CapacityOptions): number {
  const isMonitored = objectives.some(({ series }) => series !== undefined);
  return isMonitored ? (LEAST_LOOKS * longestIntervalMs(run.monitors)) / 1e3 : 0;
}

/**
 * @param neededS seconds for the samples of the objectives
 * @param leastS seconds for the readings of monitors
 */
export function windowOf(
  { budgetS, objectives }: Pick<CapacityOptions, 'budgetS' | 'objectives'>,
  neededS: number,
  leastS = 0,
): number {
  const limitS = (largestLimitMs(objectives) ?? 0) / 1e3;
  const least = Math.max(SHORTEST_WINDOW_S, LEAST_LIMITS * limitS, leastS);
  const most = Math.max(least, budgetS / WINDOWS_IN_BUDGET);
  return Math.min(most, Math.max(least, WINDOW_LIMITS * limitS, Math.ceil(neededS)));
}

/** Time until the queue has adapted to the load. Without a limit of times, it is as long as a window. */
export function settlingOf({ objectives }: Pick<CapacityOptions, 'objectives'>, windowS: number): number {
  const largest = largestLimitMs(objectives);
  return largest === null ? windowS : Math.max(SHORTEST_WINDOW_S, (LEAST_LIMITS * largest) / 1e3);
}

/**
 * The wait for the last answers. An answer that takes longer has already violated every objective on its time. Streams
 * end long after their first token.
 */
function drainOf({ run: { options }, objectives }: CapacityOptions): number {
  const largest = largestLimitMs(objectives);
  if (largest === null || objectives.some(isOfStreams)) return options.drainDeadlineMs;
  return Math.min(options.drainDeadlineMs, Math.max(LEAST_DRAIN_MS, DRAIN_LIMITS * largest));
}

function leastOf({ calibrates }: CapacityOptions, windowS: number, overheadS: number): number {
  return (calibrates ? 2 * (windowS + overheadS) : 0) + 2 * (windowS * 2 + overheadS);
}

/** @throws AppError OPTION_INVALID for a budget that has no room for two steps */
export function assertWorth({ options: { budgetS }, leastBudgetS: leastS, search }: CapacityPlan): void {
  if (budgetS >= leastS) return;
  throw new AppError(
    'OPTION_INVALID',
    `--budget ${formatMs(budgetS * 1e3)} is too short for two steps with windows of ${formatMs(search.windowSAt(search.start) * 1e3)}: they take ${formatMs(leastS * 1e3)}`,
    { hint: 'Raise --budget, or shorten --step or --timeout drain.' },
  );
}

/** The shortest budget of a search. Windows are shorter in a shorter search, so it is found by trying. */
export function leastBudgetS(opened: OpenedCapture, options: CapacityOptions): number {
  let budgetS = SHORTEST_BUDGET_S;
  for (;;) {
    const { leastBudgetS: leastS } = planCapacity(opened, { ...options, budgetS });
    if (leastS <= budgetS) return budgetS;
    budgetS = leastS;
  }
}

function ceilingOf(
  { run: { options }, maxMultiplier }: CapacityOptions,
  peakPerSecond: number,
): Pick<CapacityPlan, 'ceilingBy'> & { readonly ceiling: number } {
  const { maxRatePerSecond } = options;
  const byRate = (maxRatePerSecond ?? Number.POSITIVE_INFINITY) / Math.max(1, peakPerSecond);
  if (byRate >= maxMultiplier) return { ceiling: maxMultiplier, ceilingBy: 'max_multiplier' };
  if (byRate < 1) {
    throw new AppError(
      'OPTION_INVALID',
      `--max-rate ${maxRatePerSecond} is below the recorded peak of ${peakPerSecond} in a second`,
      {
        hint: 'No step could be replayed as recorded. Raise it, or choose a calmer window.',
      },
    );
  }
  return { ceiling: Number(byRate.toPrecision(5)), ceilingBy: 'max_rate' };
}

/**
 * Shares that pass the filters, of all requests and of the busiest second. Reads the rows once if there are filters.
 */
function selectedOf(
  { source }: ReplayChoice,
  recordedPeakPerSecond: number,
): { readonly share: number; readonly peakShare: number } {
  if (!source.isSelective) return { share: 1, peakShare: 1 };
  let [second, count, peak] = [-1, 0, 0];
  for (const { arrivalUs } of source.rows()) {
    const at = Math.floor(arrivalUs / 1e6);
    count = at === second ? count + 1 : 1;
    second = at;
    peak = Math.max(peak, count);
  }
  const sumOf = (key: 'exchanges' | 'selected') => source.counts.reduce((sum, each) => sum + each[key], 0);
  return {
    share: sumOf('selected') / Math.max(1, sumOf('exchanges')),
    peakShare: peak / Math.max(1, recordedPeakPerSecond),
  };
}

/**
 * Rate of the busiest minute, or of the complete window if it is shorter. Includes requests that the plan adds for
 * missing coverage.
 */
function peakOf(opened: OpenedCapture, base: ReplayPlan, ratePerSecond: number, spanS: number): number {
  if (spanS <= PEAK_S) return ratePerSecond;
  let peak = 0;
  for (const range of base.window.parts) {
    const within: { readonly second: number; readonly exchanges: number }[] = [];
    let sum = 0;
    for (const { second, exchanges } of opened.overview.seconds(range)) {
      within.push({ second, exchanges });
      sum += exchanges;
      while (second - (within[0]?.second ?? second) >= PEAK_S) sum -= within.shift()?.exchanges ?? 0;
      peak = Math.max(peak, sum);
    }
  }
  return Math.max(ratePerSecond, (peak / PEAK_S) * base.forecast.timesEach);
}

function settingsOf(
  opened: OpenedCapture,
  { run, isScalingStated, calibrates }: CapacityOptions,
  { window }: ReplayChoice,
): Pick<CapacityPlan, 'settings' | 'generator'> {
  const { threads, maxInFlight, maxInFlightBytes, maxRatePerSecond, ...options } = describeReplayOptions(
    run.options,
    window,
  );
  const asked = {
    capture: opened.identity,
    options,
    parts: window.parts,
    scaling: isScalingStated,
    calibrates,
    // A header may select the model.
    headers: run.options.addedHeaders,
    ca: run.options.caPem,
    ...(run.options.clientCertificate && { clientCertificate: run.options.clientCertificate.cert }),
    monitors: describeMonitors(run.monitors),
    // Steps against different builds are no search. Without labels, the state of an earlier version is still continued.
    ...(Object.keys(run.labels).length > 0 && { labels: run.labels }),
  };
  return {
    settings: createHash('sha256').update(JSON.stringify(asked)).digest('hex'),
    generator: JSON.stringify({ threads, maxInFlight, maxInFlightBytes, maxRatePerSecond }),
  };
}

/** The reason of the search's end in the terms of its document. */
export function endOf(reason: SearchEnd, ceilingBy: CapacityPlan['ceilingBy']): EndedBy {
  if (reason === 'ceiling') return ceilingBy;
  return reason === 'floor' ? 'min_multiplier' : reason;
}
