import { setTimeout as sleep } from 'node:timers/promises';
import type { RecorderStatus } from '../core/accounting.ts';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { type ControlPath, controlRequest, PATIENCE_MS } from '../proxy/control/admin-client.ts';
import { accountsIn } from '../storage/capture/accounts.ts';
import { hasCode, isMissing, resolveCaptureDirectory } from '../storage/capture/directory.ts';

/**
 * Sends a request to the recording in the directory of `--dir`, and waits at most `patienceMs` for the answer.
 * @throws AppError RECORDER_UNREACHABLE if none answers, CAPTURE_NOT_FOUND if this user has no access
 */
export async function ask(
  directory: string,
  method: 'GET' | 'POST',
  path: ControlPath,
  patienceMs = PATIENCE_MS,
): Promise<RecorderStatus> {
  return controlRequest<RecorderStatus>(captureToAsk(directory), method, path, patienceMs);
}

/**
 * Without a capture there may still be a recording that forwards traffic: while it starts, or if it cannot use its
 * directory. So the error only says that none answers.
 */
function captureToAsk(directory: string): string {
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

/** The result of waiting for a drain. */
export interface DrainEnd {
  readonly drained: boolean;
  /** The last status of the recording that was asked. */
  readonly last: RecorderStatus;
  /** Another recording in the directory at the end. It was not asked to drain. */
  readonly successor: RunningRecording | null;
}

/** Identifies a recording. Its start is needed, because processes of containers may have the same pid. */
export interface RunningRecording {
  /** Null if only its account is known. */
  readonly pid: number | null;
  readonly startedUs: number;
}

const POLL_MS = 200;
/** A recording writes its account each second. After this time without one, it was killed. */
const SILENT_US = 5e6;

/**
 * Whether the drain succeeded. A recording that started after the request is a restart. One that was there before keeps
 * recording although the user asked for the end.
 */
export function isOver({ drained, successor }: DrainEnd, first: RecorderStatus): boolean {
  return drained && (successor === null || successor.startedUs > first.atUs);
}

/**
 * Waits for the end of a recording that drains: its socket is gone, or another recording answers there. Other errors do
 * not count as the end.
 * @param onWait called with the last known status while the recording continues
 * @throws AppError RECORDER_UNREACHABLE if it was killed meanwhile
 */
export async function waitForEnd(
  directory: string,
  first: RecorderStatus,
  waitMs: number,
  clock: Clock,
  onWait: (last: RecorderStatus) => void = () => undefined,
): Promise<DrainEnd> {
  const deadlineNs = clock.nowNs() + waitMs * 1e6;
  let last = first;
  for (;;) {
    const leftMs = (deadlineNs - clock.nowNs()) / 1e6;
    if (leftMs <= 0) return { drained: false, last, successor: null };
    await sleep(Math.min(POLL_MS, leftMs));
    try {
      const status = await ask(directory, 'GET', '/status', Math.min(PATIENCE_MS, leftMs));
      if (status.startedUs !== first.startedUs) {
        const successor = { pid: status.pids.proxy, startedUs: status.startedUs };
        return { drained: true, last, successor };
      }
      last = status;
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'RECORDER_UNREACHABLE') throw error;
      if (hasCode(error.cause, 'ECONNREFUSED')) throw killed(directory, error);
      if (isGone(error.cause)) {
        const startedUs = startsAtWork(directory, clock);
        // Otherwise somebody removed its socket, and the recording will create a new one.
        if (!startedUs.includes(first.startedUs)) {
          const [other] = startedUs;
          const successor = other === undefined ? null : { pid: null, startedUs: other };
          return { drained: true, last, successor };
        }
      }
    }
    onWait(last);
  }
}

/**
 * Start times of the recordings that write to a directory now. They come from the accounts, because the socket of a
 * successor appears later.
 */
function startsAtWork(directory: string, clock: Clock): number[] {
  try {
    const sinceUs = clock.epochUs() - SILENT_US;
    return accountsIn(captureToAsk(directory))
      .filter(({ ended, atUs }) => !ended && atUs > sinceUs)
      .map(({ startedUs }) => startedUs);
  } catch {
    // The capture was moved or has no account, so no writer is known.
    return [];
  }
}

/** A recording removes its socket last. Another process that waits for the end may have moved the capture. */
function isGone(cause: unknown): boolean {
  return isMissing(cause) || (cause instanceof AppError && cause.code === 'CAPTURE_NOT_FOUND');
}

function killed(directory: string, cause: AppError): AppError {
  const message = `the recording of ${directory} is gone but its socket remains: it was killed, or its disk rejects changes`;
  return new AppError('RECORDER_UNREACHABLE', message, {
    hint: 'See its log. The next recording in this directory counts what was lost and finishes sealing and hand-over.',
    cause,
  });
}
