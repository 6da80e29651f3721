/** Distinct requests remembered one by one; beyond it they are estimated. Some 15 MB. */
const EXACT_LIMIT = 262_144;
/** 2¹⁴ registers: standard error of the estimate 1.04 / √16384 = 0.81 % of the distinct requests. */
const REGISTER_BITS = 14;
const REGISTERS = 2 ** REGISTER_BITS;

export interface DuplicateFigures {
  /** Requests whose body was known, one way or another. */
  readonly count: number;
  /** Share of them that repeat an earlier request; null when none is known. */
  readonly ratio: number | null;
  /** False over 262,144 distinct requests, from where the ratio is an estimate good to 0.01 (HyperLogLog). */
  readonly exact: boolean;
}

/**
 * Counts how many requests repeat an earlier one (same route and same body), at bounded memory. Bodies are told
 * apart by their keyed hash, which is uniform and so serves the estimate as it is.
 */
export class DuplicateRatio {
  readonly #seen = new Set<number>();
  readonly #registers = new Uint8Array(REGISTERS);
  readonly #routes = new Map<string, number>();
  #count = 0;
  #exact = true;

  /** `requestHash` null is an empty body; a request whose body is unknown must not be added. */
  add(route: string | null, requestHash: Uint8Array | null): void {
    const seed = this.#seedOf(route ?? '');
    const high = mix(seed ^ wordAt(requestHash, 0));
    const low = mix(seed ^ wordAt(requestHash, 4) ^ Math.imul(high, 0x9e3779b1));
    this.#count += 1;
    this.#register(high, low);
    if (!this.#exact) return;
    // 53 bits: among 262,144 requests two different ones meet with a chance of 4 in a million.
    this.#seen.add((high >>> 11) * 2 ** 32 + (low >>> 0));
    if (this.#seen.size > EXACT_LIMIT) {
      this.#exact = false;
      this.#seen.clear();
    }
  }

  figures(): DuplicateFigures {
    const distinct = this.#exact ? this.#seen.size : Math.min(this.#count, this.#estimate());
    return {
      count: this.#count,
      ratio: this.#count === 0 ? null : 1 - distinct / this.#count,
      exact: this.#exact,
    };
  }

  #seedOf(route: string): number {
    let seed = this.#routes.get(route);
    if (seed === undefined) {
      seed = 0;
      for (let at = 0; at < route.length; at++) seed = mix(seed ^ route.charCodeAt(at));
      if (this.#routes.size < 4_096) this.#routes.set(route, seed);
    }
    return seed;
  }

  /** The register is chosen by 14 bits of one word; the run of leading zeros is read from the other. */
  #register(high: number, low: number): void {
    const index = high & (REGISTERS - 1);
    const rank = Math.clz32(low) + 1;
    if (rank > this.#registers[index]!) this.#registers[index] = rank;
  }

  /** HyperLogLog (Flajolet et al. 2007), used only far above its small-range bound, where no correction is due. */
  #estimate(): number {
    const alpha = 0.7213 / (1 + 1.079 / REGISTERS);
    let harmonic = 0;
    for (const rank of this.#registers) harmonic += 2 ** -rank;
    return (alpha * REGISTERS * REGISTERS) / harmonic;
  }
}

function wordAt(hash: Uint8Array | null, at: number): number {
  if (hash === null) return 0;
  return (
    (hash[at] ?? 0) | ((hash[at + 1] ?? 0) << 8) | ((hash[at + 2] ?? 0) << 16) | ((hash[at + 3] ?? 0) << 24)
  );
}

/** A 32-bit mixer: every input bit reaches every output bit. */
function mix(value: number): number {
  let word = value | 0;
  word = Math.imul(word ^ (word >>> 16), 0x7feb352d);
  word = Math.imul(word ^ (word >>> 15), 0x846ca68b);
  return word ^ (word >>> 16);
}
