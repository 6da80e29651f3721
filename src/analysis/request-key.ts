/** Routes whose seed is remembered; a service has a handful. */
const REMEMBERED_ROUTES = 4_096;

/**
 * Two words that tell requests apart by route and body. Bodies are known by their keyed hash, which is uniform, so
 * the words serve estimates as they are.
 */
export class RequestKeys {
  readonly #routes = new Map<string, number>();
  high = 0;
  low = 0;

  /** Sets `high` and `low` to those of a request. `requestHash` null is an empty body. */
  take(route: string | null, requestHash: Uint8Array | null): void {
    const seed = this.#seedOf(route ?? '');
    this.high = mixed(seed ^ wordAt(requestHash, 0));
    this.low = mixed(seed ^ wordAt(requestHash, 4) ^ Math.imul(this.high, 0x9e3779b1));
  }

  /** 53 bits of both: among 262,144 requests two different ones meet with a chance of 4 in a million. */
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

function wordAt(hash: Uint8Array | null, at: number): number {
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
