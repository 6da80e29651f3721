import { AppError, reasonOf } from '../core/errors.ts';
import { resolveCaptureDirectory } from '../storage/capture/directory.ts';
import { earlierKeysOf } from '../storage/capture/keys.ts';
import type { Finding } from './doctor-checks.ts';

/** Whether a capture that was encrypted still is; nothing where there is none, or none that ever was. */
export function encryptionFindings(directory: string): Finding[] {
  const check = 'encryption';
  try {
    const { encryption } = earlierKeysOf(resolveCaptureDirectory(directory, 'read'));
    const clear = encryption.filter((keyId) => keyId === null).length;
    if (clear === encryption.length) return [];
    const found = `${encryption.length - clear} of the latest ${encryption.length} segments are encrypted`;
    if (clear === 0) return [{ check, result: 'ok', found, advice: null }];
    const advice =
      encryption[0] === null
        ? 'The capture goes on in clear: start it with the --encryption-key-file that it had.'
        : 'It is encrypted again; what was recorded in clear stays readable until it expires or is forgotten.';
    return [{ check, result: 'warn', found, advice }];
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    if (error.code === 'CAPTURE_NOT_FOUND') return [];
    return [{ check, result: 'warn', found: reasonOf(error), advice: error.hint }];
  }
}
