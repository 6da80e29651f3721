import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { z } from 'zod';
import { AppError, reasonOf } from '../../core/errors.ts';
import { damaged } from './sqlite.ts';

const KEY_BYTES = 32;
/** Room for 16 keys in their longest form. A larger file is not a key file. */
const KEY_FILE_BYTES = 4_096;
const KEYS_MAX = 16;
const SEGMENT_ID_BYTES = 16;
const ALGORITHM = 'aes-256-gcm';

/** A key encrypted under another key. It reveals nothing without that key. */
export const wrappedKeySchema = z.object({
  algorithm: z.literal(ALGORITHM),
  /** Fingerprint of the wrapping key. */
  keyId: z.string(),
  /** Nonce, encrypted key and tag; base64. */
  wrappedKey: z.string(),
});
export type WrappedKey = Readonly<z.infer<typeof wrappedKeySchema>>;

/** How a segment's blocks are encrypted, stored in its `meta`. */
const segmentEncryptionSchema = wrappedKeySchema.extend({
  /** Permanent id of the segment, independent of its file name; hexadecimal. */
  segment: z.string(),
});
export type SegmentEncryption = Readonly<z.infer<typeof segmentEncryptionSchema>>;

interface WrappingKey {
  readonly id: string;
  readonly key: KeyObject;
}

/**
 * The content of `--encryption-key-file`. Each segment has its own random key, which the file's key wraps. So
 * the file's key encrypts only 32 random bytes a segment. Destroying it destroys every segment, including all
 * copies.
 */
export class EncryptionKey {
  /**
   * The first key wraps; all keys unwrap. So a key can be replaced while segments under the old one exist.
   */
  readonly #keys: readonly [WrappingKey, ...WrappingKey[]];

  private constructor(keys: readonly [WrappingKey, ...WrappingKey[]]) {
    this.#keys = keys;
  }

  /** @throws AppError OPTION_INVALID for a file that cannot be read or holds no key. */
  static load(file: string): EncryptionKey {
    return EncryptionKey.from(readKeyFile(file), `encryption key file ${file}`);
  }

  /**
   * A key as 32 bytes, or keys as text, one a line: 64 hexadecimal digits or base64.
   * @throws AppError OPTION_INVALID naming `what`
   */
  static from(content: Uint8Array, what: string): EncryptionKey {
    const [first, ...others] = keysIn(Buffer.from(content), what).map(wrappingKey);
    if (first === undefined) throw noKey(what, 'is empty');
    return new EncryptionKey([first, ...others]);
  }

  /** Fingerprint of the key for new segments. */
  get id(): string {
    return this.#keys[0].id;
  }

  holds(keyId: string): boolean {
    return this.#keys.some(({ id }) => id === keyId);
  }

  newSegment(): { readonly encryption: SegmentEncryption; readonly cipher: BlockCipher } {
    const segment = randomBytes(SEGMENT_ID_BYTES).toString('hex');
    const segmentKey = randomBytes(KEY_BYTES);
    const encryption = { ...this.wrap(segmentKey, segmentContext(segment)), segment };
    return { encryption, cipher: new BlockCipher(segmentKey, segment) };
  }

  /**
   * The cipher of a segment.
   * @throws AppError CAPTURE_ENCRYPTED when none of these keys wrapped its key, CAPTURE_DAMAGED when its
   * wrapped key was changed
   */
  cipherOf(encryption: SegmentEncryption, file: string): BlockCipher {
    if (!this.holds(encryption.keyId)) throw wrongKey(`segment ${file}`, encryption.keyId, this.id);
    try {
      const key = this.unwrap(encryption, segmentContext(encryption.segment));
      return new BlockCipher(key, encryption.segment);
    } catch (error) {
      throw damaged(file, 'its wrapped key was changed', error);
    }
  }

  /**
   * Encrypts another key.
   * @param context the purpose of that key, authenticated with it; `unwrap` needs the same value
   */
  wrap(bytes: Uint8Array, context: string): WrappedKey {
    const [{ id, key }] = this.#keys;
    return { algorithm: ALGORITHM, keyId: id, wrappedKey: encrypted(key, bytes, context).toString('base64') };
  }

