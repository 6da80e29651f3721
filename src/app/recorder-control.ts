import type { RecorderStatus } from '../core/accounting.ts';
import { AppError } from '../core/errors.ts';
import { type ControlPath, controlRequest, PATIENCE_MS } from '../proxy/control/admin-client.ts';
import { hasCode, resolveCaptureDirectory } from '../storage/capture/directory.ts';

/**
 * Asks the recording of the directory that `--dir` names, and waits no longer than that for its answer.
 * @throws AppError RECORDER_UNREACHABLE where none answers, CAPTURE_NOT_FOUND where this user may not look
 */
export async function ask(
  directory: string,
  method: 'GET' | 'POST',
  path: ControlPath,
  patienceMs = PATIENCE_MS,
): Promise<RecorderStatus> {
  return controlRequest<RecorderStatus>(captureToAsk(directory), method, path, patienceMs);
}

/** A recording that starts, or cannot have its directory, forwards traffic all the same: none answers, is all we know. */
export function captureToAsk(directory: string): string {
  try {
    return resolveCaptureDirectory(directory, 'read');
  } catch (error) {
    if (!(error instanceof AppError) || hasCode(error.cause, 'EACCES')) throw error;
    throw new AppError('RECORDER_UNREACHABLE', `no recording answers: ${error.message}`, {
      hint: 'Give the directory of `reprise record --dir`. A recording does not answer while it starts or if it cannot use its directory; see its log.',
      cause: error,
    });
  }
}
