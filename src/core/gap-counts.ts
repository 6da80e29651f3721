import type { Histogram } from './histogram.ts';
import { NS_PER_US } from './units.ts';

/** Values below 512 µs are exact to the microsecond; above, there are 256 steps per doubling. */
const STEP_BITS = 8;
const STEPS = 1 << STEP_BITS;
/** Longer gaps, over half an hour, count as this. */
const LONGEST_US = 2 ** 31 - 1;

/**
 * The gaps between the tokens of one stream, in a few hundred bytes for any length. They yield percentiles over any set
 * of streams. A stored gap is never shorter than the real one, and at most 1/256 (or 1 µs) longer. Byte format, for
 * each non-empty step in rising order: its distance from the one before, then its count. Both are LEB128.
 */
export class GapCounts {
  readonly #counts = new Map<number, number>();
  #count = 0;
  #maxNs = 0;

  get count(): number {
    return this.#count;
  }

  /** The exact longest gap; null if there is none. */
  get maxNs(): number | null {
    return this.#count === 0 ? null : this.#maxNs;
  }

  add(gapNs: number): void {
    const step = stepOf(Math.min(LONGEST_US, Math.ceil(gapNs / NS_PER_US)));
    this.#counts.set(step, (this.#counts.get(step) ?? 0) + 1);
    this.#count += 1;
    if (gapNs > this.#maxNs) this.#maxNs = gapNs;
  }

  /** Null if there are no gaps. */
  toBytes(): Uint8Array | null {
    if (this.#count === 0) return null;
    const bytes: number[] = [];
    let before = 0;
    for (const step of [...this.#counts.keys()].sort((a, b) => a - b)) {
      writeNumber(bytes, step - before);
      writeNumber(bytes, this.#counts.get(step) ?? 0);
      before = step;
    }
    return Uint8Array.from(bytes);
  }
}

/**
 * Adds the gaps of a stream, in nanoseconds, to a histogram.
 * @returns their number
 * @throws RangeError for bytes that `GapCounts` did not write
 */
export function addGaps(bytes: Uint8Array, to: Pick<Histogram, 'record'>): number {
  let at = 0;
  const next = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at];
      if (byte === undefined || factor > 2 ** 49) throw new RangeError('the gap counts are truncated');
      at += 1;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  let step = 0;
  let gaps = 0;
  while (at < bytes.length) {
    step += next();
    const count = next();
    to.record(longestUsOf(step) * NS_PER_US, count);
    gaps += count;
  }
  return gaps;
}

function stepOf(us: number): number {
  if (us < 2 * STEPS) return us;
  const shift = 31 - Math.clz32(us) - STEP_BITS;
  return shift * STEPS + (us >>> shift);
}

function longestUsOf(step: number): number {
  if (step < 2 * STEPS) return step;
  const shift = Math.floor(step / STEPS) - 1;
  return (step - shift * STEPS + 1) * 2 ** shift - 1;
}

function writeNumber(bytes: number[], value: number): void {
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest & 0x7f) | 0x80);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
}
