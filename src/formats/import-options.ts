import { AppError, reasonOf } from '../core/errors.ts';
import { parseInstantUs } from '../core/units.ts';
import type { TraceFields } from './arrivals.ts';
import { TIME_UNITS, type TimeReading, type TimeUnit } from './exact-time.ts';
import type { BodyRequest } from './payloads.ts';

/** What was asked for, as text. */
export interface RawImportOptions {
  readonly time: string;
  readonly unit?: string | undefined;
  readonly gaps?: boolean | undefined;
  readonly client?: string | undefined;
  readonly session?: string | undefined;
  readonly origin?: string | undefined;
  readonly payloads?: string | undefined;
  readonly path?: string | undefined;
  readonly method?: string | undefined;
  readonly seed?: string | undefined;
}

/** Where request bodies come from and how they are drawn. */
interface PayloadSource extends BodyRequest {
  /** A JSONL, or a folder. */
  readonly source: string;
  readonly seed: number;
}

/** What will be done. */
export interface ImportOptions {
  readonly fields: TraceFields;
  readonly time: TimeReading;
  readonly payloads: PayloadSource | null;
}

export const IMPORT_DEFAULTS = Object.freeze({
  unit: 'iso',
  /** Numbers count from the epoch, which is what they do in most traces that have absolute times. */
  origin: '1970-01-01T00:00:00Z',
  method: 'POST',
  seed: '1',
} as const);

/**
 * Resolves the options of an import.
 * @throws AppError OPTION_INVALID naming every problem at once.
 */
export function parseImportOptions(raw: RawImportOptions): ImportOptions {
  const problems: string[] = [];
  const unit = unitOf(raw, problems);
  const originUs = originOf(raw, unit, problems);
  const seed = seedOf(raw.seed ?? IMPORT_DEFAULTS.seed, problems);
  for (const option of ['time', 'client', 'session', 'payloads', 'path', 'method'] as const) {
    if (raw[option] === '') problems.push(`--${option} is empty`);
  }
  if (raw.payloads === undefined) {
    for (const option of ['path', 'method', 'seed'] as const) {
      if (raw[option] !== undefined) problems.push(`--${option} is of use with --payloads only`);
    }
  }
  if (problems.length > 0) throw new AppError('OPTION_INVALID', problems.join('; '));
  return {
    fields: { time: raw.time, client: raw.client ?? null, session: raw.session ?? null },
    time: { unit, gaps: raw.gaps ?? false, originUs },
    payloads:
      raw.payloads === undefined
        ? null
        : {
            source: raw.payloads,
            seed,
            method: raw.method ?? IMPORT_DEFAULTS.method,
            path: raw.path ?? null,
          },
  };
}

function unitOf(raw: RawImportOptions, problems: string[]): TimeUnit {
  const text = raw.unit ?? IMPORT_DEFAULTS.unit;
  const unit = TIME_UNITS.find((known) => known === text);
  if (unit === undefined) problems.push(`--unit ${JSON.stringify(text)} is none of ${TIME_UNITS.join(', ')}`);
  // A unit is never guessed: seconds read as milliseconds would be a thousand times the load.
  if (unit === 'iso' && raw.gaps)
    problems.push('--gaps needs a --unit the gaps are counted in: s, ms, us or ns');
  return unit ?? IMPORT_DEFAULTS.unit;
}

function originOf(raw: RawImportOptions, unit: TimeUnit, problems: string[]): number {
  if (raw.origin !== undefined && unit === 'iso' && !raw.gaps) {
    problems.push(
      '--origin is for times that are numbers (--unit s, ms, us or ns); ISO times have their own',
    );
  }
  try {
    const originUs = parseInstantUs(raw.origin ?? IMPORT_DEFAULTS.origin, '--origin');
    if (originUs < 0) problems.push('--origin is before 1970');
    return originUs;
  } catch (thrown) {
    problems.push(reasonOf(thrown));
    return 0;
  }
}

function seedOf(text: string, problems: string[]): number {
  const seed = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(seed)) return seed;
  problems.push(`--seed ${JSON.stringify(text)} is not a whole number from 0 to 2^53 - 1`);
  return 0;
}
