import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { ask, captureToAsk } from '../../app/recorder-control.ts';
import type { RecorderStatus } from '../../core/accounting.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import { text, toggle, value } from '../../core/options.ts';
import { formatInstantUs, formatMs, parseDurationMs } from '../../core/units.ts';
import { PATIENCE_MS } from '../../proxy/control/admin-client.ts';
import { accountsIn } from '../../storage/capture/accounts.ts';
import { hasCode, isMissing } from '../../storage/capture/directory.ts';
import { EXIT } from '../exit.ts';
import { addOptions, optionsOf } from '../options.ts';
import { terminal } from '../terminal.ts';

/** The options of a command that speaks to the recording of a directory. */
export const CONTROL_OPTIONS = {
  dir: text('--dir <directory>', 'directory of the running recording', { required: true }),
  json: toggle('--json', 'print one JSON document'),
};

const CHANGES = {
  pause: 'pause recording; forwarding continues',
  resume: 'resume recording after a pause',
};

/** `reprise pause --dir DIR`, and what ends a pause: asks for a change and prints the state after it. */
export function changeCommand(name: keyof typeof CHANGES): Command {
  return addOptions(new Command(name), CONTROL_OPTIONS)
    .description(CHANGES[name])
    .action(async (_: object, command: Command) => {
      const { dir, json } = optionsOf(command, CONTROL_OPTIONS);
      const status = await ask(dir, 'POST', `/${name}`);
      if (json) terminal.json(status);
      else terminal.print(stateText(status));
    });
}

/** `recording is OFF (paused); traffic flows` */
export function stateText({ state, why, draining }: RecorderStatus): string {
  const reason = why === null ? '' : ` (${why})`;
  return `recording is ${state}${reason}; traffic ${draining ? 'drains' : 'flows'}`;
}

const DRAIN_OPTIONS = {
  ...CONTROL_OPTIONS,
  wait: value('--wait <time>', 'how long to wait for its end', parseDurationMs, { default: '60s' }),
};

/** What is waited for, and what came of it. */
export interface DrainEnd {
  readonly drained: boolean;
  /** The last words of the recording that was asked. */
  readonly last: RecorderStatus;
  /** Another recording that runs there at the end. It was not asked to drain. */
  readonly successor: Recording | null;
}

/** Processes of containers have one number: the start tells recordings apart. */
interface Recording {
  /** Null where only its account is known. */
  readonly pid: number | null;
  readonly startedUs: number;
}

const POLL_MS = 200;
/** The question that begins it must arrive, however little is to be waited for the end. */
const LEAST_PATIENCE_MS = 1_000;
/** A recording writes its account each second: one that has not for so long was killed. */
const SILENT_US = 5e6;

/** `reprise drain --dir DIR`: what SIGTERM does, and waits for the end of it. */
export function drainCommand(): Command {
  return addOptions(new Command('drain'), DRAIN_OPTIONS)
    .description('stop a recording gracefully, like SIGTERM, and wait for its end')
    .action(async (_: object, command: Command) => {
      const { dir, wait: waitMs, json } = optionsOf(command, DRAIN_OPTIONS);
      const patienceMs = Math.min(PATIENCE_MS, Math.max(waitMs, LEAST_PATIENCE_MS));
      const first = await ask(dir, 'POST', '/drain', patienceMs);
      const end = await waitForEnd(dir, first, waitMs, systemClock);
      if (!isOver(end, first)) process.exitCode = EXIT.inconclusive;
      if (json) terminal.json(end);
      else terminal.print(...endLines(end, { dir, waitMs }));
    });
}

/** One that was started after the question is a restart. One that was there before goes on against what was asked for. */
export function isOver({ drained, successor }: DrainEnd, first: RecorderStatus): boolean {
  return drained && (successor === null || successor.startedUs > first.atUs);
}

export function endLines(
  { drained, last, successor }: DrainEnd,
  { dir, waitMs }: { readonly dir: string; readonly waitMs: number },
): string[] {
  if (!drained) return [`not drained after ${formatMs(waitMs)}: ${pendingText(last)}`];
  const asked = { pid: last.pids.proxy, startedUs: last.startedUs };
  const ended = `drained: the recording has ended (${recordingText(asked)})`;
  const nothing = last.seen.bytes === 0 ? ['nothing was recorded: no client sent anything to it'] : [];
  if (!successor) return [ended, ...nothing];
  return [
    ended,
    ...nothing,
    `another recording (${recordingText(successor)}) records into ${dir} and was not drained; drain again in 5 s to stop it`,
  ];
}

/**
 * Waits for the end of a recording that drains, which is when its socket is gone or another recording answers there;
 * until then it says what it still waits for. Whatever else keeps it from answering is no end.
 * @throws AppError RECORDER_UNREACHABLE where it was killed meanwhile
 */
export async function waitForEnd(
  directory: string,
  first: RecorderStatus,
  waitMs: number,
  clock: Clock,
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
    terminal.progress(`draining: ${pendingText(last)}`);
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

function pendingText({ connections, pending, pids }: RecorderStatus): string {
  if (pids.recorder === null && connections.open === 0)
    return 'recording is complete; the last segment is still being sealed and handed over';
  return `${connections.open} connections open, ${pending.turns} turns pending`;
}

function recordingText({ pid, startedUs }: Recording): string {
  const started = `started ${formatInstantUs(startedUs)}`;
  return pid === null ? started : `process ${pid}, ${started}`;
}
