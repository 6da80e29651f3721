import { realpathSync } from 'node:fs';
import { DayCalendar } from '../core/calendar.ts';
import type { ResolvedOptions } from '../core/options.ts';
import { resolveCaptureDirectory } from '../storage/capture/directory.ts';
import { type InspectDocument, inspectCaptures } from '../storage/capture/inspect.ts';
import { type VerifyDocument, verifyCapture } from '../storage/capture/verify.ts';
import { encryptionKeyOf, encryptionKeyOption } from './open-capture.ts';

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

export const VERIFY_OPTIONS = {
  encryptionKeyFile: encryptionKeyOption(
    'file with the key of an encrypted capture; without it, only checksums are checked',
  ),
};

/**
 * Reads a capture to its last byte and holds it against its manifests and against itself.
 * @param onSegment the segment that is read next, of how many
 * @throws AppError CAPTURE_NOT_FOUND, CAPTURE_ENCRYPTED for a wrong key, OPTION_INVALID for an invalid key
 */
export function verify(
  directory: string,
  options: ResolvedOptions<typeof VERIFY_OPTIONS>,
  onSegment: (file: string, index: number, count: number) => void = () => undefined,
): VerifyDocument {
  return verifyCapture(resolveCaptureDirectory(directory, 'read'), {
    encryptionKey: encryptionKeyOf(options),
    onSegment,
  });
}
