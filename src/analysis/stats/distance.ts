import type { ExchangeRow } from '../../core/exchange.ts';
import type { Histogram, HistogramBin } from '../../core/histogram.ts';

/** Gaps that differ by less than this share are equal: two steps of the histogram, which is its error. */
const RELATIVE_TOLERANCE = 2 / 1024;
/** Error of a timer with whole milliseconds. A gap between two sends has the same error. */
export const TIMER_ERROR_NS = 1e6;
/** If the mean gap is shorter than this many times the error, the error would hide most differences. */
const LEAST_ERRORS = 2;

/** A bin on the scale where the mean is 1, with the share of all values up to its end. */
interface ShareBin {
  readonly lowest: number;
  readonly highest: number;
  readonly before: number;
  readonly through: number;
}

/**
 * Kolmogorov–Smirnov distance of two gap distributions, each scaled to a mean of 1 so that only shape counts: the
 * greatest difference between their distribution functions, 0 to 1. A difference that disappears when gaps change by
 * 0.2 % or by one tick does not count, because the histogram and whole ticks cause it. So the result never exceeds the
 * exact distance. Null if either has no gaps or only gaps of 0, or if the gaps are hardly longer than `error`.
 * @param error further error of a gap in ticks, such as that of sends: equal instants that a timer separates stay equal
 */
export function gapDistance(a: Histogram, b: Histogram, error = 0): number | null {
  const meanA = a.mean;
  const meanB = b.mean;
  if (!meanA || !meanB) return null;
  const least = Math.min(meanA, meanB);
  if (least < LEAST_ERRORS * error) return null;
  const tick = 1 / meanA + 1 / meanB + error / least;
  const binsA = shareBins(a, meanA);
  const binsB = shareBins(b, meanB);
  return Math.max(excess(binsA, binsB, tick), excess(binsB, binsA, tick));
}

function shareBins(histogram: Histogram, mean: number): ShareBin[] {
  const bins: ShareBin[] = [];
  let seen = 0;
  for (const bin of histogram.bins()) {
    bins.push(shareBin(bin, mean, seen, histogram.count));
    seen += bin.count;
  }
  return bins;
}

function shareBin(bin: HistogramBin, mean: number, seen: number, total: number): ShareBin {
  return {
    lowest: bin.lowest / mean,
    highest: bin.highest / mean,
    before: seen / total,
    through: (seen + bin.count) / total,
  };
}

/**
 * The largest difference at the ends of the bins of `ours`, between its distribution function and the nearest value of
 * the other within the tolerance. `tick` is the absolute part of the tolerance on the scaled axis.
 */
function excess(ours: readonly ShareBin[], others: readonly ShareBin[], tick: number): number {
  let worst = 0;
  let surelyBelow = 0;
  let possiblyBelow = 0;
  for (const bin of ours) {
    const lowEdge = bin.highest * (1 - RELATIVE_TOLERANCE) - tick;
    const highEdge = bin.highest * (1 + RELATIVE_TOLERANCE) + tick;
    while (surelyBelow < others.length && others[surelyBelow]!.highest <= lowEdge) surelyBelow += 1;
    while (possiblyBelow < others.length && others[possiblyBelow]!.lowest <= highEdge) possiblyBelow += 1;
    const least = others[surelyBelow - 1]?.through ?? 0;
    const most = others[possiblyBelow - 1]?.through ?? 0;
    worst = Math.max(worst, bin.through - most, least - bin.through);
  }
  return worst;
}

/** The facts that define the kind of a request in the mix. */
export type MixEntry = Pick<ExchangeRow, 'route' | 'model' | 'requestBytes'>;

/** Most separate kinds. Routes are normalised, so a real mix has far fewer; the limit is for hostile traffic. */
const MAX_KINDS = 4_096;
/** Kinds over the limit are counted together in this many groups. */
const OVERFLOW_GROUPS = 64;

/**
 * The distance between the mixes of several streams of requests: total variation over route × model × size class
 * (powers of two). This is the share of one stream that must be exchanged to get the other. Beyond 4,096 kinds the rest
 * is grouped, which can only reduce the distance.
 */
export class MixDistance {
  readonly #streams: number;
  readonly #counts = new Map<string, Float64Array>();
  readonly #totals: Float64Array;

  constructor(streams: number) {
    this.#streams = streams;
    this.#totals = new Float64Array(streams);
  }

  /** Counts one request of a stream, 0 … streams − 1. */
  add(stream: number, entry: MixEntry): void {
    const counts = this.#countsOf(entry);
    counts[stream]! += 1;
    this.#totals[stream]! += 1;
  }

  /** 0 for equal mixes, 1 for mixes with nothing in common; null while either stream is empty. */
  between(a: number, b: number): number | null {
    const totalA = this.#totals[a]!;
    const totalB = this.#totals[b]!;
    if (totalA === 0 || totalB === 0) return null;
    let sum = 0;
    for (const counts of this.#counts.values()) sum += Math.abs(counts[a]! / totalA - counts[b]! / totalB);
    return sum / 2;
  }

  #countsOf({ route, model, requestBytes }: MixEntry): Float64Array {
    const kind = `${sizeClassOf(requestBytes ?? 0)}\n${route ?? ''}\n${model ?? ''}`;
    const isApart = this.#counts.has(kind) || this.#counts.size < MAX_KINDS;
    const key = isApart ? kind : `overflow ${groupOf(kind)}`;
    let counts = this.#counts.get(key);
    if (counts === undefined) {
      counts = new Float64Array(this.#streams);
      this.#counts.set(key, counts);
    }
    return counts;
  }
}

/** The size class: 0 for no body, else one class for each doubling. */
export function sizeClassOf(bytes: number): number {
  return bytes === 0 ? 0 : Math.floor(Math.log2(bytes)) + 1;
}

function groupOf(kind: string): number {
  let hash = 0;
  for (let at = 0; at < kind.length; at++) hash = (Math.imul(hash, 31) + kind.charCodeAt(at)) | 0;
  return (hash >>> 0) % OVERFLOW_GROUPS;
}
