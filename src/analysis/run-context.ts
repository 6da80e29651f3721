import type { Stretch } from '../core/run.ts';
import type { Calibration } from './calibration.ts';
import type { RunFigures } from './run-statistics.ts';

/** In `interrupted`: what ended a run whose target failed so much that the guard stopped it. */
export const STOPPED_BY_FAILURES = 'RUN_ABORTED';

/** Whether the guard stopped a run. Of a merged run the shard stands in front of what ended it. */
export function isStoppedByFailures(interrupted: string | null): boolean {
  return interrupted?.endsWith(STOPPED_BY_FAILURES) ?? false;
}

/** How the sending side did. Null where nobody measured it: unknown, and not good. */
export interface SenderHealth {
  /** Share of time the busiest sender thread was at work, its waiting for the instant excluded. */
  readonly busyShare: number | null;
  /** Whether the kernel held our processes back (cgroup CPU quota) during the run. */
  readonly throttled: boolean | null;
  /** Stretches in which we, not the target, stood still. */
  readonly stalls: readonly Stretch[];
  /** Requests that were due before they had reached the sender. */
  readonly starved: number | null;
  /** Refused because of the bytes of bodies on their way; absent where nothing bounds them. */
  readonly refusedForBytes?: number;
}

/** How much of what was seen the capture holds. */
export interface Coverage {
  /** Recorded ÷ seen; null when unknown. */
  readonly share: number | null;
  /** Share of what was seen that neither sampling nor an omission accounts for; null when unknown. */
  readonly unexplained: number | null;
}

/** Of a run that was put together from shards. */
export interface ShardsContext {
  readonly count: number;
  /** Indexes of those that are not there. */
  readonly missing: readonly number[];
  /** From the first start to the last, by the clocks of their hosts. */
  readonly startSpreadUs: number;
}

/** A run that is over, and what must be known to judge it. */
export interface RunContext {
  readonly figures: RunFigures;
  readonly health: SenderHealth;
  readonly coverage: Coverage;
  readonly multiplier: number;
  /** Planned rate ÷ rate of what the capture holds; null where it holds nothing. */
  readonly playedMultiplier: number | null;
  /** Planned rate ÷ seen rate; null where what was seen is not known. */
  readonly effectiveMultiplier: number | null;
  /** Why the schedule was not played to its end (`SIGINT`, `failed_share` …); null when it was. */
  readonly interrupted: string | null;
  /** How the target compares with the recording; null or left out where that was not asked for. */
  readonly calibration?: Calibration | null;
  readonly shards?: ShardsContext | undefined;
  /** Of the same plan, by other shards that are no part of this run; 0 where it is the whole plan. */
  readonly plannedElsewhere: number;
}
