import { encryptionKeyOption } from '../app/open-capture.ts';
import { AppError, Problems } from '../core/errors.ts';
import { type Asked, readOptions, toggle, value } from '../core/options.ts';
import { parseCount } from '../core/units.ts';
import {
  type Filters,
  filtersOf,
  selectionOptions,
  stretchOptions,
  type WindowRequest,
  windowRequestOf,
} from '../replay/options/window-options.ts';

export const PROFILE_OPTIONS = {
  share: toggle('--share', 'leave out names that could identify clients'),
  payloadSample: value(
    '--payload-sample <n>',
    'look into so many payloads at most, evenly spread; 0 for none, or all',
    parseSample,
    { default: '20000' },
  ),
  encryptionKeyFile: encryptionKeyOption(
    'file with the key of an encrypted capture, to look into its payloads',
  ),
  ...stretchOptions('profile'),
  ...selectionOptions('profile'),
};

/** What will be done. Plain data: it travels to a thread. */
export interface ProfileOptions {
  readonly window: WindowRequest;
  readonly timeZone: string;
  readonly filters: Filters;
  readonly share: boolean;
  /** Payloads looked into at most, evenly spread over the window; null for every one. */
  readonly payloadSample: number | null;
  /** Named, not read: the key itself does not travel between threads. Null without one. */
  readonly encryptionKeyFile: string | null;
}

/** @throws AppError OPTION_INVALID listing every problem at once */
export function resolveProfileOptions(
  asked: Asked<typeof PROFILE_OPTIONS>,
  problems = new Problems(),
): ProfileOptions {
  const read = readOptions(PROFILE_OPTIONS, asked, problems);
  const options = {
    window: windowRequestOf(read, problems),
    timeZone: read.tz,
    filters: filtersOf(read, problems),
    share: read.share,
    payloadSample: read.payloadSample,
    encryptionKeyFile: read.encryptionKeyFile,
  };
  problems.throwIfAny();
  return options;
}

/** Null for every payload. */
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
