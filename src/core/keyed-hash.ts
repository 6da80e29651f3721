import { createHmac, createSecretKey, type Hmac, type KeyObject } from 'node:crypto';

/** Bytes of a body hash. Half of SHA-256: no two bodies of a capture will ever share it by chance. */
export const BODY_HASH_BYTES = 16;
/** Bytes of a client or session key. */
export const IDENTITY_HASH_BYTES = 8;

/** A hash being fed; take the digest once. */
export interface RunningHash {
  update(bytes: Uint8Array): void;
  /** The first 16 bytes of the HMAC. */
  digest(): Uint8Array;
}

/**
 * HMAC-SHA-256 under a capture's hash key. Keyed, because the plain hash of a short secret can be guessed by
 * trying; equal bodies of one capture (or of a fleet that shares the key) still compare equal.
 */
export class KeyedHash {
  readonly #key: KeyObject;

  constructor(key: Uint8Array) {
    // Handed over once: given as bytes, each hash would import the key anew, at 11 µs instead of 3.
    this.#key = createSecretKey(key);
  }

  /** Begins a hash that is fed piece by piece. */
  start(): RunningHash {
    const hmac: Hmac = createHmac('sha256', this.#key);
    return {
      update: (bytes) => {
        hmac.update(bytes);
      },
      digest: () => hmac.digest().subarray(0, BODY_HASH_BYTES),
    };
  }

  /** The 16-byte hash of a whole body. */
  ofBody(bytes: Uint8Array): Uint8Array {
    return createHmac('sha256', this.#key).update(bytes).digest().subarray(0, BODY_HASH_BYTES);
  }

  /** The 8-byte key of a client or session; `kind` keeps equal texts of different kinds apart. */
  ofIdentity(kind: 'client' | 'session', text: string): Uint8Array {
    return createHmac('sha256', this.#key)
      .update(`${kind}\0${text}`, 'utf8')
      .digest()
      .subarray(0, IDENTITY_HASH_BYTES);
  }

  /** Eight hex digits that tell two keys apart and give nothing of the key away. */
  fingerprint(): string {
    return createHmac('sha256', this.#key).update('reprise hash key').digest('hex').slice(0, 8);
  }
}
