import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

const THREADS = '/proc/self/task';
/** As Node names those that V8 lends work to: compilers above all. */
const NAMES: ReadonlySet<string> = new Set(['V8Worker', 'DelayedTaskSche']);
/** It takes a few milliseconds; a process ends later by at most this where it does not come to an end. */
const LIMIT_MS = 2_000;

/**
 * Lets V8's helpers of this process run only where nothing else wants to. A thread that is woken to send takes the
 * processor from one of Linux's idle class at once, while any other, however low its priority, first finishes a slice
 * of some milliseconds. Node can set a priority but no class, so `chrt` of util-linux or busybox does it, soon after.
 * Where a host has none, or names no threads, or lets nothing be started, they are in the way as before: a replay
 * says itself how well it kept its schedule.
 */
export function idleHelpers(): void {
  for (const id of helpers()) {
    try {
      // Short options: busybox knows no others.
      const child = spawn('chrt', ['-i', '-p', '0', id], {
        stdio: 'ignore',
        timeout: LIMIT_MS,
        killSignal: 'SIGKILL',
      });
      child.on('error', () => undefined);
    } catch {
      // Most failures to start a program are events; those that are thrown mean the same.
      return;
    }
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
  try {
    return readFileSync(`${THREADS}/${id}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}
