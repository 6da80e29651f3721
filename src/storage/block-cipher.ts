import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import { damaged } from './database.ts';

export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;

const ALGORITHM = 'aes-256-gcm';

/** Where a payload stands and how it is coded: bound to it, so that no row can take another's place. */
export interface BlockPlace {
  readonly firstSlot: number;
  readonly slots: number;
  readonly rawBytes: number;
  readonly codec: number;
}

/**
 * Encrypts the payloads of one segment's blocks under a key that nothing else uses.
 *
 * Nonces are random. A counter would have to survive crashes and roll-backs, because the slots of a tail are
 * encrypted once more when its block is full; and of the few hundred thousand rows a segment can have, no two
 * will share 96 random bits.
 */
export class BlockCipher {
  readonly #key: KeyObject;
  readonly #segment: string;

  /** @param segment what names the segment for good, whatever its file is called */
  constructor(key: Uint8Array, segment: string) {
    this.#key = createSecretKey(key);
    this.#segment = segment;
  }

  /** Nonce, what was encrypted, tag. */
  encrypt(payload: Uint8Array, place: BlockPlace): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(ALGORITHM, this.#key, nonce);
    cipher.setAAD(this.#context(place));
    return Buffer.concat([nonce, cipher.update(payload), cipher.final(), cipher.getAuthTag()]);
  }

  /** The inverse of `encrypt`. @throws AppError CAPTURE_DAMAGED naming `file` when anything of it was changed. */
  decrypt(payload: Uint8Array, place: BlockPlace, file: string): Buffer {
    try {
      const nonce = payload.subarray(0, NONCE_BYTES);
      const decipher = createDecipheriv(ALGORITHM, this.#key, nonce, { authTagLength: TAG_BYTES });
      decipher.setAAD(this.#context(place));
      decipher.setAuthTag(payload.subarray(-TAG_BYTES));
      return Buffer.concat([decipher.update(payload.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
    } catch (error) {
      throw damaged(file, `block ${place.firstSlot} is not what was encrypted there`, error);
    }
  }

  #context({ firstSlot, slots, rawBytes, codec }: BlockPlace): Buffer {
    return Buffer.from(`${this.#segment} ${firstSlot} ${slots} ${rawBytes} ${codec}`, 'latin1');
  }
}