  /** The inverse of `wrap`. Throws when no key here wrapped it, the context differs or it was changed. */
  unwrap({ keyId, wrappedKey }: WrappedKey, context: string): Buffer {
    const found = this.#keys.find(({ id }) => id === keyId);
    if (found === undefined) throw new RangeError(`the key ${keyId} is unknown`);
    return decrypted(found.key, Buffer.from(wrappedKey, 'base64'), context);
  }
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Nonce, ciphertext and tag. `context` is authenticated with them. */
function encrypted(key: KeyObject, bytes: Uint8Array, context: string): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(ALGORITHM, key, nonce);
  cipher.setAAD(Buffer.from(context, 'latin1'));
  return Buffer.concat([nonce, cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
}

/** The inverse of `encrypted`. Throws when any part was changed. */
function decrypted(key: KeyObject, bytes: Uint8Array, context: string): Buffer {
  const nonce = bytes.subarray(0, NONCE_BYTES);
  const decipher = createDecipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(context, 'latin1'));
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
}

/** The cipher of a segment's blocks; null for an unencrypted segment. @throws AppError like `cipherOf` */
export function cipherFor(
  encryption: SegmentEncryption | null,
  key: EncryptionKey | null,
  file: string,
): BlockCipher | null {
  if (encryption === null) return null;
  if (key !== null) return key.cipherOf(encryption, file);
  const message = `segment ${file} is encrypted: its payloads cannot be read without a key`;
  throw new AppError('CAPTURE_ENCRYPTED', message, {
    hint: 'Pass the key that it was recorded with: --encryption-key-file FILE',
  });
}

/** Parses the encryption entry of a segment's `meta`. @throws AppError CAPTURE_DAMAGED */
export function parseSegmentEncryption(text: string, file: string): SegmentEncryption {
  const { data } = segmentEncryptionSchema.safeParse(JSON.parse(text));
  if (data === undefined) throw damaged(file, 'its meta says that it is encrypted but not how');
  return data;
}

/** @param what the encrypted item, for the message */
export function wrongKey(what: string, wanted: string, given: string): AppError {
  return new AppError(
    'CAPTURE_ENCRYPTED',
    `${what} is encrypted under the key ${wanted}, and the key given is ${given}`,
    { hint: 'Pass the file with that key. A file can hold several keys, one a line.' },
  );
}

function keysIn(content: Buffer, what: string): Buffer[] {
  if (content.byteLength === KEY_BYTES) return [content];
  const lines = content
    .toString('latin1')
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (lines.length === 0) throw noKey(what, 'is empty');
  if (lines.length > KEYS_MAX)
    throw noKey(what, `has ${lines.length} lines, and ${KEYS_MAX} keys are the most`);
  return lines.map((line, index) => {
    const key = keyFromText(line);
    // The key's bytes are secret, so the message shows only their number.
    if (key === null) throw noKey(what, `holds ${line.length} characters in line ${index + 1}`);
    return key;
  });
}

function keyFromText(text: string): Buffer | null {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex');
  return /^[A-Za-z0-9+/_-]{43}=?$/.test(text) ? Buffer.from(text, 'base64') : null;
}

function noKey(what: string, problem: string): AppError {
  return new AppError('OPTION_INVALID', `${what} ${problem}: it is no key`, {
    hint: 'A key is 32 bytes: raw, hexadecimal or base64: openssl rand -hex 32 > FILE',
  });
}

/** Follows links (mounted secrets are links) and reads pipes, up to the size of a key file. */
function readKeyFile(file: string): Buffer {
  const content = Buffer.alloc(KEY_FILE_BYTES + 1);
  let length = 0;
  try {
    const descriptor = openSync(file, 'r');
    try {
      for (let read = -1; read !== 0 && length < content.byteLength; length += read) {
        read = readSync(descriptor, content, length, content.byteLength - length, null);
      }
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw new AppError('OPTION_INVALID', `encryption key file ${file} cannot be read: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  if (length > KEY_FILE_BYTES)
    throw noKey(`encryption key file ${file}`, `is over ${KEY_FILE_BYTES} bytes long`);
  return content.subarray(0, length);
}

function wrappingKey(bytes: Buffer): WrappingKey {
  const key = createSecretKey(bytes);
  const id = createHmac('sha256', key).update('reprise encryption key').digest('hex').slice(0, 16);
  return { id, key };
}

function segmentContext(segment: string): string {
  return `reprise segment key ${segment}`;
}

/** Position and coding of a payload, authenticated with it so that rows cannot be swapped. */
interface BlockPlace {
  readonly firstSlot: number;
  readonly slots: number;
  readonly rawBytes: number;
  readonly codec: number;
}

/**
 * Encrypts the payloads of one segment's blocks under a key that nothing else uses.
 *
 * Nonces are random. The slots of a tail are encrypted again when their block is full. So a counter would
 * have to survive crashes and roll-backs. A segment has at most a few hundred thousand rows, so two equal
 * 96-bit nonces are practically impossible.
 */
export class BlockCipher {
  readonly #key: KeyObject;
  readonly #segment: string;

  /** @param segment permanent id of the segment, independent of its file name */
  constructor(key: Uint8Array, segment: string) {
    this.#key = createSecretKey(key);
    this.#segment = segment;
  }

  encrypt(payload: Uint8Array, place: BlockPlace): Buffer {
    return encrypted(this.#key, payload, this.#context(place));
  }

  /** The inverse of `encrypt`. @throws AppError CAPTURE_DAMAGED naming `file` when any part was changed */
  decrypt(payload: Uint8Array, place: BlockPlace, file: string): Buffer {
    try {
      return decrypted(this.#key, payload, this.#context(place));
    } catch (error) {
      throw damaged(file, `block ${place.firstSlot} is not what was encrypted there`, error);
    }
  }

  #context({ firstSlot, slots, rawBytes, codec }: BlockPlace): string {
    return `${this.#segment} ${firstSlot} ${slots} ${rawBytes} ${codec}`;
  }
}
