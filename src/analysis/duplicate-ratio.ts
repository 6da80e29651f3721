import type { DuplicateFigures } from '../documents/replay.ts';
import { DistinctEstimate } from './distinct-estimate.ts';
import { RequestKeys } from './request-key.ts';

/** Distinct requests remembered one by one; beyond it they are estimated. Some 8 MB. */
const EXACT_LIMIT = 262_144;

/**
 * Counts how many requests repeat an earlier one (same route and same body), at bounded memory. Bodies are told
 * apart by their keyed hash.
 */
export class DuplicateRatio {
  /** No `Set`, in which each number is an object: distinct bodies would be most of what a collector walks through. */
  readonly #seen = new Set<number>();
  readonly #distinct = new DistinctEstimate();
  readonly #keys = new RequestKeys();
  #count = 0;
  #exact = true;

  /** `requestHash` null is an empty body; a request whose body is unknown must not be added. */
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
