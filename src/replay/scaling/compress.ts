/**
 * Time compression: every offset divided by the multiplier. Below 1 it stretches.
 */
export const COMPRESS = {
  name: 'compress',
  keeps: 'order, ties, the shape of the gaps and the payload mix',
  bends: 'think times, session overlap and ramps, which pass faster by the multiplier',
} as const;

/**
 * The planned offset of an arrival.
 * @param offsetUs whole microseconds after the first arrival of the window
 * @returns whole nanoseconds after the start of the run. Rounded once, so that equal arrivals stay equal,
 *   order is kept and no error adds up. Exact below 104 days.
 */
export function compressOffsetNs(offsetUs: number, multiplier: number): number {
  return Math.round((offsetUs * 1000) / multiplier);
}
