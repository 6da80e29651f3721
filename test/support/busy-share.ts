import { cpus } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';

/** The busy share of all processors over a second. */
export async function busyShare(): Promise<number> {
  const sums = () =>
    cpus().reduce<readonly [number, number]>(
      ([idle, all], { times: { user, nice, sys, idle: free, irq } }) => [
        idle + free,
        all + user + nice + sys + free + irq,
      ],
      [0, 0],
    );
  const before = sums();
  await pause(1_000);
  const after = sums();
  return 1 - (after[0] - before[0]) / Math.max(1, after[1] - before[1]);
}
