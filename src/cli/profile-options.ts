import { AppError } from '../core/errors.ts';
import { Problems } from '../core/problems.ts';
import { parseCount } from '../core/units.ts';
import { type Filters, type RawFilterOptions, resolveFilters } from '../replay/filters.ts';
import {
  type RawWindowOptions,
  resolveWindowRequest,
  WINDOW_DEFAULTS,
  type WindowRequest,
} from '../replay/windows/request.ts';

/** What was asked for: texts as they stand on the command line, in the environment or in a file. */
export interface RawProfileOptions extends Omit<RawWindowOptions, 'loop' | 'duration'>, RawFilterOptions {
  readonly json?: boolean | undefined;
  /** A file; `true` where none is named, for stdout. */
  readonly html?: string | boolean | undefined;
  readonly csv?: string | boolean | undefined;
  readonly share?: boolean | undefined;
  readonly payloadSample?: string | undefined;
}

export const PROFILE_DEFAULTS = Object.freeze({ payloadSample: '20000' });

/** Where a form of the profile goes: a file, or stdout where the path is null. */
export interface ProfileOutput {
  readonly form: 'text' | 'json' | 'html' | 'csv';
  readonly path: string | null;
}

/** What will be done. Plain data: it travels to a thread. */
export interface ProfileOptions {
  readonly window: WindowRequest;
  readonly timeZone: string;
  readonly filters: Filters;
  readonly share: boolean;
  /** Payloads looked into at most, evenly spread over the window; null for every one. */
  readonly payloadSample: number | null;
  readonly outputs: readonly ProfileOutput[];
}

/** @throws AppError OPTION_INVALID listing every problem at once */
export function resolveProfileOptions(raw: RawProfileOptions): ProfileOptions {
  const problems = new Problems();
  const options = {
    window: resolveWindowRequest(raw, problems),
    timeZone: raw.tz ?? WINDOW_DEFAULTS.tz,
    filters: resolveFilters(raw, problems),
    share: raw.share ?? false,
    payloadSample: problems.attempt(
      () => parseSample(raw.payloadSample ?? PROFILE_DEFAULTS.payloadSample),
      0,
    ),
    outputs: outputsOf(raw, problems),
  };
  problems.throwIfAny();
  return options;
}

function parseSample(text: string): number | null {
  const trimmed = text.trim();
  if (trimmed === 'all') return null;
  if (trimmed === '0') return 0;
  try {
    return parseCount(trimmed, '--payload-sample');
  } catch (cause) {
    throw new AppError(
      'OPTION_INVALID',
      `--payload-sample: ${JSON.stringify(text)} is no number of payloads`,
      {
        hint: 'Give a whole number, 0 for none, or all.',
        cause,
      },
    );
  }
}

function outputsOf(raw: RawProfileOptions, problems: Problems): ProfileOutput[] {
  const outputs: ProfileOutput[] = [];
  if (raw.json ?? false) outputs.push({ form: 'json', path: null });
  for (const form of ['html', 'csv'] as const) {
    const where = raw[form];
    if (where === undefined || where === false) continue;
    outputs.push({ form, path: typeof where === 'string' ? where : null });
  }
  const onStdout = outputs.filter(({ path }) => path === null);
  if (onStdout.length > 1) {
    problems.add(
      `${onStdout.map(({ form }) => `--${form}`).join(' and ')} would both be printed: name a file for all but one`,
    );
  }
  const paths = outputs.flatMap(({ path }) => path ?? []);
  if (new Set(paths).size < paths.length) problems.add('--html and --csv name the same file');
  return onStdout.length === 0 ? [{ form: 'text', path: null }, ...outputs] : outputs;
}
