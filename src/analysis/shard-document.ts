import type { ArrivalFigures } from './arrival-statistics.ts';
import type { DuplicateFigures } from './duplicate-ratio.ts';
import type { Fidelity, StreamDistance } from './fidelity.ts';
import type { RecordedFailures } from './status-mix.ts';

/** What a shard knows of the plan that all shards play. */
export interface WholePlan {
  readonly recorded: ArrivalFigures;
  /** Requests of other shards that turned out not to be replayable are among them. */
  readonly planned: ArrivalFigures;
  readonly recordedToPlanned: StreamDistance;
  readonly duplicates: DuplicateFigures;
}

/** What a run knows of its clocks. How far those of two hosts lie apart it cannot know. */
export interface ShardClock {
  /** Wall clock minus monotonic clock, after the run less before it, microseconds: steps and slewing meanwhile. */
  readonly driftUs: number;
  /** Equal for processes under one kernel, which have one clock; null where that is not known. */
  readonly kernel: string | null;
}

/** What a run says of the shard it was, for people and so that it can be merged with the others. */
export interface ShardDocument {
  /** From 0. */
  readonly index: number;
  readonly count: number;
  /** Equal for shards of one plan on one capture. */
  readonly planDigest: string;
  readonly host: string;
  /** Null where the start was not set. */
  readonly startAt: string | null;
  readonly clock: ShardClock;
  /** Recorded time that passes in a second of the run. */
  readonly pace: number;
  /** Recorded statuses of what was planned here. */
  readonly recordedStatuses: Readonly<Record<string, number>>;
  /** Of the same, those that failed then without a 5xx. */
  readonly recordedFailures: RecordedFailures;
  readonly whole: WholePlan;
}

export function wholePlanOf(fidelity: Fidelity): WholePlan {
  const { recorded, planned, recordedToPlanned, duplicates } = fidelity;
  return { recorded, planned, recordedToPlanned, duplicates };
}
