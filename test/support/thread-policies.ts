import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** Of Linux: what has no wish of its own, and what runs only where nobody else wants to. */
export const NORMAL = 0;
export const IDLE = 5;
/** Places of a thread's `stat` behind its name, of which the first is its state. */
const POLICY = 38;

/** The scheduling policies of a process's threads, by the name of the thread. */
export function policiesOf(pid: number): Map<string, Set<number>> {
  const policies = new Map<string, Set<number>>();
  for (const id of readdirSync(`/proc/${pid}/task`)) {
    const stat = statOf(`/proc/${pid}/task/${id}/stat`);
    if (stat === null) continue;
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
    const policy = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[POLICY]);
    policies.set(name, (policies.get(name) ?? new Set()).add(policy));
  }
  return policies;
}

/** Null where the thread has ended meanwhile. */
function statOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

/** Whether a program of the idle class may leave it here, as V8's helpers must be allowed to. */
export const mayReturn = spawnSync('chrt', ['-i', '0', 'chrt', '-o', '0', 'true']).status === 0;
/** Whether this Node names its threads. */
export const threadsAreNamed = process.platform === 'linux' && policiesOf(process.pid).has('V8Worker');
