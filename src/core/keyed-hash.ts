import { createHmac, createSecretKey, type Hmac, hash as hashOf, type KeyObject } from 'node:crypto';

/** Bytes of a body hash. Half of SHA-256: no two bodies of a capture will ever share it by chance. */
const BODY_HASH_BYTES = 16;
/** Bytes of a client or session key. */
export const IDENTITY_HASH_BYTES = 8;
/** Bytes of room that `ofRoomy` wants in front of what it hashes: a block of SHA-256, for the key. */
export const HASH_ROOM_BYTES = 64;

const DIGEST_BYTES = 32;
/** Up to here a body is copied behind its room to be hashed in one call; past it, a call more costs nothing. */
const COPIED_BYTES = 64 * 1024;

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
  /** The two paddings of HMAC (RFC 2104); the outer one with room for the inner digest. */
  readonly #inner = Buffer.alloc(HASH_ROOM_BYTES, 0x36);
  readonly #outer = Buffer.alloc(HASH_ROOM_BYTES + DIGEST_BYTES, 0x5c);
  #room: Buffer | null = null;

  constructor(key: Uint8Array) {
    // Handed over once: given as bytes, each hash would import the key anew, at 11 µs instead of 3.
    this.#key = createSecretKey(key);
    const block = key.length > HASH_ROOM_BYTES ? hashOf('sha256', key, 'buffer') : key;
    for (const [at, byte] of block.entries()) {
      this.#inner[at] = 0x36 ^ byte;
      this.#outer[at] = 0x5c ^ byte;
    }
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
    if (bytes.length > COPIED_BYTES) {
      return createHmac('sha256', this.#key).update(bytes).digest().subarray(0, BODY_HASH_BYTES);
    }
    this.#room ??= Buffer.allocUnsafeSlow(HASH_ROOM_BYTES + COPIED_BYTES);
    this.#room.set(bytes, HASH_ROOM_BYTES);
    return this.ofRoomy(this.#room.subarray(0, HASH_ROOM_BYTES + bytes.length));
  }

  /**
   * The same of a body that has `HASH_ROOM_BYTES` in front of it, which are overwritten. By hand, out of two
   * one-shot digests: an object of `createHmac` costs twice the time, and the collector a finalizer each.
   */
  ofRoomy(roomy: Uint8Array): Uint8Array {
    roomy.set(this.#inner, 0);
    // As one-byte strings, because a digest as a buffer is an allocation outside the heap.
    this.#outer.write(hashOf('sha256', roomy, 'binary'), HASH_ROOM_BYTES, 'latin1');
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

  /** The 16-byte hash of a value that stood in a body; never equal to that of a body of the same bytes. */
  ofValue(bytes: Uint8Array): Uint8Array {
    const hmac = createHmac('sha256', this.#key).update('value\0', 'latin1').update(bytes);
    return hmac.digest().subarray(0, BODY_HASH_BYTES);
  }

  /** Eight hex digits that tell two keys apart and give nothing of the key away. */
  fingerprint(): string {
    return createHmac('sha256', this.#key).update('reprise hash key').digest('hex').slice(0, 8);
  }
}
