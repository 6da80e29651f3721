import { createHash } from 'node:crypto';
import { partName } from '../../analysis/statement/limits.ts';
import { lengthsWithin } from '../../analysis/statement/part-lengths.ts';
import { statementTestOf } from '../../analysis/verdict/ci-report.ts';
import { systemClock } from '../../core/clock.ts';
import { picked } from '../../core/picked.ts';
import type { TimeRange } from '../../core/ports.ts';
import { formatInstantUs } from '../../core/units.ts';
import { describeFilters } from '../../documents/replay-plan.ts';
import {
  type PlannedPart,
  STATEMENT_PARTS,
  STATEMENT_SCHEMA_VERSION,
  type StatementPart,
  type StatementPlan,
} from '../../documents/statement.ts';
import type { ReplayOptions } from '../../replay/options/replay-options.ts';
import { defaultScaling } from '../../replay/plan/scaling.ts';
import type { Stage } from '../../replay/plan/stages.ts';
import { secondsIn } from '../capacity/load.ts';
import { leastBudgetS, planCapacity } from '../capacity/plan.ts';
import { stepScaling } from '../capacity/step.ts';
import { HARDEST_MULTIPLIER, type OpenedCapture } from '../open-capture.ts';
import { VERSION } from '../package.ts';
import type { RunOptions } from '../replay/options.ts';
import { awaitsValues, beyondSenders, chooseReplay } from '../replay/plan.ts';
import { askedPlan } from '../replay/planned-replay.ts';
import { planOpened } from '../replay/replay.ts';
import { rankedDocumentOf } from '../windows.ts';
import { earlierDemand, RANKED_S, recordedDemand } from './demand.ts';
import type { StatementOptions } from './options.ts';

/** A shorter run says little, whatever its objectives need. */
const SHORTEST_S = 10;
/** The search without a budget. */
const SEARCH_S = 600;
/** A search that just fits has two steps. Twice that is room for the loads on both sides of the breaking point. */
const SEARCH_LEAST = 2;

/**
 * Plans a statement: which window, which parts and how long each. Sends nothing.
 * @returns the plan, and the options with what the capture decides of them
 * @throws AppError CAPTURE_EMPTY; OPTION_INVALID for a budget below the least lengths of the parts
 */
export async function planStatement(
  opened: OpenedCapture,
  asked: StatementOptions,
): Promise<{ readonly plan: StatementPlan; readonly options: StatementOptions }> {
  const { options: replay, labels } = asked.search.run;
  const { overview, digest } = opened;
  const choice = chooseReplay(opened, replay);
  const { window } = choice;
  const options = { ...asked, search: { ...asked.search, awaitsValues: awaitsValues(opened, choice) } };
  const { search, multiplier, budgetS } = options;
  const ranges = window.parts;
  const recorded = rankedDocumentOf(opened, replay.window, {
    lengthS: replay.window.search?.lengthS ?? RANKED_S,
    multiplier: HARDEST_MULTIPLIER,
    timeZone: 'UTC',
  });
  const from = formatInstantUs(window.fromUs);
  const ranked = recorded.windows.find((each) => each.from <= from && from < each.to);
  const sendable = !overview.arrivalsOnly && recorded.unstored < recorded.requests;
  const { parts, searchS } = sendable ? await partsOf(opened, options, ranges) : { parts: [], searchS: null };
  const demand = recordedDemand(opened, replay.window, ranges, recorded.timeZone);
  const plan: Omit<StatementPlan, 'demand'> = {
    schemaVersion: STATEMENT_SCHEMA_VERSION,
    kind: 'statement-plan',
    version: VERSION,
    name: options.verdict.name,
    capture: overview.name,
    target: replay.target?.url ?? '',
    labels,
    captureDigest: digest,
    startedAt: formatInstantUs(systemClock.epochUs()),
    objectives: search.objectives.map(({ expression }) => expression),
    multiplier,
    budgetS,
    recorded,
    window: {
      from,
      to: formatInstantUs(window.toUs),
      lengthS: secondsIn(ranges),
      chosenBy: window.found?.kind ?? 'given',
      harderThan: window.found?.kind === 'hardest' ? (ranked?.harderThan ?? null) : null,
    },
    filtered: describeFilters(replay.filters),
    sendable,
    settings: settingsOf(opened, options, ranges),
    parts,
    ranges: ranges.map((range) => picked(range, 'fromUs', 'toUs')),
    searchS,
  };
  const test = statementTestOf(plan);
  const earlier = earlierDemand(options.verdict.history?.file ?? null, test, demand);
  return { plan: { ...plan, demand: { ...demand, earlier, ...options.expected } }, options };
}

/**
 * The parts with their lengths, and the budget of the search. Each is planned once as it would be replayed whole, so
 * that what cannot be sent is an error before anything is.
 */
