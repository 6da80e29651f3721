import { AppError, type Problems } from '../../core/errors.ts';
import { parseDurationMs, parseShare } from '../../core/units.ts';
import { type PerturbedPlace, parsePerturbedPlace } from '../perturbation.ts';
import { parseStages, RateCurve, type Stage } from '../stages.ts';
import { defaultScaling, SCALINGS, type ScalingName, unreachable } from './kinds.ts';

/** What was asked for, as it stands on the command line. */
export interface RawScalingOptions {
  readonly scaling?: string | undefined;
  readonly stages?: string | undefined;
  readonly targetShare?: string | undefined;
  readonly seed?: string | undefined;
  readonly jitter?: string | undefined;
  readonly perturb?: readonly string[] | undefined;
}

/** How the multiplier is reached. Plain data: it travels to a thread. */
export interface ScalingOptions {
  readonly scaling: ScalingName;
  /** Null where the multiplier holds throughout; else each stage's is multiplied by it. */
  readonly stages: readonly Stage[] | null;
  /** What the target is of what was recorded: 0.1 for two replicas of twenty. */
  readonly targetShare: number;
  readonly seed: number;
  /** Copies of sessions begin up to so much after what they are copies of. */
  readonly jitterMs: number;
  /** Where copies are made to differ from what they are copies of. */
  readonly perturb: readonly PerturbedPlace[];
}

export const SCALING_DEFAULTS = Object.freeze({ targetShare: '1', seed: '1', jitter: '1s' });

/** Copies wait in memory until their time, so it cannot be any. */
const MAX_JITTER_MS = 60_000;
const MAX_PERTURBED = 16;

/** Resolves what was asked for; what is wrong with it goes to `problems`. */
export function resolveScaling(
  raw: RawScalingOptions,
  multiplier: number,
  problems: Problems,
): ScalingOptions {
  const stages = problems.optional(raw.stages, parseStages);
  const { min, max } = new RateCurve(multiplier, stages);
  const asked = problems.optional(raw.scaling, parseScalingName);
  const scaling = asked ?? defaultScaling(min, max);
  const reason = unreachable(scaling, min, max);
  if (reason !== null) {
    problems.add(
      `--scaling: ${reason}, and ${min === max ? `${min}x was` : `${min}x to ${max}x were`} asked for`,
    );
  }
  const perturb = raw.perturb ?? [];
  if (perturb.length > MAX_PERTURBED) {
    problems.add(`--perturb: ${perturb.length} places are more than ${MAX_PERTURBED}`);
  }
  return {
    scaling,
    stages,
    targetShare: problems.attempt(() => parseTargetShare(raw.targetShare ?? SCALING_DEFAULTS.targetShare), 1),
    seed: problems.attempt(() => parseSeed(raw.seed ?? SCALING_DEFAULTS.seed), 1),
    jitterMs: problems.attempt(() => parseJitterMs(raw.jitter ?? SCALING_DEFAULTS.jitter), 0),
    perturb: perturb.flatMap((text) =>
      problems.attempt<PerturbedPlace[]>(() => [parsePerturbedPlace(text)], []),
    ),
  };
}

function parseScalingName(text: string): ScalingName {
  const name = SCALINGS.find((known) => known === text);
  if (name !== undefined) return name;
  throw new AppError(
    'OPTION_INVALID',
    `--scaling: ${JSON.stringify(text)} is none of ${SCALINGS.join(', ')}`,
  );
}

/** `2/20`, or a share such as `10%`. */
function parseTargetShare(text: string): number {
  const [, target, recorded] = /^\s*(\d+)\s*\/\s*(\d+)\s*$/.exec(text) ?? [];
  if (target === undefined || recorded === undefined) return parseShare(text, '--target-share');
  const share = Number(target) / Number(recorded);
  if (share > 0 && share <= 1) return share;
  throw new AppError('OPTION_INVALID', `--target-share: ${JSON.stringify(text)} is not a share`, {
    hint: 'Give replicas of the target / replicas that were recorded, such as 2/20; a larger target takes a multiplier.',
  });
}

function parseSeed(text: string): number {
  const seed = /^\s*\d+\s*$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(seed)) return seed;
  throw new AppError(
    'OPTION_INVALID',
    `--seed: ${JSON.stringify(text)} is not a whole number from 0 to 2^53 - 1`,
  );
}

function parseJitterMs(text: string): number {
  const ms = parseDurationMs(text, '--jitter');
  if (ms <= MAX_JITTER_MS) return ms;
  throw new AppError('OPTION_INVALID', `--jitter: ${text} is over 60s`);
}
