/**
 * Random numbers that a seed reproduces on every machine and Node version. The generator is xoshiro128** 1.1
 * of D. Blackman and S. Vigna ("Scrambled linear pseudorandom number generators", ACM TOMS 2021). Splitmix32
 * fills its state, so neighbouring seeds are unrelated. Not for secrets.
 */
export class SeededRandom {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** @param seed a whole number from 0 to 2^53 − 1; every bit counts */
  constructor(seed: number) {
    const low = splitmix32(seed >>> 0);
    const high = splitmix32(Math.floor(seed / 2 ** 32) >>> 0);
    this.#a = low();
    this.#b = low() ^ high();
    this.#c = low();
    this.#d = low() ^ high();
    // The generator never leaves an all-zero state.
    if ((this.#a | this.#b | this.#c | this.#d) === 0) this.#a = 1;
  }

  /** A whole number from 0 to 2^32 − 1. */
  nextUint32(): number {
    const result = Math.imul(rotateLeft(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = rotateLeft(this.#d, 11);
    return result;
  }

  /** A whole number from 0 to `bound` − 1, uniformly distributed; `bound` is 1 to 2^32. */
  below(bound: number): number {
    // Values above the last whole multiple of the bound would favour small numbers.
    const limit = 2 ** 32 - (2 ** 32 % bound);
    let value = this.nextUint32();
    while (value >= limit) value = this.nextUint32();
    return value % bound;
  }
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

function splitmix32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return mixed ^ (mixed >>> 15);
  };
}
