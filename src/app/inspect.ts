import { realpathSync } from 'node:fs';
import { DayCalendar } from '../core/calendar.ts';
import type { ResolvedOptions } from '../core/options.ts';
import { resolveCaptureDirectory } from '../storage/capture/directory.ts';
import { type InspectDocument, inspectCaptures } from '../storage/capture/inspect.ts';
import { type VerifyDocument, verifyCapture } from '../storage/capture/verify.ts';
import { encryptionKeyOf, encryptionKeyOption } from './open-capture.ts';

/**
 * The contents and the gaps of captures. Several captures are read as one.
 * @throws AppError CAPTURE_NOT_FOUND, CAPTURE_DAMAGED, SCHEMA_TOO_NEW
 */
export function inspect(
  directories: readonly string[],
  calendar: DayCalendar = new DayCalendar('UTC'),
): InspectDocument {
  return inspectCaptures(capturesIn(directories), calendar);
}

/** A capture that is given twice, or under two names, is read once. Otherwise its files would count twice. */
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
type VerifyOptions = ResolvedOptions<typeof VERIFY_OPTIONS>;

/**
 * Reads a complete capture, and checks it against its manifests and for consistency.
 * @param onSegment called before each segment, with its index and the number of segments
 * @throws AppError CAPTURE_NOT_FOUND, CAPTURE_ENCRYPTED for a wrong key, OPTION_INVALID for an invalid key
 */
export function verify(
  directory: string,
  options: VerifyOptions,
  onSegment: (file: string, index: number, count: number) => void = () => undefined,
): VerifyDocument {
  return verifyCapture(resolveCaptureDirectory(directory, 'read'), {
    encryptionKey: encryptionKeyOf(options),
    onSegment,
  });
}
