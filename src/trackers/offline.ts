import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { AppError, reasonOf } from '../core/errors.ts';
import { formatMs } from '../core/units.ts';
import type { Delivery, TrackedRun } from './tracker.ts';

const PROGRAM = fileURLToPath(new URL('programs/offline_tracker.py', import.meta.url));
const PATIENCE_MS = 300_000;
/** Characters kept from the end of the program's output. */
const SAID_CHARS = 4_000;

/**
 * Writes a run as an offline run of a tracker whose files only its own SDK can write.
 * @param python a Python interpreter with the SDK
 * @throws AppError TRACKER_FAILED if Python or the SDK is missing, or the SDK fails or hangs
 */
export async function publishOffline(
  tracker: 'wandb' | 'clearml',
  directory: string,
  python: string,
  tracked: TrackedRun,
  patienceMs = PATIENCE_MS,
): Promise<Delivery> {
  const { status, signal, stdout, stderr } = await run(
    python,
    [PROGRAM, tracker, directory],
    JSON.stringify(tracked),
    patienceMs,
  );
  if (signal !== null) {
    const why = signal === 'SIGTERM' ? `gave no answer in ${formatMs(patienceMs)}` : `was ended by ${signal}`;
    throw new AppError('TRACKER_FAILED', `the SDK of ${tracker} ${why}`, {
      hint: `What it wrote is not whole: remove it from ${directory}, then publish again.`,
    });
  }
  if (status !== 0) {
    const missing = stderr.includes(`No module named '${tracker}'`);
    throw new AppError(
      'TRACKER_FAILED',
      missing ? `${python} has no ${tracker}` : `the SDK of ${tracker} failed: ${stderr.trim()}`,
      { hint: missing ? `pip install ${tracker}, or name another interpreter by --python.` : null },
    );
  }
  const { run: written } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { run: string };
  return { run: written, children: tracked.publication.children.length, notes: [] };
}

async function run(python: string, args: readonly string[], input: string, patienceMs: number) {
  const child = spawn(python, args, { stdio: 'pipe', timeout: patienceMs });
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      said[name] = (said[name] + text).slice(-SAID_CHARS);
    });
  }
  // Ignored, because a program that ends before it has read everything prints its own reason.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  try {
    const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    return { status, signal, ...said };
  } catch (cause) {
    throw new AppError('TRACKER_FAILED', `${python} cannot be started: ${reasonOf(cause)}`, {
      hint: 'Name the interpreter that has the SDK by --python.',
      cause,
    });
  }
}
