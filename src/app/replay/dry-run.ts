import { z } from 'zod';
import { type Fidelity, FidelityStatistics } from '../../analysis/run/fidelity.ts';
import type { Reason } from '../../analysis/verdict/reasons.ts';
import {
  JUDGEMENT_BOUNDS,
  type PlanMultipliers,
  planMultipliers,
} from '../../analysis/verdict/run-context.ts';
import { sloState } from '../../analysis/verdict/summary.ts';
import type { Looks } from '../../analysis/verdict/until-sure.ts';
import { planShort } from '../../analysis/verdict/validity.ts';
import type { CaptureSource } from '../../core/ports.ts';
import { formatInstantUs } from '../../core/units.ts';
import type { Threshold } from '../../documents/metrics/objectives.ts';
import { REPLAY_SCHEMA_VERSION, replaySchema } from '../../documents/replay.ts';
import { RateCeiling } from '../../replay/guard.ts';
import { describeReplayOptions } from '../../replay/options/replay-options.ts';
import { type DryRunParts, type DryRunReport, dryRun } from '../../replay/plan/dry-run.ts';
import { OpenSessions } from '../../replay/plan/sessions.ts';
import { copyIdentityOf } from '../../replay/plan/superpose.ts';
import { RequestBuilder } from '../../replay/request/build.ts';
import type { Playback } from '../../replay/window/playback.ts';
import { nothingSelected } from '../../replay/window/probe.ts';
import { VERSION } from '../package.ts';
import {
  type Prelude,
  planDocument,
  preludeOf,
  type ReplayPlan,
  reckoningOf,
  requestsLeft,
  statedBounds,
} from './plan.ts';
import { planDigest } from './shard.ts';
import { boundsOfRun } from './until-sure.ts';
import { windowsDocument } from './windows.ts';

/** The result of planning a complete window. */
export interface DryRunOutcome {
  readonly plan: ReplayPlan;
  readonly prelude: Prelude;
  readonly report: DryRunReport;
  readonly fidelity: Fidelity;
  readonly playback: Playback;
}

/**
 * Plans the complete window and sends nothing.
 * @param source the source of the plan
 * @param capture the opened capture
 * @param onPlan called with the facts that are known before the window is read
 * @throws AppError CAPTURE_EMPTY if no exchange is selected; OPTION_INVALID if calibration and warm-up leave nothing to
 *   judge; CAPTURE_DAMAGED
 */
export async function planWindow(
  plan: ReplayPlan,
  source: Playback,
  capture: CaptureSource,
  onPlan: (prelude: Prelude) => void = () => undefined,
): Promise<DryRunOutcome> {
  const prelude = preludeOf(plan, source, capture);
  onPlan(prelude);
  const statistics = new FidelityStatistics();
  source.hear((offsetUs) => statistics.addInWindow(offsetUs));
  const report = await dryRun(dryRunParts(plan, prelude, source), statistics);
  // The same error as in a replay, so that a script that plans first gets it here.
  if (report.whole.recorded === 0) throw nothingSelected(source, plan.options.filters);
  return { plan, prelude, report, fidelity: statistics.figures(), playback: source };
}

function dryRunParts(plan: ReplayPlan, prelude: Prelude, source: CaptureSource): DryRunParts {
  const { options, overview, window, forecast, scaling } = plan;
  const maxRequests = requestsLeft(plan, prelude);
  return {
    source,
    range: window,
    scaling,
    openSessions: OpenSessions.before(overview, source, window),
    shard: options.shard,
    maxRequests,
    ceiling: RateCeiling.over(forecast.plannedPeakPerSecond, options.maxRatePerSecond),
    durationNs: window.durationNs,
    expected:
      Math.min(forecast.plannedExchanges, maxRequests ?? Number.POSITIVE_INFINITY) /
      (options.shard?.count ?? 1),
    arrivalsOnly: overview.arrivalsOnly,
    builder: new RequestBuilder({
      ...options,
      runId: 'dry-run',
      identity: copyIdentityOf(overview, scaling),
    }),
  };
}

/**
 * The document of a run with the facts of its plan. Fields that are unknown before the run are null.
 * @param captureIdentity identity of the opened capture
 * @param thresholds objectives of the run
 * @param looks planned looks of the run
 */
