import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until a number stays the same for several checks. Time in which this process does not run does not count. */
export async function standstillOf(read: () => number): Promise<number> {
  let last = read();
  for (let looks = 0; looks < 10; looks += 1) {
    await sleep(20);
    if (read() === last) continue;
    last = read();
    looks = -1;
  }
  return last;
}
