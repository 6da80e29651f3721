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
 * Up to this size a body is copied behind the key's block and hashed in one call. Above it a second call costs
 * nothing noticeable.
 */
const COPIED_BYTES = 64 * 1024;

/** A streaming hash. Call `digest` once. */
export interface RunningHash {
  update(bytes: Uint8Array): void;
  /** The first 16 bytes of the digest. */
  digest(): Buffer;
}

/**
 * Hashes under a capture's hash key. Keyed, because the plain hash of a short secret can be found by trying. Equal
 * bodies of one capture (or of a fleet with a shared key) still compare equal.
 *
 * Identities and values are hashed by HMAC-SHA-256. A body's hash is SHA-256 of the key and the body, of which half is
 * kept: without the other half nobody can go on from it, which is what HMAC's second digest is for (Coron, Dodis,
 * Malinaud, Puniya, "Merkle-Damgård Revisited", 2005). That digest would be a third of the time for 2 KB.
 */
export class KeyedHash {
  readonly #key: KeyObject;
  /** The key, as in RFC 2104: filled up with zeros, or its digest where it is longer. */
  readonly #block = Buffer.alloc(KEY_BLOCK_BYTES);
  #room: Buffer | null = null;

  constructor(key: Uint8Array) {
    // Imported once: with key bytes, each hash would import the key again, at 11 µs instead of 3.
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

  /** The 16-byte hash of a whole body. By a one-shot digest: a running one takes twice the time and a finalizer. */
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
    // As a one-byte string, because a digest buffer is allocated outside the heap.
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

  /** The 16-byte hash of a value inside a body; never equal to that of a body with the same bytes. */
  ofValue(bytes: Uint8Array): Uint8Array {
    const hmac = createHmac('sha256', this.#key).update('value\0', 'latin1').update(bytes);
    return hmac.digest().subarray(0, BODY_HASH_BYTES);
  }

  /** Eight hex digits that identify the key and reveal nothing about it. */
  fingerprint(): string {
    return createHmac('sha256', this.#key).update('reprise hash key').digest('hex').slice(0, 8);
  }
}
