import { encryptionKeyOf, encryptionKeyOption } from '../app/open-capture.ts';
import type { ResolvedOptions } from '../core/options.ts';
import { resolveCaptureDirectory } from '../storage/capture/directory.ts';
import { type VerifyDocument, verifyCapture } from '../storage/capture/verify.ts';

export const VERIFY_OPTIONS = {
  encryptionKeyFile: encryptionKeyOption(
    'file with the key of an encrypted capture; without it checksums alone are looked at',
  ),
};

/**
 * Reads a capture to its last byte and holds it against its manifests and against itself.
 * @param onSegment the segment that is read next, of how many
 * @throws AppError CAPTURE_NOT_FOUND, CAPTURE_ENCRYPTED for a wrong key, OPTION_INVALID for a key that is none
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
