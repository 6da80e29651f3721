import { createHash, createHmac, createSecretKey, hash as hashOf, type KeyObject } from 'node:crypto';

/**
 * Bytes of a body hash. Half of SHA-256, so accidental collisions within a capture are practically
 * impossible.
 */
const BODY_HASH_BYTES = 16;
/** Bytes of a client or session key. */
export const IDENTITY_HASH_BYTES = 8;
/** One SHA-256 block, for the key. */
const KEY_BLOCK_BYTES = 64;

/**
 * Up to this size a body is copied behind the key's block and hashed in one call. For a larger body, the cost of a
 * second call does not matter.
 */
const COPIED_BYTES = 64 * 1024;

/** A streaming hash. Call `digest` once. */
export interface RunningHash {
  update(bytes: Uint8Array): void;
  /** The first 16 bytes of the digest. */
  digest(): Buffer;
}

/**
 * Hashes under a capture's hash key. They are keyed, because a plain hash of a short secret can be reversed by trying
 * values. Equal bodies of one capture (or of a fleet with a shared key) still compare equal.
 *
 * Identities and values are hashed by HMAC-SHA-256. A body's hash is the first half of SHA-256 of the key and the body.
 * Without the other half, nobody can extend the hash (Coron, Dodis, Malinaud, Puniya, "Merkle-Damgård Revisited",
 * 2005). HMAC prevents the same with a second digest, which would be a third of the time for 2 KB.
 */
export class KeyedHash {
  readonly #key: KeyObject;
  /** The key as in RFC 2104: padded with zeros, or its digest if it is longer. */
  readonly #block = Buffer.alloc(KEY_BLOCK_BYTES);
  #room: Buffer | null = null;

  constructor(key: Uint8Array) {
    // Imported once. With key bytes, each hash would import the key again and take 11 µs instead of 3.
    this.#key = createSecretKey(key);
    this.#block.set(key.length > KEY_BLOCK_BYTES ? hashOf('sha256', key, 'buffer') : key);
  }

  start(): RunningHash {
    const running = createHash('sha256').update(this.#block);
    return {
      update: (bytes) => {
        running.update(bytes);
      },
      digest: () => running.digest().subarray(0, BODY_HASH_BYTES),
    };
  }

  /**
   * The 16-byte hash of a whole body. Uses a one-shot digest: a running one takes twice the time and needs a finalizer.
   */
  ofBody(bytes: Uint8Array): Buffer {
    if (bytes.length > COPIED_BYTES) {
      const running = this.start();
      running.update(bytes);
      return running.digest();
    }
    this.#room ??= Buffer.concat([this.#block, Buffer.alloc(COPIED_BYTES)]);
    this.#room.set(bytes, KEY_BLOCK_BYTES);
    const keyed = this.#room.subarray(0, KEY_BLOCK_BYTES + bytes.length);
    const digest = Buffer.allocUnsafe(BODY_HASH_BYTES);
    // As a latin1 string, because a digest buffer is allocated outside the heap.
    digest.write(hashOf('sha256', keyed, 'binary'), 0, BODY_HASH_BYTES, 'latin1');
    return digest;
  }

  /** The 8-byte key of a client or session; `kind` keeps equal texts of different kinds apart. */
  ofIdentity(kind: 'client' | 'session', text: string): Uint8Array {
    return createHmac('sha256', this.#key)
      .update(`${kind}\0${text}`, 'utf8')
      .digest()
      .subarray(0, IDENTITY_HASH_BYTES);
  }

  /** The 16-byte hash of a value inside a body; never equal to the hash of a body with the same bytes. */
  ofValue(bytes: Uint8Array): Uint8Array {
    const hmac = createHmac('sha256', this.#key).update('value\0', 'latin1').update(bytes);
    return hmac.digest().subarray(0, BODY_HASH_BYTES);
  }

  /** Eight hex digits that identify the key and reveal nothing about it. */
  fingerprint(): string {
    return createHmac('sha256', this.#key).update('reprise hash key').digest('hex').slice(0, 8);
  }
}