async function partsOf(
  opened: OpenedCapture,
  options: StatementOptions,
  ranges: readonly TimeRange[],
): Promise<Pick<StatementPlan, 'parts' | 'searchS'>> {
  const wholeS = secondsIn(ranges);
  const parts = STATEMENT_PARTS.filter((part) => part !== 'faults' || options.faults !== null);
  const needs = [];
  for (const part of parts) {
    const planned = await planOpened(opened, runOf(options, { part, lengthS: wholeS }, ranges));
    const tooFast = beyondSenders(planned.plan, planned.source);
    if (tooFast !== null) throw tooFast;
    const samplesS = askedPlan(planned).needs.map(({ atLeastS }) => atLeastS ?? 0);
    // The faults of a plan begin and end at stated instants.
    const leastS = part === 'faults' ? wholeS : Math.max(SHORTEST_S, ...samplesS);
    const name = partName(part, options.multiplier);
    needs.push({ name, wholeS, leastS: Math.min(wholeS, leastS) });
  }
  const leastS = SEARCH_LEAST * leastBudgetS(opened, searchOf(options, ranges, SEARCH_S));
  const searching = { name: 'search', wholeS: Math.max(SEARCH_S, leastS), leastS };
  const lengths = lengthsWithin([...needs, searching], options.budgetS);
  return {
    parts: parts.map((part, at): PlannedPart => {
      const lengthS = lengths[at]!;
      const windowShare = Math.min(1, (lengthS * paceOf(options, part)) / wholeS);
      return { part, lengthS, wholeS, windowShare };
    }),
    searchS: lengths.at(-1)!,
  };
}

/** The plan of a statement that goes on: as it began, but a larger budget is for the search. */
export function goingOn(kept: StatementPlan, { budgetS, searchS }: StatementPlan): StatementPlan {
  if (searchS === null || kept.searchS === null || searchS <= kept.searchS) return kept;
  return { ...kept, budgetS, searchS };
}

/** The options of the run of a part: what a search asks for, with the load of the part. */
export function runOf(
  options: StatementOptions,
  { part, lengthS }: Pick<PlannedPart, 'part' | 'lengthS'>,
  ranges: readonly TimeRange[],
): RunOptions {
  const { run } = options.search;
  const multiplier = part === 'multiplied' ? options.multiplier : 1;
  return {
    ...run,
    faults: part === 'faults' ? options.faults : null,
    options: {
      ...run.options,
      multiplier,
      stages: part === 'spike' ? spikeOf(options.multiplier, lengthS) : null,
      scaling: scalingOf(options, part),
      window: { ...run.options.window, ...stretchOf(ranges, lengthS, paceOf(options, part)) },
    },
  };
}

/** The options of the search for the breaking point. */
export function searchOf(
  { search }: StatementOptions,
  ranges: readonly TimeRange[],
  budgetS: number,
): StatementOptions['search'] {
  const { options } = search.run;
  const window = { ...options.window, ranges, search: null };
  return { ...search, budgetS, run: { ...search.run, options: { ...options, window } } };
}

/** A quarter of the time at 1x, half of it at the multiplier, then 1x again: no ramp announces the load. */
function spikeOf(multiplier: number, lengthS: number): readonly Stage[] {
  const stage = (share: number, at: number) => ({
    durationMs: Math.round(share * lengthS * 1e3),
    from: at,
    to: at,
  });
  return [stage(1 / 4, 1), stage(1 / 2, multiplier), stage(1 / 4, 1)];
}

function scalingOf({ search, multiplier }: StatementOptions, part: StatementPart): ReplayOptions['scaling'] {
  if (part === 'spike' && !search.isScalingStated)
    return defaultScaling(Math.min(1, multiplier), Math.max(1, multiplier), search.awaitsValues);
  return stepScaling(search, part === 'multiplied' || part === 'spike' ? multiplier : 1);
}

/** Seconds of the recording that a part replays in a second, on average. */
function paceOf(options: StatementOptions, part: StatementPart): number {
  if (scalingOf(options, part) !== 'compress') return 1;
  const { multiplier } = options;
  if (part === 'spike') return (1 + multiplier) / 2;
  return part === 'multiplied' ? multiplier : 1;
}

/** The window, as often as it takes; or its busiest stretch, if the time is too short for all of it. */
function stretchOf(
  ranges: readonly TimeRange[],
  lengthS: number,
  pace: number,
): Partial<ReplayOptions['window']> {
  const playedS = lengthS * pace;
  const wholeS = secondsIn(ranges);
  const isOnce = Math.abs(playedS - wholeS) < 1e-6;
  if (isOnce) return { ranges, search: null, loops: 1, durationMs: null };
  const search =
    playedS > wholeS ? null : ({ kind: 'busiest', lengthS: Math.max(1, Math.floor(playedS)) } as const);
  return { ranges, search, loops: null, durationMs: lengthS * 1e3 };
}

/** What must be the same in a statement that goes on. It is a hash, because options hold secrets. */
function settingsOf(opened: OpenedCapture, options: StatementOptions, ranges: readonly TimeRange[]): string {
  const { multiplier, faults, search } = options;
  const { run, ...others } = searchOf(options, ranges, SEARCH_S);
  // A dry run plans the same statement.
  const sent = { ...run, options: { ...run.options, dryRun: false } };
  const { settings } = planCapacity(opened, { ...others, run: sent });
  const asked = { settings, multiplier, faults, name: search.verdict.name };
  return createHash('sha256').update(JSON.stringify(asked)).digest('hex');
}
