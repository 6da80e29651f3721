import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { readKernelFile } from '../monitors/kernel-file.ts';
import { StarvedThreads, type ThreadFile } from './starved-threads.ts';

const THREADS = '/proc/self/task';
/** As Node names those that V8 lends work to: compilers above all. */
const NAMES: ReadonlySet<string> = new Set(['V8Worker', 'DelayedTaskSche']);
/** It takes a few milliseconds; a process ends later by at most this where it does not come to an end. */
const LIMIT_MS = 2_000;
/** Where a program of the idle class does not get to its end within this, nothing is idle here. */
const TRIAL_LIMIT_MS = 500;
/** How often it is looked whether helpers starve: whoever waits for one has waited twice as long at most. */
const LOOK_MS = 100;
/** Options of `chrt` for Linux's idle class and for the one in which everything else is; busybox knows no long ones. */
const IDLE = '-i';
const NORMAL = '-o';

/**
 * Lets V8's helpers of this process run only where nothing else wants to. A thread that is woken to send takes the
 * processor from one of Linux's idle class at once, while any other, however low its priority, first finishes a slice
 * of some milliseconds. Node can set a priority but no class, so `chrt` of util-linux or busybox does it, soon after.
 *
 * On a host that is never idle such a thread gets next to nothing, and a collection that waits for it stands still
 * for as long. So they are watched, and are as all others again for good when one starves; and they stay so from the
 * beginning where that is not allowed (it takes CAP_SYS_NICE or `ulimit -e 20`), where nothing is idle, where there
 * is no `chrt`, or where the host names no threads or does not say what each has run. A replay says itself how well
 * it kept its schedule.
 */
export async function idleHelpers(read?: ThreadFile): Promise<void> {
  const ids = helpers();
  const threads = new StarvedThreads(ids, read);
  if (ids.length === 0 || !threads.areSeen) return;
  const mayReturn = await succeeds([IDLE, '0', 'chrt', NORMAL, '0', 'true'], TRIAL_LIMIT_MS);
  if (!mayReturn) return;
  const idled = Promise.all(ids.map((id) => succeeds([IDLE, '-p', '0', id])));
  const watch = setInterval(() => {
    if (!threads.look()) return;
    clearInterval(watch);
    void idled.then(() => ids.map((id) => succeeds([NORMAL, '-p', '0', id])));
  }, LOOK_MS).unref();
}

/** Whether `chrt` with these arguments can be started and does what it is told. */
async function succeeds(args: readonly string[], limitMs: number = LIMIT_MS): Promise<boolean> {
  try {
    const child = spawn('chrt', args, { stdio: 'ignore', timeout: limitMs, killSignal: 'SIGKILL' });
    const [status] = await once(child, 'exit');
    return status === 0;
  } catch {
    // Most failures to start a program are events; those that are thrown mean the same.
    return false;
  }
}

function helpers(): string[] {
  try {
    return readdirSync(THREADS).filter((id) => NAMES.has(nameOf(id)));
  } catch {
    return [];
  }
}

/** Empty where the thread has ended meanwhile. */
function nameOf(id: string): string {
  return readKernelFile(`${THREADS}/${id}/comm`)?.trim() ?? '';
}
