import { setTimeout as sleep } from 'node:timers/promises';
import type { RecorderStatus } from '../core/accounting.ts';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { type ControlPath, controlRequest, PATIENCE_MS } from '../proxy/control/admin-client.ts';
import { accountsIn } from '../storage/capture/accounts.ts';
import { hasCode, isMissing, resolveCaptureDirectory } from '../storage/capture/directory.ts';

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

/** What is waited for, and what came of it. */
export interface DrainEnd {
  readonly drained: boolean;
  /** The last words of the recording that was asked. */
  readonly last: RecorderStatus;
  /** Another recording that runs there at the end. It was not asked to drain. */
  readonly successor: RunningRecording | null;
}

/** Processes of containers have one number: the start tells recordings apart. */
export interface RunningRecording {
  /** Null where only its account is known. */
  readonly pid: number | null;
  readonly startedUs: number;
}

const POLL_MS = 200;
/** A recording writes its account each second: one that has not for so long was killed. */
const SILENT_US = 5e6;

/** One that was started after the question is a restart. One that was there before goes on against what was asked for. */
export function isOver({ drained, successor }: DrainEnd, first: RecorderStatus): boolean {
  return drained && (successor === null || successor.startedUs > first.atUs);
}

/**
 * Waits for the end of a recording that drains, which is when its socket is gone or another recording answers there;
 * Whatever else keeps it from answering is no end.
 * @param onWait hears the last words of the recording, as long as it goes on
 * @throws AppError RECORDER_UNREACHABLE where it was killed meanwhile
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
        // Else somebody removed the socket under it, and it makes another.
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

/** When the recordings began that write to a directory now, by their accounts: a successor has no socket at once. */
function startsAtWork(directory: string, clock: Clock): number[] {
  try {
    const sinceUs = clock.epochUs() - SILENT_US;
    return accountsIn(captureToAsk(directory))
      .filter(({ ended, atUs }) => !ended && atUs > sinceUs)
      .map(({ startedUs }) => startedUs);
  } catch {
    // Moved, or without an account: then no writer is known.
    return [];
  }
}

/** Its last step removes the socket. Another process that waits for the end may have moved the capture. */
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
