import type { Stretch } from '../../core/run.ts';
import { formatMultiplier, NS_PER_MS } from '../../core/units.ts';
import type { FaultDocument } from '../../documents/faults.ts';
import { factsOf } from '../../documents/metrics/metrics.ts';
import type { Objective } from '../../documents/metrics/objectives.ts';
import type {
  Calibration,
  ConnectionWaits,
  HealthDocument,
  JudgementBounds,
  LiveValuesDocument,
} from '../../documents/replay.ts';
import type { RunFigures } from '../run/run-statistics.ts';
import type { ShardSet } from '../run/shards.ts';

/** The value of `interrupted` if the guard stopped a run because its target failed. */
const STOPPED_BY_FAILURES = 'RUN_ABORTED';

/** Whether the guard stopped a run. In a merged run the shard precedes the cause. */
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

/** @param stalls stalls that do not overlap; only their parts after `fromNs` count */
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

/** How complete the capture is. */
interface Coverage {
  /** Recorded ÷ seen; null if unknown. */
  readonly share: number | null;
  /** Share of the seen traffic that is missing without sampling or omission as the reason; null if unknown. */
  readonly unexplained: number | null;
  /** The share is a lower bound, and unexplained an upper one. */
  readonly isAtLeast?: boolean;
}

/** A finished run, with everything that its judgement needs. */
export interface RunContext extends PlanMultipliers {
  readonly figures: RunFigures;
  /** A null in it means that a value was not measured. */
  readonly health: HealthDocument;
  readonly coverage: Coverage;
  /** Why the schedule was not completed (`SIGINT`, `failed_share` …); null if it was. */
  readonly interrupted: string | null;
  /** For a closed loop: the constant number of requests in flight. It has no planned instants that could be missed. */
  readonly concurrency?: number | null;
  /** The kind of load: `compress`, `rate`, `closed` …; absent if unknown. */
  readonly scaling?: string | undefined;
  /** Comparison of the target with the recording; null or absent if it was not requested. */
  readonly calibration?: Calibration | null;
  /** For a merged run. `startSpreadUs` is by the clocks of the hosts. */
  readonly shards?: Pick<ShardSet, 'count' | 'missing' | 'startSpreadUs'> | undefined;
  /** Values of answers in later requests; null or absent if no request needed any. */
  readonly liveValues?:
    | Pick<LiveValuesDocument, 'linked' | 'waited' | 'diverged' | 'skipped'>
    | null
    | undefined;
  /** Planned failures of dependencies; absent if there are none. */
  readonly faults?: readonly FaultDocument[] | undefined;
  /** Expected requests of a plan that may not have been read completely; absent if unknown. */
  readonly expectedRequests?: number | undefined;
  /** Requests of the plan that belong to shards outside this run; 0 if this run has the complete plan. */
  readonly plannedElsewhere: number;
}

/**
 * The allowed lag in nanoseconds: 2 ms, or 5 % of the lowest limit of an objective that includes lag if that is more.
 * Without such an objective, 5 % of the median service latency.
 */
export function lagBoundNs(
  { latency }: Pick<RunFigures, 'latency'>,
  objectives: readonly Objective[],
  bounds: JudgementBounds,
): number {
  const limitsNs = objectives
    .filter((each) => factsOf(each).includesLag && each.operator.startsWith('<'))
    .map(({ limit }) => limit * NS_PER_MS);
  const scaleNs = limitsNs.length === 0 ? (latency.service.percentile(50) ?? 0) : Math.min(...limitsNs);
  return Math.max(bounds.lagNs, bounds.lagShare * scaleNs);
}

/**
 * How many requests waited for their recorded connection; null if no request could. A wait within the lag limit is
 * harmless. With longer waits the target did not get the planned load. The wait is not part of the lag.
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

/** The requested multiplier (with stages, their mean), and the actual multipliers of the plan. */
export interface PlanMultipliers {
  readonly multiplier: number;
  /** Planned rate ÷ recorded rate; null if nothing was recorded. */
  readonly playedMultiplier: number | null;
  /** Planned rate ÷ seen rate; null if the seen rate is unknown. */
  readonly effectiveMultiplier: number | null;
}

interface PlanMultiplierParts extends Pick<PlanMultipliers, 'multiplier'> {
  /** Counts of the complete plan, over all shards. */
  readonly recorded: number;
  readonly planned: number;
  /** Recorded time per second of the run. */
  readonly pace: number;
  /** The target's share of the recorded traffic. */
  readonly targetShare: number;
  /** Recorded ÷ seen; null if unknown. */
  readonly coverage: number | null;
}

/**
 * The multipliers of a plan: planned requests per recorded exchange, times the pace, divided by the share of the
 * target. Null if nothing was recorded. The effective multiplier is also null if the coverage is unknown.
 */
export function planMultipliers(parts: PlanMultiplierParts): PlanMultipliers {
  const { multiplier, recorded, planned, pace, targetShare, coverage } = parts;
  const playedMultiplier = recorded === 0 ? null : (pace * (planned / recorded)) / targetShare;
  const isSeen = playedMultiplier !== null && coverage !== null;
  return { multiplier, playedMultiplier, effectiveMultiplier: isSeen ? playedMultiplier * coverage : null };
}

/** How much the plan exceeds the requested multiplier, as a share. Negative if it is below; null if unknown. */
export function beyondMultiplier(multipliers: PlanMultipliers): number | null {
  const reached = multipliers.effectiveMultiplier ?? multipliers.playedMultiplier;
  return reached === null ? null : reached / multipliers.multiplier - 1;
}

/**
 * `2.446 times the traffic that was seen`, or `… what the capture holds` if the coverage is unknown. Null if nothing
 * was recorded.
 */
export function reachedText({ playedMultiplier, effectiveMultiplier }: PlanMultipliers): string | null {
  if (effectiveMultiplier !== null) {
    return `${formatMultiplier(effectiveMultiplier)} times the traffic that was seen`;
  }
  return playedMultiplier === null
    ? null
    : `${formatMultiplier(playedMultiplier)} times what the capture holds`;
}

/** Shares of the planned requests that lacked a live value: above the first it is noted, above the second in doubt. */
export const DIVERGED_NOTE = 0.01;
export const DIVERGED_DOUBT = 0.05;

/** Hits of a cache may differ from the recorded ones by this share of the prompt tokens. */
const CACHE_DIFFERENCE = 0.05;

/** The shares of prompt tokens from the cache, recorded and now; null if they are alike, or one is not known. */
export function unlikeHitsOf({ cacheHits }: RunContext['figures']) {
  if (cacheHits?.both == null) return null;
  const { recorded, sent } = cacheHits.both;
  if (Math.abs(sent.share - recorded.share) <= CACHE_DIFFERENCE) return null;
  return { recorded: recorded.share, sent: sent.share, answers: sent.answers };
}

/** The requests that were not sent with the values that they need; null if none needed any. */
export function divergedOf({ figures, liveValues }: RunContext) {
  if (liveValues == null || figures.planned === 0) return null;
  const { diverged, skipped } = liveValues;
  // Those that were skipped because they lacked a value are among both.
  const requests = Math.max(diverged, skipped);
  return { requests, share: requests / figures.planned };
}
