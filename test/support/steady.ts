import { setTimeout as sleep } from 'node:timers/promises';

const APART_MS = 300;
const LIMIT_MS = 20_000;

/** A reading that was the same twice, so that resources that are just being closed do not count. */
export async function steady(read: () => number): Promise<number> {
  const sinceMs = performance.now();
  for (let last = read(); ; ) {
    await sleep(APART_MS);
    const now = read();
    if (now === last) return now;
    if (performance.now() - sinceMs > LIMIT_MS) throw new Error(`${last} and then ${now}: never steady`);
    last = now;
  }
}
