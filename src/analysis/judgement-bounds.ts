/** Where our own side, or the comparison, is no longer good enough for a verdict. */
export interface JudgementBounds {
  /** Least share of planned sends that must have been sent. */
  readonly achievedShare: number;
  /** Lag p99 may be this, or this share of the median service latency, whichever is more. */
  readonly lagNs: number;
  readonly lagOfServiceShare: number;
  /** Share of time a sender thread may be at work. */
  readonly busyShare: number;
  /** The longest stall, and the share of the run all stalls together may take. */
  readonly stallNs: number;
  readonly stalledShare: number;
  /** CV and IDC of what was sent may be off the plan by this share of it or by this much, whichever is more. */
  readonly arrivalShare: number;
  readonly arrivalDifference: number;
  /** Share of what was seen that neither sampling nor an omission accounts for. */
  readonly unexplainedShare: number;
  /** By how much of it the effective multiplier may fall short. */
  readonly multiplierShare: number;
  /** Share of what was sent that may have waited for its recorded connection for longer than lag may last. */
  readonly connectionWaitShare: number;
  /** By how much the share of answers that are no 2xx, or the mix of statuses, may be off the recording. */
  readonly statusShare: number;
  /** Share of answers that may be without comparison before an objective on mismatches is in doubt. */
  readonly uncheckedShare: number;
}

export const JUDGEMENT_BOUNDS: JudgementBounds = Object.freeze({
  achievedShare: 0.99,
  lagNs: 2e6,
  lagOfServiceShare: 0.05,
  busyShare: 0.8,
  stallNs: 250e6,
  stalledShare: 0.01,
  arrivalShare: 0.1,
  arrivalDifference: 0.25,
  unexplainedShare: 0.01,
  multiplierShare: 0.01,
  connectionWaitShare: 0.01,
  statusShare: 0.02,
  uncheckedShare: 0.01,
});
