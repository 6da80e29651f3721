import { AppError, type Problems } from '../../core/errors.ts';
import { parseJsonPointer } from '../../core/json-pointer.ts';
import { CHECK_LEVELS, type CheckLevel } from '../../core/run.ts';

/** What was asked for about comparing answers: texts as they stand on the command line. */
export interface RawCheckOptions {
  /** True where the flag stands alone. */
  readonly check?: string | boolean | undefined;
  readonly checkTolerance?: string | undefined;
  readonly checkIgnore?: readonly string[] | undefined;
}

/** How far two answers may be apart and still be the same. */
export interface CheckTolerance {
  /** Of two numbers: this share of the greater, or this much, whichever is more. */
  readonly relative: number;
  readonly absolute: number;
  /** Of the lengths of two generated texts: this share of the longer. */
  readonly lengthShare: number;
}

/** How answers are compared with the recorded ones. */
export interface CheckOptions {
  readonly level: CheckLevel;
  readonly tolerance: CheckTolerance;
  /** JSON pointers, `*` for any member, that are not compared; beside those of the protocol. */
  readonly ignore: readonly string[];
}

/** Of numbers: what `numpy.allclose` and `torch.allclose` take for equal. */
export const CHECK_TOLERANCE: CheckTolerance = Object.freeze({
  relative: 1e-5,
  absolute: 1e-8,
  lengthShare: 0.5,
});
export const CHECK_DEFAULTS = Object.freeze({
  /** Never a weaker one than was asked for: what cannot be compared by value is counted, and is no PASS. */
  level: 'values',
  tolerance: 'rel:1e-5,abs:1e-8,length:50%',
});

/** More than a service's answers can need. */
const MAX_IGNORED = 64;

/** Resolves what was asked for; what is wrong with it goes to `problems`. Null: answers are not compared. */
export function resolveCheck(raw: RawCheckOptions, problems: Problems): CheckOptions | null {
  const level = levelText(raw.check);
  const { checkTolerance, checkIgnore = [] } = raw;
  if (level === null) {
    for (const [flag, given] of [
      ['--check-tolerance', checkTolerance !== undefined],
      ['--check-ignore', checkIgnore.length > 0],
    ] as const)
      if (given)
        problems.add(`${flag} says how answers are compared, and nothing asks for that: give --check`);
    return null;
  }
  if (checkIgnore.length > MAX_IGNORED)
    problems.add(`--check-ignore: ${checkIgnore.length} pointers are more than ${MAX_IGNORED}`);
  return {
    level: problems.attempt(() => parseLevel(level), 'values'),
    tolerance: problems.optional(checkTolerance, parseTolerance) ?? CHECK_TOLERANCE,
    ignore: checkIgnore.flatMap((text) => problems.attempt<string[]>(() => [parseIgnored(text)], [])),
  };
}

/** A variable or a file can say yes and no where the command line has the flag or has it not. */
function levelText(raw: string | boolean | undefined): string | null {
  if (raw === undefined || raw === false) return null;
  if (raw === true || /^(true|yes|on)$/i.test(raw)) return CHECK_DEFAULTS.level;
  return /^(false|no|off)$/i.test(raw) ? null : raw;
}

function parseLevel(text: string): CheckLevel {
  const level = CHECK_LEVELS.find((known) => known === text);
  if (level !== undefined) return level;
  throw new AppError('OPTION_INVALID', `--check: ${JSON.stringify(text)} is no level`, {
    hint: `There are ${CHECK_LEVELS.join(', ')}; --check alone is ${CHECK_DEFAULTS.level}.`,
  });
}

/** `1e-3`, or `rel:1e-3,abs:1e-6,length:20%`; what is not named keeps its bound. */
function parseTolerance(text: string): CheckTolerance {
  const stated: Record<string, number> = {};
  for (const part of text.split(',').map((each) => each.trim())) {
    const [, name = 'rel', digits = '', percent = ''] =
      /^(?:(rel|abs|length)\s*:\s*)?(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(%?)$/i.exec(part) ?? [];
    const value = digits === '' ? Number.NaN : Number(digits) / (percent === '%' ? 100 : 1);
    const key = name.toLowerCase();
    if (!Number.isFinite(value) || (key === 'abs' ? percent !== '' : value > 1)) {
      throw new AppError('OPTION_INVALID', `--check-tolerance: ${JSON.stringify(part)} is no tolerance`, {
        hint: 'Give rel:SHARE and length:SHARE (0 to 1) and abs:NUMBER, such as rel:1e-3,abs:1e-6,length:20%.',
      });
    }
    stated[key] = value;
  }
  return {
    relative: stated['rel'] ?? CHECK_TOLERANCE.relative,
    absolute: stated['abs'] ?? CHECK_TOLERANCE.absolute,
    lengthShare: stated['length'] ?? CHECK_TOLERANCE.lengthShare,
  };
}

function parseIgnored(text: string): string {
  if (parseJsonPointer(text, '--check-ignore').length > 0) return text;
  throw new AppError('OPTION_INVALID', '--check-ignore: the empty pointer is the whole answer', {
    hint: 'Compare by status alone: --check status',
  });
}
