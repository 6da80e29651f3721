/** 2^32 by the golden ratio. */
const SPREAD = 0x9e37_79b1;
const WORD = 2 ** 32;

/**
 * 32 bits of a whole number below 2^53, any of which will do for a place in a table. What is counted, comes by strides
 * or differs in its upper half alone comes to lie as if by chance: one multiplication would leave the lower bits of
 * the result to the lower bits of the number, and numbers some way apart would fall on each other in long runs.
 */
export function hashOf(number: number): number {
  const once = Math.imul((number | 0) ^ Math.imul((number / WORD) | 0, SPREAD), SPREAD);
  const twice = Math.imul(once ^ (once >>> 16), 0x7feb_352d);
  return twice ^ (twice >>> 15);
}
