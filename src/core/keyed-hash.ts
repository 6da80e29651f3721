import { createHmac, createSecretKey, type Hmac, hash as hashOf, type KeyObject } from 'node:crypto';

/**
 * Bytes of a body hash. Half of SHA-256, so accidental collisions within a capture are practically
 * impossible.
 */
const BODY_HASH_BYTES = 16;
/** Bytes of a client or session key. */
export const IDENTITY_HASH_BYTES = 8;
/** One SHA-256 block, for the key. */
const KEY_BLOCK_BYTES = 64;

const DIGEST_BYTES = 32;
/**
 * Up to this size a body is copied behind the key's block and hashed in one call. Above it a second call costs
 * nothing noticeable.
 */
const COPIED_BYTES = 64 * 1024;

/** A streaming hash. Call `digest` once. */
export interface RunningHash {
  update(bytes: Uint8Array): void;
  /** The first 16 bytes of the HMAC. */
  digest(): Buffer;
}

/**
 * HMAC-SHA-256 under a capture's hash key. Keyed, because the plain hash of a short secret can be found by
 * trying. Equal bodies of one capture (or of a fleet with a shared key) still compare equal.
 */
export class KeyedHash {
  readonly #key: KeyObject;
  /** The two paddings of HMAC (RFC 2104); the outer one has room for the inner digest. */
  readonly #inner = Buffer.alloc(KEY_BLOCK_BYTES, 0x36);
  readonly #outer = Buffer.alloc(KEY_BLOCK_BYTES + DIGEST_BYTES, 0x5c);
  #room: Buffer | null = null;

  constructor(key: Uint8Array) {
    // Imported once: with key bytes, each hash would import the key again, at 11 µs instead of 3.
    this.#key = createSecretKey(key);
    const block = key.length > KEY_BLOCK_BYTES ? hashOf('sha256', key, 'buffer') : key;
    for (const [at, byte] of block.entries()) {
      this.#inner[at] = 0x36 ^ byte;
      this.#outer[at] = 0x5c ^ byte;
    }
  }

  start(): RunningHash {
    const hmac: Hmac = createHmac('sha256', this.#key);
    return {
      update: (bytes) => {
        hmac.update(bytes);
      },
      digest: () => hmac.digest().subarray(0, BODY_HASH_BYTES),
    };
  }

  /**
   * The 16-byte hash of a whole body. Computed from two one-shot digests: a `createHmac` object takes twice the time
   * and one finalizer each.
   */
  ofBody(bytes: Uint8Array): Buffer {
    if (bytes.length > COPIED_BYTES) {
      return createHmac('sha256', this.#key).update(bytes).digest().subarray(0, BODY_HASH_BYTES);
    }
    this.#room ??= Buffer.concat([this.#inner, Buffer.alloc(COPIED_BYTES)]);
    this.#room.set(bytes, KEY_BLOCK_BYTES);
    const keyed = this.#room.subarray(0, KEY_BLOCK_BYTES + bytes.length);
    // As one-byte strings, because a digest buffer is allocated outside the heap.
    this.#outer.write(hashOf('sha256', keyed, 'binary'), KEY_BLOCK_BYTES, 'latin1');
    const digest = Buffer.allocUnsafe(BODY_HASH_BYTES);
    digest.write(hashOf('sha256', this.#outer, 'binary'), 0, BODY_HASH_BYTES, 'latin1');
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
