/**
 * Runs a call as if its thread were stopped in the middle. The other side runs completely before the call's `ops`-th
 * access to shared memory (from 0). If the call has fewer accesses, the other side does not run.
 */
export function preempted<T>(call: () => T, ops: number, other: () => void): T {
  const { load, store, compareExchange } = Atomics;
  let left = ops;
  const look = (): void => {
    left -= 1;
    if (left === -1) other();
  };
  Object.assign(Atomics, {
    load: (...args: Parameters<typeof load>) => {
      look();
      return load(...args);
    },
    store: (...args: Parameters<typeof store>) => {
      look();
      return store(...args);
    },
    compareExchange: (...args: Parameters<typeof compareExchange>) => {
      look();
      return compareExchange(...args);
    },
  });
  try {
    return call();
  } finally {
    Object.assign(Atomics, { load, store, compareExchange });
  }
}
