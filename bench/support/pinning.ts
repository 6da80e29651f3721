import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { childrenOf } from './process-cpu.ts';

/** Pins a process, or one of its threads, to cores with `taskset`. False if the host does not allow it. */
export function runOn(cores: string, id: number, whole: boolean): boolean {
  if (availableParallelism() < 2) return false;
  return spawnSync('taskset', [whole ? '-acp' : '-cp', cores, String(id)]).status === 0;
}

export const allCores = `0-${availableParallelism() - 1}`;

/**
 * While `work` runs, gives the last core to a process that waits busily, and the rest to the others. On a shared core,
 * another process waits for the end of a time slice of some milliseconds. It would be late for this reason only.
 */
export async function apart<Result>(
  awake: number,
  others: readonly number[],
  work: () => Promise<Result>,
): Promise<Result> {
  const last = availableParallelism() - 1;
  const held = runOn(String(last), awake, true) && others.every((pid) => runOn(`0-${last - 1}`, pid, true));
  if (!held) console.log('not held to cores of their own: who is late may have stood behind the generator');
  try {
    return await work();
  } finally {
    for (const pid of [awake, ...others]) runOn(allCores, pid, true);
  }
}

/**
 * Gives the sending half of a replay a core of its own: the sender, and the pacer that wakes it. They are the two
 * youngest worker threads of the process below a shell. The reading threads have the other cores.
 */
export function pinSender(shell: number): void {
  const [pid] = childrenOf(shell);
  if (pid === undefined) return;
  const workers = readdirSync(`/proc/${pid}/task`)
    .map(Number)
    .filter((thread) => readFileSync(`/proc/${pid}/task/${thread}/comm`, 'utf8').trim() === 'WorkerThread')
    .sort((a, b) => a - b);
  const sending = workers.slice(-2);
  if (sending.length < 2 || !runOn('0', pid, true)) return;
  for (const thread of sending) runOn('1', thread, false);
}
