import type { DuplicateFigures } from '../../documents/replay.ts';

/** Routes with a remembered seed at most. A service has only a few routes. */
const REMEMBERED_ROUTES = 4_096;

/**
 * Two 32-bit words that identify a request by route and body. Bodies are identified by their keyed hash. It is uniform,
 * so estimates can use the words directly.
 */
export class RequestKeys {
  readonly #routes = new Map<string, number>();
  high = 0;
  low = 0;

  /** Sets `high` and `low` for a request. A null `requestHash` means an empty body. */
  take(route: string | null, requestHash: Uint8Array | null): void {
    const seed = this.#seedOf(route ?? '');
    this.high = mixed(seed ^ wordAt(requestHash, 0));
    this.low = mixed(seed ^ wordAt(requestHash, 4) ^ Math.imul(this.high, 0x9e3779b1));
  }

  /** 53 bits of both words. Among 262,144 different requests, the probability of a collision is 4 in a million. */
  get number(): number {
    return (this.high >>> 11) * 2 ** 32 + (this.low >>> 0);
  }

  #seedOf(route: string): number {
    let seed = this.#routes.get(route);
    if (seed === undefined) {
      seed = 0;
      for (let at = 0; at < route.length; at++) seed = mixed(seed ^ route.charCodeAt(at));
      if (this.#routes.size < REMEMBERED_ROUTES) this.#routes.set(route, seed);
    }
    return seed;
  }
}

/** A word of a hash; 0 without a hash. */
export function wordAt(hash: Uint8Array | null, at: number): number {
  if (hash === null) return 0;
  return (
    (hash[at] ?? 0) | ((hash[at + 1] ?? 0) << 8) | ((hash[at + 2] ?? 0) << 16) | ((hash[at + 3] ?? 0) << 24)
  );
}

/** A 32-bit mixer: every input bit reaches every output bit. */
function mixed(value: number): number {
  let word = value | 0;
  word = Math.imul(word ^ (word >>> 16), 0x7feb352d);
  word = Math.imul(word ^ (word >>> 15), 0x846ca68b);
  return word ^ (word >>> 16);
}

/** 2¹⁶ registers: the relative standard error of the estimate is 1.04 / √65536 = 0.4 %. */
const REGISTER_BITS = 16;
const REGISTERS = 2 ** REGISTER_BITS;
/** Ranks are read from a word, so the greatest is that of a word with only 0 bits. */
const WORD_BITS = 32;

/** Estimates the number of distinct items with 64 KB: HyperLogLog (Flajolet et al. 2007). */
export class DistinctEstimate {
  readonly #registers = new Uint8Array(REGISTERS);

  /** Adds two words of a uniform hash. 16 bits of one choose the register; leading zeros are counted in the other. */
  add(high: number, low: number): void {
    const index = high & (REGISTERS - 1);
    const rank = Math.clz32(low) + 1;
    if (rank > this.#registers[index]!) this.#registers[index] = rank;
  }

  /**
   * Ertl's estimator (New cardinality estimation algorithms for HyperLogLog sketches, 2017): unbiased for any count.
   */
  estimate(): number {
    const counts = new Float64Array(WORD_BITS + 2);
    for (const rank of this.#registers) counts[rank]! += 1;
    let harmonic = REGISTERS * beyondWord(1 - (counts[WORD_BITS + 1] ?? 0) / REGISTERS);
    for (let rank = WORD_BITS; rank >= 1; rank -= 1) harmonic = (harmonic + (counts[rank] ?? 0)) / 2;
    harmonic += REGISTERS * beforeFirst((counts[0] ?? 0) / REGISTERS);
    return REGISTERS ** 2 / (2 * Math.LN2 * harmonic);
  }
}

/** The term for empty registers: x + Σ 2ᵏ⁻¹ x^(2ᵏ), where x is their share. */
function beforeFirst(share: number): number {
  if (share === 1) return Number.POSITIVE_INFINITY;
  let [power, weight, sum, before] = [share, 1, share, -1];
  while (sum !== before) {
    before = sum;
    power *= power;
    sum += power * weight;
    weight *= 2;
  }
  return sum;
}

/** The term for registers at the last rank: (1 − x − Σ (1 − x^(2⁻ᵏ))² 2⁻ᵏ) / 3, where x is the share of the others. */
function beyondWord(share: number): number {
  if (share === 0 || share === 1) return 0;
  let [root, weight, sum, before] = [share, 1, 1 - share, -1];
  while (sum !== before) {
    before = sum;
    root = Math.sqrt(root);
    weight /= 2;
    sum -= (1 - root) ** 2 * weight;
  }
  return sum / 3;
}

/** Distinct requests that are counted exactly (about 8 MB). Beyond that, they are estimated. */
const EXACT_LIMIT = 262_144;

/**
 * Counts how many requests repeat an earlier one (same route and same body), at bounded memory. Bodies are identified
 * by their keyed hash.
 */
export class DuplicateRatio {
  readonly #seen = new Set<number>();
  readonly #distinct = new DistinctEstimate();
  readonly #keys = new RequestKeys();
  #count = 0;
  #exact = true;

  /** A null `requestHash` means an empty body. Do not add a request with an unknown body. */
  add(route: string | null, requestHash: Uint8Array | null): void {
    const keys = this.#keys;
    keys.take(route, requestHash);
    this.#count += 1;
    this.#distinct.add(keys.high, keys.low);
    const { number } = keys;
    if (!this.#exact || this.#seen.has(number)) return;
    if (this.#seen.size < EXACT_LIMIT) {
      this.#seen.add(number);
      return;
    }
    this.#exact = false;
    this.#seen.clear();
  }

  figures(): DuplicateFigures {
    const distinct = this.#exact ? this.#seen.size : Math.min(this.#count, this.#distinct.estimate());
    return {
      count: this.#count,
      ratio: this.#count === 0 ? null : 1 - distinct / this.#count,
      exact: this.#exact,
    };
  }
}
