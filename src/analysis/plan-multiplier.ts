import { formatMultiplier } from '../core/units.ts';
import type { Reason } from './findings.ts';
import type { JudgementBounds } from './judgement-bounds.ts';
import type { RunContext } from './run-context.ts';

/** What was asked for, and what a plan is of what the capture holds and of what was seen. */
export type PlanMultipliers = Pick<RunContext, 'multiplier' | 'playedMultiplier' | 'effectiveMultiplier'>;

export interface PlanMultiplierParts {
  /** The multiplier that was asked for; with stages, the mean of what they ask of the window. */
  readonly multiplier: number;
  /** Of the whole plan, whichever shard plays it. */
  readonly recorded: number;
  readonly planned: number;
  /** Recorded time that passes in a second of the run. */
  readonly pace: number;
  /** What the target is of what was recorded. */
  readonly targetShare: number;
  /** Recorded ÷ seen; null where that is not known. */
  readonly coverage: number | null;
}

/**
 * Planned rate ÷ rate of what the capture holds: what was planned of each recorded exchange, in as much less time as
 * the pace says; and the same of what was seen. Null where nothing was recorded or what was seen is not known.
 */
export function planMultipliers(parts: PlanMultiplierParts): PlanMultipliers {
  const { multiplier, recorded, planned, pace, targetShare, coverage } = parts;
  const playedMultiplier = recorded === 0 ? null : (pace * (planned / recorded)) / targetShare;
  const isSeen = playedMultiplier !== null && coverage !== null;
  return { multiplier, playedMultiplier, effectiveMultiplier: isSeen ? playedMultiplier * coverage : null };
}

/**
 * `2.446 times the traffic that was seen`. Where nobody knows what was seen, the multiplier is of what the capture
 * holds, and must be reached all the same. Null where nothing was recorded.
 */
export function reachedText({ playedMultiplier, effectiveMultiplier }: PlanMultipliers): string | null {
  if (effectiveMultiplier !== null) {
    return `${formatMultiplier(effectiveMultiplier)} times the traffic that was seen`;
  }
  return playedMultiplier === null
    ? null
    : `${formatMultiplier(playedMultiplier)} times what the capture holds`;
}

/** Whether it is farther below the multiplier that was asked for than is allowed. */
export function fallsShort(multipliers: PlanMultipliers, { multiplierShare }: JudgementBounds): boolean {
  const reached = multipliers.effectiveMultiplier ?? multipliers.playedMultiplier;
  return reached !== null && reached < multipliers.multiplier * (1 - multiplierShare);
}

/** Of a plan, which is known before anything is sent. */
export function planShort(multipliers: PlanMultipliers, bounds: JudgementBounds): Reason | null {
  if (!fallsShort(multipliers, bounds)) return null;
  return {
    code: 'multiplier_not_reached',
    text: `the plan is ${reachedText(multipliers)}, not ${formatMultiplier(multipliers.multiplier)}`,
    advice:
      'Requests are missing from the recording or cannot be replayed: see skipped and coverage. Where sessions were drawn, the seed drew few: give another --seed, or a longer window, or --scaling compress, which draws none of a capture that holds all that was seen.',
  };
}
