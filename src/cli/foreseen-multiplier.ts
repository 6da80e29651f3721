import type { Reason } from '../analysis/findings.ts';
import { JUDGEMENT_BOUNDS } from '../analysis/judgement-bounds.ts';
import {
  type PlanMultipliers,
  planMultipliers,
  planShort,
  reachedText,
} from '../analysis/plan-multiplier.ts';
import { systemClock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import type { CaptureSource } from '../core/ports.ts';
import { formatMs, formatMultiplier } from '../core/units.ts';
import { countPlan, type PlanCount } from '../replay/plan-count.ts';
import { Scaling } from '../replay/scaling/scaling.ts';
import { type LeadIn, requestsLeft } from './lead-in.ts';
import type { ReplayPlan } from './replay-plan.ts';
import { askedMultiplier, playedPace } from './replay-scaling.ts';
import { statedBounds } from './replay-trust-flags.ts';
import { playbackOf } from './replay-windows.ts';

/** So long may a start be put off to count its plan. What takes longer has so many sessions that draws hardly miss. */
const COUNT_NS = 250_000_000;
/** Of what is left until a start that was set, so much is for threads and connections. */
const PREPARE_US = 5_000_000;

/**
 * Counts the judged part of a plan before anything of it is sent, if it is not known without.
 * @param capture as it was opened
 * @returns null where nothing is drawn and no cap ends it, or where that takes too long
 */
export function countedBefore(plan: ReplayPlan, leadIn: LeadIn, capture: CaptureSource): PlanCount | null {
  const { options, overview, window, scaling } = plan;
  const isDrawn = scaling.alters || scaling.layers.length > 1;
  if (!isDrawn && options.maxRequests === null) return null;
  const untilNs = systemClock.nowNs() + countableNs(options.startAtUs);
  const stretch = {
    source: playbackOf(capture, window, options.filters),
    range: window,
    scaling: () => new Scaling({ options, coverage: overview.coverage, layers: scaling.layers }),
    durationNs: window.durationNs,
    arrivalsOnly: overview.arrivalsOnly,
  };
  try {
    return countPlan(stretch, requestsLeft(plan, leadIn), () => systemClock.nowNs() < untilNs);
  } catch (thrown) {
    // The run comes there too, keeps what it sent until then, and says where the capture is damaged.
    if (thrown instanceof AppError) return null;
    throw thrown;
  }
}

/** A warning is no reason to come late to a start that others share. */
function countableNs(startAtUs: number | null): number {
  if (startAtUs === null) return COUNT_NS;
  return Math.min(COUNT_NS, Math.max(0, (startAtUs - systemClock.epochUs() - PREPARE_US) * 1e3));
}

/** What a counted plan is of what was recorded and seen, as the run itself will reckon it. */
export function foreseenMultipliers(plan: ReplayPlan, { recorded, planned }: PlanCount): PlanMultipliers {
  const { options, overview, scaling, window } = plan;
  return planMultipliers({
    multiplier: askedMultiplier(plan),
    ...{ recorded, planned },
    pace: playedPace(scaling, window),
    targetShare: options.targetShare,
    coverage: overview.coverage,
  });
}

/** For what of the plan alone a run of it is bound to be doubted. An empty one is told of in other words. */
export function foreseenReasons(plan: ReplayPlan, count: PlanCount): Reason[] {
  if (count.planned === 0) return [];
  const bounds = { ...JUDGEMENT_BOUNDS, ...statedBounds(plan.options) };
  const short = planShort(foreseenMultipliers(plan, count), bounds);
  return short === null ? [] : [short];
}

/** The same for people, with where --max-requests ends the plan. */
export function foreseenLines(plan: ReplayPlan, count: PlanCount | null): string[] {
  if (count === null) return [];
  const multipliers = foreseenMultipliers(plan, count);
  const reached = reachedText(multipliers);
  const asked = formatMultiplier(multipliers.multiplier);
  const { cappedAtNs } = count;
  return [
    ...(cappedAtNs === null
      ? []
      : [
          `  the plan ends after ${formatMs(cappedAtNs / 1e6)} of the run, with its requests: --max-requests`,
        ]),
    ...(reached === null ? [] : [`  the plan is ${reached}; asked for: ${asked}`]),
    ...foreseenReasons(plan, count).flatMap(({ code, advice }) => [
      `  WARNING: that is too little for a verdict of PASS, or for a valid run (${code})`,
      `    ${advice}`,
    ]),
  ];
}
