import type { Scaling } from './scaling/scaling.ts';
import type { ReplayWindow } from './window.ts';

/** Where a plan ends, and with which of the things that end one: whichever comes first. */
export interface PlanEnd {
  readonly with: 'windows' | 'stages' | 'duration';
  /** Nanoseconds of the run, with the copies that come after what they repeat. */
  readonly offsetNs: number;
  /** How far into its windows that is, all passes together, microseconds of the recording; seams are left out. */
  readonly playedUs: number;
}

/** What ends a plan of these windows. */
export function planEndOf(scaling: Scaling, { onceNs, loops, durationNs }: ReplayWindow): PlanEnd {
  const once = (onceNs / 1e3) * scaling.minPace;
  const windowsUs = loops === null ? Number.POSITIVE_INFINITY : once * loops;
  const { latestCopyUs, endUs } = scaling;
  // Copies of what was played until the stages were over are played as well.
  const stagesNs = latestCopyUs === 0 ? scaling.curve.durationNs : scaling.offsetNsAt(endUs + latestCopyUs);
  const ends = [
    { with: 'windows', offsetNs: scaling.offsetNsAt(windowsUs + latestCopyUs) },
    { with: 'stages', offsetNs: stagesNs },
    { with: 'duration', offsetNs: durationNs ?? Number.POSITIVE_INFINITY },
  ] as const;
  const first = ends.reduce((least, each) => (each.offsetNs < least.offsetNs ? each : least));
  return { ...first, playedUs: Math.min(windowsUs, reachUs(scaling, durationNs)) };
}

/** How far into windows that never end the stages and the duration let a run come, microseconds. */
export function reachUs(scaling: Scaling, durationNs: number | null): number {
  return scaling.playedUs(durationNs ?? Number.POSITIVE_INFINITY);
}
