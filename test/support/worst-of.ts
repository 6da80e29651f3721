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
