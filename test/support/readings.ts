import { setTimeout as sleep } from 'node:timers/promises';

/** Measurements at most, a shared machine rarely disturbs two in a row. */
const TRIES = 2;

/**
 * The smallest of at most two measurements. The second is made only if the first reaches `bound`. A defect appears each
 * time, but a disturbance of a shared machine does not.
 */
export async function leastOf(bound: number, measure: () => Promise<number>): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let tried = 0; tried < TRIES && least >= bound; tried += 1) least = Math.min(least, await measure());
  return least;
}

/** Concurrent calls. */
const LANES = 8;

/**
 * Measures every number below `count`, some at a time, and returns the largest result. A measurement that reaches
 * `bound` is repeated, and the second result counts. A defect appears each time, but a disturbance of a shared machine
 * does not.
 */
export async function worstOf(
  count: number,
  bound: number,
  each: (n: number) => Promise<number>,
): Promise<number> {
  let next = 0;
  let worst = 0;
  const lane = async () => {
    for (let n = next; n < count; n = next) {
      next += 1;
      const first = await each(n);
      worst = Math.max(worst, first < bound ? first : await each(n));
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return worst;
}

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
