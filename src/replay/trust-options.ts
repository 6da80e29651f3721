import { AppError, type Problems } from '../core/errors.ts';
import { parsePositiveMs } from '../core/units.ts';

/** What was asked for so that the result can be trusted: texts as they stand on the command line. */
export interface RawTrustOptions {
  readonly warmup?: string | undefined;
  /** True where the flag stands alone. */
  readonly calibrate?: string | boolean | undefined;
  readonly calibrateBounds?: string | undefined;
  readonly lagBound?: string | undefined;
}

/** How far a target may be from what was recorded and still stand for it. */
export interface CalibrationBounds {
  /** The median latency may be so many times the recorded one, or as much below it. */
  readonly p50Factor: number;
  /** Share of answers whose status may be another. */
  readonly statusShare: number;
  /** The median size of a response may be off by this share of the recorded one. */
  readonly sizeShare: number;
}

/** The lag that is allowed, where it was stated; null leaves the bound as it is. */
export interface LagBound {
  readonly lagMs: number | null;
  /** Of the least latency objective. */
  readonly ofServiceShare: number | null;
}

export interface TrustOptions {
  /** Run time of the recording before the window that is played first; null for none. */
  readonly warmupMs: number | null;
  /** How long the target is held against the recording before the run; null for not at all. */
  readonly calibrateMs: number | null;
  readonly calibrationBounds: CalibrationBounds;
  readonly lagBound: LagBound;
}

export const CALIBRATION_BOUNDS: CalibrationBounds = Object.freeze({
  p50Factor: 2,
  statusShare: 0.02,
  sizeShare: 0.2,
});
export const TRUST_DEFAULTS = Object.freeze({
  calibrate: '2m',
  calibrateBounds: 'p50:2,status:0.02,size:0.2',
});

/** Resolves what was asked for; what is wrong with it goes to `problems`. */
export function resolveTrust(raw: RawTrustOptions, problems: Problems): TrustOptions {
  const calibrate = calibrateText(raw.calibrate);
  return {
    warmupMs: problems.optional(raw.warmup, (text) => parsePositiveMs(text, '--warmup')),
    calibrateMs: problems.optional(calibrate, (text) => parsePositiveMs(text, '--calibrate')),
    calibrationBounds: problems.optional(raw.calibrateBounds, parseCalibrationBounds) ?? CALIBRATION_BOUNDS,
    lagBound: problems.optional(raw.lagBound, parseLagBound) ?? { lagMs: null, ofServiceShare: null },
  };
}

/** For a flag: bounds that a variable or a file has are for runs that calibrate, and for others of no use. */
export function checkBoundsAreAskedFor(raw: RawTrustOptions, problems: Problems): void {
  const { calibrateBounds = TRUST_DEFAULTS.calibrateBounds } = raw;
  if (calibrateText(raw.calibrate) !== undefined || calibrateBounds === TRUST_DEFAULTS.calibrateBounds)
    return;
  problems.add(
    '--calibrate-bounds says how far the target may be from the recording, and nothing asks for that: give --calibrate',
  );
}

/** A variable or a file can say yes and no where the command line has the flag or has it not. */
function calibrateText(raw: string | boolean | undefined): string | undefined {
  if (raw === undefined || raw === false) return undefined;
  if (raw === true || /^(true|yes|on)$/i.test(raw)) return TRUST_DEFAULTS.calibrate;
  return /^(false|no|off)$/i.test(raw) ? undefined : raw;
}

/** `p50:2,status:0.02,size:0.2`; what is not named keeps its bound. */
function parseCalibrationBounds(text: string): CalibrationBounds {
  const stated: Record<string, number> = {};
  for (const part of partsOf(text)) {
    const [, name = '', digits = '', percent = ''] =
      /^(p50|status|size)\s*:\s*(\d+(?:\.\d+)?)\s*(%?)$/.exec(part) ?? [];
    const value = digits === '' ? Number.NaN : Number(digits) / (percent === '%' ? 100 : 1);
    const least = name === 'p50' ? 1 : 0;
    if (!(value >= least) || (name === 'status' && value > 1)) {
      throw new AppError('OPTION_INVALID', `--calibrate-bounds: ${JSON.stringify(part)} is no bound`, {
        hint: 'Give p50:FACTOR (1 or more), status:SHARE (0 to 1) and size:SHARE, such as p50:2,status:2%,size:20%.',
      });
    }
    stated[name] = value;
  }
  return {
    p50Factor: stated['p50'] ?? CALIBRATION_BOUNDS.p50Factor,
    statusShare: stated['status'] ?? CALIBRATION_BOUNDS.statusShare,
    sizeShare: stated['size'] ?? CALIBRATION_BOUNDS.sizeShare,
  };
}

/** `5ms`, `10%`, or both: the greater of the two holds. */
function parseLagBound(text: string): LagBound {
  let bound: LagBound = { lagMs: null, ofServiceShare: null };
  for (const part of partsOf(text)) {
    if (!/^\d/.test(part)) {
      throw new AppError('OPTION_INVALID', `--lag-bound: ${JSON.stringify(part)} is no bound`, {
        hint: 'Give a time, a share of the least latency objective, or both: 5ms, 10% or 5ms,10%.',
      });
    }
    const percent = /^(\d+(?:\.\d+)?)\s*%$/.exec(part)?.[1];
    bound =
      percent === undefined
        ? { ...bound, lagMs: parsePositiveMs(part, '--lag-bound') }
        : { ...bound, ofServiceShare: Number(percent) / 100 };
  }
  return bound;
}

function partsOf(text: string): string[] {
  return text.split(',').map((part) => part.trim());
}
