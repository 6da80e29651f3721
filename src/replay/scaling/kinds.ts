/** A way to make more or less of a recording, with what it leaves true and what it does not. */
export interface ScalingKind {
  readonly name: ScalingName;
  readonly keeps: string;
  readonly bends: string;
}

export const SCALINGS = ['compress', 'amplify', 'superpose', 'thin'] as const;
export type ScalingName = (typeof SCALINGS)[number];

export const SCALING_KINDS: Readonly<Record<ScalingName, ScalingKind>> = {
  compress: {
    name: 'compress',
    keeps: 'order, ties, the shape of the gaps and the payload mix',
    bends: 'think times, session overlap and ramps, which pass faster by the multiplier',
  },
  amplify: {
    name: 'amplify',
    keeps: 'the shape of the day, think times and the order within sessions',
    bends:
      'payloads, which repeat and meet warm caches; all sessions grow together, so bursts grow with them',
  },
  superpose: {
    name: 'superpose',
    keeps: 'think times, the order within sessions, and payloads that are all fresh',
    bends: 'bursts, which smooth out where independent stretches lie over each other',
  },
  thin: {
    name: 'thin',
    keeps: 'the shape of the day, think times and whole sessions',
    bends: 'bursts within a second, which fewer sessions make flatter; a reused cache is met less often',
  },
};

/**
 * What stages of different multipliers bend besides, where a way decides whole sessions: each by the multiplier at its
 * first exchange.
 */
export const STAGES_BEND =
  'steps and ramps of the stages, which only sessions that begin meanwhile follow: where sessions are long, late or hardly at all';

/** The multipliers a way is able to reach, or null. */
export function unreachable(name: ScalingName, min: number, max: number): string | null {
  if ((name === 'amplify' || name === 'superpose') && min < 1) return `${name} begins at 1x`;
  if (name === 'thin' && max > 1) return 'thin ends at 1x';
  return null;
}

/** What is done where nobody chose: sessions are left out below 1, time is compressed above. */
export function defaultScaling(min: number, max: number): ScalingName {
  return max <= 1 && min < 1 ? 'thin' : 'compress';
}
