/** Done at the same time. */
const LANES = 8;

/**
 * Does something for every number below `count`, some at a time; the greatest answer. What reaches `bound` is done
 * once more and counts by what it then takes: a defect is there each time, a moment in which a shared machine ran
 * somebody else is not.
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
