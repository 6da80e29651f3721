/** A share of all keys: whoever has the same hash key and share decides alike, without a word between them. */
const SCALE = 2 ** 32;

/**
 * Which exchanges are recorded when only a share of them is. By session where there is a session key, so that
 * a conversation is recorded whole or not at all, and by every recorder of a fleet alike; else by exchange.
 */
export class Sampling {
  /** Above 0 and at most 1. */
  readonly share: number;
  readonly #limit: number;
  readonly #seed: number;

  /** @param seed of this recorder's life: two recorders must not choose the same places of their own traffic. */
  constructor(share: number, seed = 0) {
    this.share = share;
    this.#limit = share * SCALE;
    this.#seed = seed;
  }

  /** Whether everything is recorded, so that nothing needs to be asked. */
  get all(): boolean {
    return this.share >= 1;
  }

  /** @param session the keyed hash of the session, eight bytes */
  keepsSession(session: Uint8Array): boolean {
    // Mixed once more: whoever later chooses among the recorded sessions by their hashes finds them even.
    const low = word(session, 0);
    return mix(low, word(session, 4)) < this.#limit;
  }

  /** @param firstByteNs when the request began; with its connection, a place in the traffic */
  keepsExchange(connection: number, firstByteNs: number): boolean {
    const placed = mix(mix(this.#seed, connection), Math.floor(connection / SCALE));
    return mix(mix(placed, firstByteNs), Math.floor(firstByteNs / SCALE)) < this.#limit;
  }
}

function word(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] ?? 0) << 24) |
    ((bytes[at + 1] ?? 0) << 16) |
    ((bytes[at + 2] ?? 0) << 8) |
    (bytes[at + 3] ?? 0)
  );
}

/** Two words into one, 0 to 2^32 − 1, in which every bit of both counts. */
function mix(first: number, second: number): number {
  let mixed = Math.imul(first ^ 0x9e3779b9, 0x21f0aaad) ^ second;
  mixed ^= mixed >>> 16;
  mixed = Math.imul(mixed, 0x735a2d97);
  mixed ^= mixed >>> 15;
  mixed = Math.imul(mixed, 0x21f0aaad);
  mixed ^= mixed >>> 15;
  return mixed >>> 0;
}
