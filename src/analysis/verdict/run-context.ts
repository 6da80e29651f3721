import type { Stretch } from '../../core/run.ts';
import { formatMultiplier, NS_PER_MS } from '../../core/units.ts';
import type { FaultDocument } from '../../documents/faults.ts';
import type {
  Calibration,
  ConnectionWaits,
  HealthDocument,
  JudgementBounds,
} from '../../documents/replay.ts';
import type { Threshold } from '../objectives/slo.ts';
import type { RunFigures } from '../run/run-statistics.ts';
import type { ShardSet } from '../run/shards.ts';

/** The value of `interrupted` if the guard stopped a run because its target failed. */
const STOPPED_BY_FAILURES = 'RUN_ABORTED';

/** Whether the guard stopped a run. In a merged run the cause has the shard in front of it. */
export function isStoppedByFailures(interrupted: string | null): boolean {
  return interrupted?.endsWith(STOPPED_BY_FAILURES) ?? false;
}

export const JUDGEMENT_BOUNDS: JudgementBounds = Object.freeze({
  achievedShare: 0.99,
  lagNs: 2e6,
  lagShare: 0.05,
  busyShare: 0.8,
  arrivalShare: 0.1,
  arrivalDifference: 0.25,
  unexplainedShare: 0.01,
  multiplierShare: 0.02,
  connectionWaitShare: 0.01,
  statusShare: 0.02,
  sizeFactor: 2,
  rejectedShare: 0.01,
  uncheckedShare: 0.01,
  confidence: 0.95,
  unreadShare: 0.01,
});

/** @param stalls that do not overlap; only their parts after `fromNs` count */
export function stallFigures(
  stalls: readonly Stretch[],
  fromNs = 0,
): Pick<HealthDocument, 'stalls' | 'stalledMs' | 'longestStallMs'> {
  const lengths = stalls
    .map(({ fromOffsetNs, toOffsetNs }) => (toOffsetNs - Math.max(fromNs, fromOffsetNs)) / NS_PER_MS)
    .filter((lengthMs) => lengthMs > 0);
  return {
    stalls: lengths.length,
    stalledMs: lengths.reduce((sum, each) => sum + each, 0),
    longestStallMs: Math.max(0, ...lengths),
  };
}

/** How much of what was seen the capture holds. */
interface Coverage {
  /** Recorded ÷ seen; null when unknown. */
  readonly share: number | null;
  /** Share of what was seen that neither sampling nor an omission accounts for; null when unknown. */
  readonly unexplained: number | null;
}

/** A run that is over, and what must be known to judge it. */
export interface RunContext extends PlanMultipliers {
  readonly figures: RunFigures;
  /** A null in it means not measured; it does not mean good. */
  readonly health: HealthDocument;
  readonly coverage: Coverage;
  /** Why the schedule was not played to its end (`SIGINT`, `failed_share` …); null when it was. */
  readonly interrupted: string | null;
  /** Of a closed loop: the requests in flight at all times. It plans no instants that could be missed. */
  readonly concurrency?: number | null;
  /** How the load was made: `compress`, `rate`, `closed` …; left out where it is not known. */
  readonly scaling?: string | undefined;
  /** How the target compares with the recording; null or left out where that was not asked for. */
  readonly calibration?: Calibration | null;
  /** Of a run that was put together from shards; `startSpreadUs` is by the clocks of their hosts. */
  readonly shards?: Pick<ShardSet, 'count' | 'missing' | 'startSpreadUs'> | undefined;
  /** Planned failures of dependencies; left out where none was planned. */
  readonly faults?: readonly FaultDocument[] | undefined;
  /** Of a plan that may not have been read to its end; left out where it is not known. */
  readonly expectedRequests?: number | undefined;
  /** Of the same plan, by other shards that are no part of this run; 0 where it is the whole plan. */
  readonly plannedElsewhere: number;
}

/**
 * The lag our side may have, nanoseconds: 2 ms, or 5 % of the least limit of an objective that counts it, where that
 * is more. Without such an objective it is 5 % of the median service latency.
 */
export function lagBoundNs(
  { latency }: Pick<RunFigures, 'latency'>,
  thresholds: readonly Threshold[],
  bounds: JudgementBounds,
): number {
  const limitsNs = thresholds
    .filter(({ metric, operator }) => (metric === 'latency' || metric === 'ttft') && operator.startsWith('<'))
    .map(({ limit }) => limit * NS_PER_MS);
  const scaleNs = limitsNs.length === 0 ? (latency.service.percentile(50) ?? 0) : Math.min(...limitsNs);
  return Math.max(bounds.lagNs, bounds.lagShare * scaleNs);
}

/**
 * How many requests waited for their recorded connection; null where none could. A wait within the bound of lag delays
 * a request no more than lag may. A longer one means that the target did not get the planned load. The wait is no part
 * of the lag.
 */
export function connectionWaitsOf(figures: RunFigures, bounds: JudgementBounds): ConnectionWaits | null {
  const { fidelity, latency } = figures;
  if (fidelity.waitsFor !== 'connections') return null;
  const boundNs = lagBoundNs(figures, [], bounds);
  return {
    waited: latency.connectionWait.countOver(0),
    late: latency.connectionWait.countOver(boundNs),
    boundMs: boundNs / NS_PER_MS,
  };
}

/** The multiplier that was asked for (with stages, the mean of what they ask), and the ones the plan came to. */
export interface PlanMultipliers {
  readonly multiplier: number;
  /** Planned rate ÷ rate of what the capture holds; null where it holds nothing. */
  readonly playedMultiplier: number | null;
  /** Planned rate ÷ seen rate; null where what was seen is not known. */
  readonly effectiveMultiplier: number | null;
}

interface PlanMultiplierParts extends Pick<PlanMultipliers, 'multiplier'> {
  /** Of the whole plan, whichever shard plays it. */
  readonly recorded: number;
  readonly planned: number;
  /** Recorded time that passes in a second of the run. */
  readonly pace: number;
  /** The target's share of the recorded traffic. */
  readonly targetShare: number;
  /** Recorded ÷ seen; null if unknown. */
  readonly coverage: number | null;
}

/**
 * The multipliers of a plan: its requests for each recorded exchange, times the pace, over the share of the target. Null
 * where nothing was recorded; the effective one also where the coverage is not known.
 */
export function planMultipliers(parts: PlanMultiplierParts): PlanMultipliers {
  const { multiplier, recorded, planned, pace, targetShare, coverage } = parts;
  const playedMultiplier = recorded === 0 ? null : (pace * (planned / recorded)) / targetShare;
  const isSeen = playedMultiplier !== null && coverage !== null;
  return { multiplier, playedMultiplier, effectiveMultiplier: isSeen ? playedMultiplier * coverage : null };
}

/** By what share a plan is more than the multiplier that was asked for, less than 0 where it is less; null if unknown. */
export function beyondMultiplier(multipliers: PlanMultipliers): number | null {
  const reached = multipliers.effectiveMultiplier ?? multipliers.playedMultiplier;
  return reached === null ? null : reached / multipliers.multiplier - 1;
}

/**
 * `2.446 times the traffic that was seen`, or `… what the capture holds` where the coverage is not known. Null where
 * nothing was recorded.
 */
export function reachedText({ playedMultiplier, effectiveMultiplier }: PlanMultipliers): string | null {
  if (effectiveMultiplier !== null) {
    return `${formatMultiplier(effectiveMultiplier)} times the traffic that was seen`;
  }
  return playedMultiplier === null
    ? null
    : `${formatMultiplier(playedMultiplier)} times what the capture holds`;
}