export function dryRunDocument(
  outcome: DryRunOutcome,
  captureIdentity: string,
  thresholds: readonly Threshold[] = [],
  looks: Looks | null = null,
): object {
  const { plan, prelude, report, fidelity, playback } = outcome;
  const { options, overview, window } = plan;
  const { cappedAtNs } = report.whole;
  const { recorded, planned, recordedToPlanned, duplicates, unfiltered } = fidelity;
  const plannedPart = planDocument(plan);
  const { multiplier, effectiveMultiplier } = countedMultipliers(outcome);
  return {
    ...UNKNOWN,
    schemaVersion: REPLAY_SCHEMA_VERSION,
    kind: 'replay_plan',
    version: VERSION,
    ...plannedPart,
    ...windowsDocument(window, options.filters, playback),
    shard: options.shard && { ...options.shard, planDigest: planDigest(plan, captureIdentity) },
    ...(cappedAtNs === null ? {} : { durationS: cappedAtNs / 1e9, endsWith: 'requests' }),
    multiplier,
    effectiveMultiplier,
    reasons: countedReasons(outcome),
    notes: [],
    recorded: recorded.count + playback.filtered,
    selected: recorded.count,
    planned: planned.count,
    planCounted: true,
    refused: report.refusedForRate,
    maxRatePerSecond: options.maxRatePerSecond,
    sendable: !overview.arrivalsOnly,
    skipped: { ...report.audit.skipped, filtered: playback.filtered },
    scalingPlan: { ...plannedPart.scalingPlan, counts: report.scaling },
    fidelity: {
      ...unknownIn('fidelity'),
      recorded,
      planned,
      unfiltered,
      recordedToPlanned,
      duplicateRatio: duplicates.ratio,
      duplicateRatioExact: duplicates.exact,
    },
    connections: { ...unknownIn('connections'), policy: options.connections, openMax: report.connections },
    slo: thresholds.map((threshold) => ({
      ...sloState({ threshold, observed: null, ok: null }),
      upperBound: null,
    })),
    ...preludeDocument(prelude),
    bounds: { ...JUDGEMENT_BOUNDS, ...boundsOfRun(plan, looks) },
    untilSure: looks?.document(null) ?? null,
    options: describeReplayOptions(options, window),
    payloads: report.payloads,
  };
}

function preludeDocument({ calibration, warmup }: Prelude): object {
  return {
    calibration: calibration && {
      ...unknownIn('calibration'),
      from: formatInstantUs(calibration.plan.window.fromUs),
      to: formatInstantUs(calibration.plan.window.toUs - 1),
      precedesWindow: calibration.precedesWindow,
      plannedRequests: calibration.plannedRequests,
    },
    warmup: warmup && {
      ...unknownIn('warmup'),
      askedS: warmup.askedNs / 1e9,
      playedS: warmup.spanNs / 1e9,
      planned: warmup.plannedExchanges,
    },
  };
}

/** A part of the document of a run, in which all values are null. */
function unknownIn(key: keyof typeof replaySchema.shape): object {
  const part: z.ZodType = replaySchema.shape[key];
  return unknownOf(part instanceof z.ZodNullable ? (part.unwrap() as z.ZodType) : part) as object;
}

function unknownOf(type: z.ZodType): unknown {
  if (type instanceof z.ZodOptional) return unknownOf(type.unwrap() as z.ZodType);
  if (!(type instanceof z.ZodObject)) return null;
  const entries = Object.entries(type.shape as Record<string, z.ZodType>);
  return Object.fromEntries(entries.map(([key, part]) => [key, unknownOf(part)]));
}

const UNKNOWN = unknownOf(replaySchema) as object;

type CountedPlan = Pick<DryRunOutcome, 'plan' | 'report' | 'fidelity'>;

/** The multipliers of a counted plan, calculated in the same way as in the run. */
export function countedMultipliers({ plan, report, fidelity }: CountedPlan): PlanMultipliers {
  const { recorded, planned, cappedAtNs } = report.whole;
  const { options, overview } = plan;
  return planMultipliers({
    ...reckoningOf(plan, { recorded: fidelity.recorded, planned, isCut: cappedAtNs !== null }),
    recorded,
    planned,
    targetShare: options.targetShare,
    coverage: overview.coverage,
  });
}

/** Reasons the plan alone gives for an INCONCLUSIVE run. An empty plan is reported elsewhere. */
export function countedReasons(counted: CountedPlan): Reason[] {
  if (counted.report.whole.planned === 0) return [];
  const bounds = { ...JUDGEMENT_BOUNDS, ...statedBounds(counted.plan.options) };
  const short = planShort(countedMultipliers(counted), bounds);
  return short === null ? [] : [short];
}
