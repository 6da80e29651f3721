import { AppError, Problems } from '../core/errors.ts';
import { parseCount } from '../core/units.ts';
import { type Filters, type RawFilterOptions, resolveFilters } from '../replay/filters.ts';
import {
  type RawWindowOptions,
  resolveWindowRequest,
  WINDOW_DEFAULTS,
  type WindowRequest,
} from '../replay/windows/request.ts';
import { type DocumentOutput, outputsOf, type RawOutputs } from './document-outputs.ts';

/** What was asked for: texts as they stand on the command line, in the environment or in a file. */
export interface RawProfileOptions
  extends Omit<RawWindowOptions, 'loop' | 'duration'>,
    RawFilterOptions,
    RawOutputs<ProfileForm> {
  readonly share?: boolean | undefined;
  readonly payloadSample?: string | undefined;
}

export const PROFILE_DEFAULTS = Object.freeze({ payloadSample: '20000' });

const PROFILE_FORMS = ['html', 'csv'] as const;
export type ProfileForm = (typeof PROFILE_FORMS)[number];

/** What will be done. Plain data: it travels to a thread. */
export interface ProfileOptions {
  readonly window: WindowRequest;
  readonly timeZone: string;
  readonly filters: Filters;
  readonly share: boolean;
  /** Payloads looked into at most, evenly spread over the window; null for every one. */
  readonly payloadSample: number | null;
  readonly outputs: readonly DocumentOutput<ProfileForm>[];
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
    outputs: outputsOf(raw, PROFILE_FORMS, problems),
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
