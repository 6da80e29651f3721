import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until a number is the same for a while in which this process ran: a moment in which it did not is no look. */
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
