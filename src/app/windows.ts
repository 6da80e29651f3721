import { rankedWindowsDocument } from '../analysis/windows/build-document.ts';
import { parseTimeZone } from '../core/calendar.ts';
import { Problems } from '../core/errors.ts';
import { type Asked, readOptions, value } from '../core/options.ts';
import { parseMultiplier } from '../core/units.ts';
import type { RankedWindowsDocument } from '../documents/ranked-windows.ts';
import { parseWholeSeconds } from '../replay/options/parsers.ts';
import { HARDEST_LENGTH, stretchOptions, windowRequestOf } from '../replay/options/window-options.ts';
import { sliceOf } from '../replay/window/window.ts';
import { HARDEST_MULTIPLIER, openForReplay } from './open-capture.ts';

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
    const { parts, coverageRanges } = sliceOf(opened.overview, request);
    const { coverage, isAtLeast } = opened.coverageWithin(coverageRanges);
    const { length: lengthS, multiplier } = read;
    return rankedWindowsDocument(opened.ranked({ ranges: parts, lengthS, multiplier }), {
      capture: opened.overview.name,
      captureDigest: opened.digest,
      timeZone,
      lengthS,
      multiplier,
      coverage,
      coverageIsAtLeast: isAtLeast,
      recordersMissing: opened.inspection.missing.recorders,
    });
  } finally {
    opened.source.close();
  }
}
