import { realpathSync } from 'node:fs';
import { DayCalendar } from '../core/calendar.ts';
import { resolveCaptureDirectory } from '../storage/capture/directory.ts';
import { type InspectDocument, inspectCaptures } from '../storage/capture/inspect.ts';

/**
 * What captures hold and what they miss; several are read as one.
 * @throws AppError CAPTURE_NOT_FOUND, CAPTURE_DAMAGED, SCHEMA_TOO_NEW
 */
export function inspect(
  directories: readonly string[],
  calendar: DayCalendar = new DayCalendar('UTC'),
): InspectDocument {
  return inspectCaptures(capturesIn(directories), calendar);
}

/** One that is named twice, or by two names, is read once: its files would be counted as often. */
function capturesIn(directories: readonly string[]): string[] {
  const captures = directories.map((directory) => resolveCaptureDirectory(directory, 'read'));
  return [
    ...new Map(captures.toReversed().map((capture) => [realpathSync(capture), capture])).values(),
  ].reverse();
}
