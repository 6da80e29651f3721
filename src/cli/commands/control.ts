import { Command } from 'commander';
import { ask, type DrainEnd, isOver, type RunningRecording, waitForEnd } from '../../app/recorder-control.ts';
import type { RecorderStatus } from '../../core/accounting.ts';
import { systemClock } from '../../core/clock.ts';
import { text, toggle, value } from '../../core/options.ts';
import { formatInstantUs, formatMs, parseDurationMs } from '../../core/units.ts';
import { PATIENCE_MS } from '../../proxy/control/admin-client.ts';
import { EXIT } from '../exit.ts';
import { addOptions, optionsOf } from '../options.ts';
import { terminal } from '../terminal.ts';

/** The options of a command that controls a running recording. */
export const CONTROL_OPTIONS = {
  dir: text('--dir <directory>', 'directory of the running recording', { required: true }),
  json: toggle('--json', 'print one JSON document'),
};

const CHANGES = {
  pause: 'pause recording; forwarding continues',
  resume: 'resume recording after a pause',
};

/** `reprise pause --dir DIR` and `reprise resume`: asks for a change and prints the state after it. */
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

/** Minimum time-out of the first request. It must arrive, even if the user waits only briefly for the end. */
const LEAST_PATIENCE_MS = 1_000;

/** `reprise drain --dir DIR`: stops a recording like SIGTERM, and waits until it has ended. */
export function drainCommand(): Command {
  return addOptions(new Command('drain'), DRAIN_OPTIONS)
    .description('stop a recording gracefully, like SIGTERM, and wait for its end')
    .action(async (_: object, command: Command) => {
      const { dir, wait: waitMs, json } = optionsOf(command, DRAIN_OPTIONS);
      const patienceMs = Math.min(PATIENCE_MS, Math.max(waitMs, LEAST_PATIENCE_MS));
      const first = await ask(dir, 'POST', '/drain', patienceMs);
      const end = await waitForEnd(dir, first, waitMs, systemClock, (last) =>
        terminal.progress(`draining: ${pendingText(last)}`),
      );
      if (!isOver(end, first)) process.exitCode = EXIT.inconclusive;
      if (json) terminal.json(end);
      else terminal.print(...endLines(end, { dir, waitMs }));
    });
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

function pendingText({ connections, pending, pids }: RecorderStatus): string {
  if (pids.recorder === null && connections.open === 0)
    return 'recording is complete; the last segment is still being sealed and handed over';
  return `${connections.open} connections open, ${pending.turns} turns pending`;
}

function recordingText({ pid, startedUs }: RunningRecording): string {
  const started = `started ${formatInstantUs(startedUs)}`;
  return pid === null ? started : `process ${pid}, ${started}`;
}
