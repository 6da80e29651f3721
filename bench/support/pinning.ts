import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { childrenOf } from './process-cpu.ts';

/** Holds a process, or one thread of it, to cores (`taskset`). False where the host does not let us. */
export function runOn(cores: string, id: number, whole: boolean): boolean {
  if (availableParallelism() < 2) return false;
  return spawnSync('taskset', [whole ? '-acp' : '-cp', cores, String(id)]).status === 0;
}

export const allCores = `0-${availableParallelism() - 1}`;

/** Gives the sender of a replay a core of its own: it is the busiest thread of the process below a shell. */
export function pinSender(shell: number): void {
  const [pid] = childrenOf(shell);
  if (pid === undefined) return;
  const threads = readdirSync(`/proc/${pid}/task`).map((thread) => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { thread: Number(thread), isWorker: stat.includes('(WorkerThread)'), ticks: Number(fields[11]) };
  });
  const [sender] = threads.filter(({ isWorker }) => isWorker).sort((a, b) => b.ticks - a.ticks);
  if (sender === undefined || !runOn('0', pid, true)) return;
  runOn('1', sender.thread, false);
}
