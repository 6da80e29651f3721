import { rankedWindowsDocument } from '../analysis/windows/build-document.ts';
import { parseTimeZone } from '../core/calendar.ts';
import { Problems } from '../core/errors.ts';
import { type Asked, readOptions, value } from '../core/options.ts';
import { parseMultiplier } from '../core/units.ts';
import type { RankedWindowsDocument } from '../documents/ranked-windows.ts';
import { parseWholeSeconds } from '../replay/options/parsers.ts';
import {
  HARDEST_LENGTH,
  stretchOptions,
  type WindowRequest,
  windowRequestOf,
} from '../replay/options/window-options.ts';
import { sliceOf } from '../replay/window/window.ts';
import { HARDEST_MULTIPLIER, type OpenedCapture, openForReplay } from './open-capture.ts';

const { window, tz } = stretchOptions('rank the windows of');

export const RANKING_OPTIONS = {
  length: value('--length <time>', 'length of a window', parseWholeSeconds, { default: HARDEST_LENGTH }),
  multiplier: value('--multiplier <n>', 'how many times the recorded load is compared', parseMultiplier, {
    default: String(HARDEST_MULTIPLIER),
  }),
  window,
  tz,
};

/**
 * Ranks all windows of a capture by how hard they are for a server. Sends nothing.
 * @throws AppError if the capture cannot be opened; OPTION_INVALID with every invalid option, or for too many
 *   windows; CAPTURE_EMPTY
 */
export function rankedWindows(
  directory: string,
  asked: Asked<typeof RANKING_OPTIONS>,
  problems = new Problems(),
): RankedWindowsDocument {
  const read = readOptions(RANKING_OPTIONS, asked, problems);
  const request = windowRequestOf({ ...read, filter: [] }, problems);
  if (request.search !== null) {
    problems.add(
      '--window: windows ranks all windows of a range or a day; leave peak, worst and hardest out',
    );
  }
  const timeZone = problems.attempt(() => parseTimeZone(read.tz), read.tz);
  problems.throwIfAny();
  const opened = openForReplay(directory, null, [], false);
  try {
    const { length: lengthS, multiplier } = read;
    return rankedDocumentOf(opened, request, { lengthS, multiplier, timeZone });
  } finally {
    opened.source.close();
  }
}

/** The windows of this part of an opened capture, ranked. @throws AppError CAPTURE_EMPTY, OPTION_INVALID */
export function rankedDocumentOf(
  opened: OpenedCapture,
  request: WindowRequest,
  asked: Pick<RankedWindowsDocument, 'lengthS' | 'multiplier' | 'timeZone'>,
): RankedWindowsDocument {
  const { parts, coverageRanges } = sliceOf(opened.overview, { ...request, search: null });
  const { coverage, isAtLeast } = opened.coverageWithin(coverageRanges);
  const { lengthS, multiplier } = asked;
  return rankedWindowsDocument(opened.ranked({ ranges: parts, lengthS, multiplier }), {
    capture: opened.overview.name,
    captureDigest: opened.digest,
    ...asked,
    coverage,
    coverageIsAtLeast: isAtLeast,
    recordersMissing: opened.inspection.missing.recorders,
  });
}
