import type { AppError } from '../core/errors.ts';
import type { ReplayAudit } from './audit.ts';
import type { BodyChangeCounts } from './body-changes.ts';
import type { IgnoredPlaces } from './check/answer-checks.ts';
import type { RecordedConnectionUse } from './engine/connections.ts';
import type { EngineHealth } from './engine/health.ts';
import type { ScalingCounts } from './scaling/tally.ts';
import type { SessionOrderCounts } from './session-order.ts';
import type { TimeShiftCounts } from './time-shift.ts';

/** How a run came to its end. */
export type ReplayEnd =
  | { readonly kind: 'complete' }
  | { readonly kind: 'interrupted' }
  | { readonly kind: 'aborted'; readonly error: AppError };

export interface ReplayOutcome {
  readonly end: ReplayEnd;
  readonly health: EngineHealth;
  readonly audit: ReplayAudit;
  readonly scaling: ScalingCounts;
  readonly changes: BodyChangeCounts;
  /** Recorded cancels that were waited for because the recording does not say when. */
  readonly untimedCancels: number;
  readonly recordedConnections: RecordedConnectionUse;
  /** Null where every request went at its planned instant. */
  readonly sessionOrder: SessionOrderCounts | null;
  /** Null where no time was to be moved. */
  readonly timeShift: TimeShiftCounts | null;
  /** What was not compared of answers; null where none was compared. */
  readonly ignored: IgnoredPlaces | null;
}

/** Where a run is, for whoever watches it. */
export interface ReplayPosition {
  readonly elapsedNs: number;
  /** Sends that were due and had not ended when ends were last reported. */
  readonly outstanding: number;
  /** Sends that the target has, and that wait at our end for their recorded connection. */
  readonly inFlight: number;
  readonly waiting: number;
  readonly skipped: number;
}
