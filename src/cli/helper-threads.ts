import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';

const THREADS = '/proc/self/task';
/** As Node names those that V8 lends work to: compilers above all. */
const NAMES: ReadonlySet<string> = new Set(['V8Worker', 'DelayedTaskSche']);

const run = promisify(execFile);

/**
 * Lets V8's helpers of this process run only where nothing else wants to. A thread that is woken to send takes the
 * processor from one of Linux's idle class at once, while any other, however low its priority, first finishes a slice
 * of some milliseconds. Node can set a priority but no class, so util-linux's `chrt` does it.
 * @returns how many are; 0 where the host has no `chrt`, or names no threads: then they are in the way as before
 */
export async function idleHelpers(): Promise<number> {
  const made = await Promise.allSettled(helpers().map((id) => run('chrt', ['--idle', '--pid', '0', id])));
  return made.filter(({ status }) => status === 'fulfilled').length;
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
  try {
    return readFileSync(`${THREADS}/${id}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}
