import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { AppError, reasonOf } from '../../core/errors.ts';
import { damaged } from './sqlite.ts';

const KEY_BYTES = 32;
/** Sixteen keys in their longest form; a file past this is not a key file. */
const KEY_FILE_BYTES = 4_096;
const KEYS_MAX = 16;
const SEGMENT_ID_BYTES = 16;
const ALGORITHM = 'aes-256-gcm';

/** A key that another one wraps. It gives nothing away without that. */
export interface WrappedKey {
  readonly algorithm: typeof ALGORITHM;
  /** Fingerprint of the key that wraps it. */
  readonly keyId: string;
  /** Nonce, the key encrypted, and tag; base64. */
  readonly wrappedKey: string;
}

/** How a segment's blocks are encrypted, kept in its `meta`. */
export interface SegmentEncryption extends WrappedKey {
  /** Names the segment for good, whatever its file is called; hexadecimal. */
  readonly segment: string;
}

interface WrappingKey {
  readonly id: string;
  readonly key: KeyObject;
}

/**
 * What `--encryption-key-file` holds. Each segment has a random key of its own, which the key of the file wraps:
 * the file's key encrypts nothing but 32 random bytes a segment, and whoever destroys it has destroyed every
 * segment, wherever copies of them lie.
 */
export class EncryptionKey {
  /** The first wraps; all of them unwrap, so that a key can be replaced while segments under the old one last. */
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
   * @throws AppError OPTION_INVALID naming `what`.
   */
  static from(content: Uint8Array, what: string): EncryptionKey {
    const [first, ...others] = keysIn(Buffer.from(content), what).map(wrappingKey);
    if (first === undefined) throw noKey(what, 'is empty');
    return new EncryptionKey([first, ...others]);
  }

  /** Fingerprint of the key that new segments are encrypted under. */
  get id(): string {
    return this.#keys[0].id;
  }

  holds(keyId: string): boolean {
    return this.#keys.some(({ id }) => id === keyId);
  }

  /** A key for a new segment. */
  newSegment(): { readonly encryption: SegmentEncryption; readonly cipher: BlockCipher } {
    const segment = randomBytes(SEGMENT_ID_BYTES).toString('hex');
    const segmentKey = randomBytes(KEY_BYTES);
    const encryption = { ...this.wrap(segmentKey, segmentContext(segment)), segment };
    return { encryption, cipher: new BlockCipher(segmentKey, segment) };
  }

  /**
   * The cipher of a segment.
   * @throws AppError CAPTURE_ENCRYPTED when it was encrypted under none of these keys, CAPTURE_DAMAGED when what
   * it says of its key was changed.
   */
  cipherOf(encryption: SegmentEncryption, file: string): BlockCipher {
    if (!this.holds(encryption.keyId)) throw wrongKey(`segment ${file}`, encryption.keyId, this.id);
    try {
      const key = this.unwrap(encryption, segmentContext(encryption.segment));
      return new BlockCipher(key, encryption.segment);
    } catch (error) {
      throw damaged(file, 'the key it was encrypted with is not what it was', error);
    }
  }

  /**
   * Encrypts another key.
   * @param context what that key is for, bound to it: `unwrap` wants the same
   */
  wrap(bytes: Uint8Array, context: string): WrappedKey {
    const [{ id, key }] = this.#keys;
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(ALGORITHM, key, nonce);
    cipher.setAAD(Buffer.from(context, 'latin1'));
    const wrapped = Buffer.concat([nonce, cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
    return { algorithm: ALGORITHM, keyId: id, wrappedKey: wrapped.toString('base64') };
  }

  /** The inverse of `wrap`. Throws when none of the keys wrapped it, for that context, or it was changed. */
  unwrap({ keyId, wrappedKey }: WrappedKey, context: string): Buffer {
    const found = this.#keys.find(({ id }) => id === keyId);
    if (found === undefined) throw new RangeError(`the key ${keyId} is not here`);
    const wrapped = Buffer.from(wrappedKey, 'base64');
    const decipher = createDecipheriv(ALGORITHM, found.key, wrapped.subarray(0, NONCE_BYTES), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(Buffer.from(context, 'latin1'));
    decipher.setAuthTag(wrapped.subarray(-TAG_BYTES));
    return Buffer.concat([decipher.update(wrapped.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
  }
}

/** The cipher of a segment's blocks; null for one that is not encrypted. @throws AppError as `cipherOf` does. */
export function cipherFor(
  encryption: SegmentEncryption | null,
  key: EncryptionKey | null,
  file: string,
): BlockCipher | null {
  if (encryption === null) return null;
  if (key === null) throw noKeyGiven(file);
  return key.cipherOf(encryption, file);
}

/** What `meta` says of a segment's encryption. @throws AppError CAPTURE_DAMAGED */
export function parseSegmentEncryption(text: string, file: string): SegmentEncryption {
  const value = JSON.parse(text) as { readonly segment?: unknown } | null;
  const wrapped = wrappedKeyFrom(value);
  const segment = value?.segment;
  if (wrapped === null || typeof segment !== 'string')
    throw damaged(file, 'its meta says it is encrypted, and not how');
  return { ...wrapped, segment };
}

/** A wrapped key as JSON has it; null for anything else. */
export function wrappedKeyFrom(value: unknown): WrappedKey | null {
  const fields = value as Partial<Record<keyof WrappedKey, unknown>> | null | undefined;
  const { algorithm, keyId, wrappedKey } = fields ?? {};
  if (algorithm !== ALGORITHM || typeof keyId !== 'string' || typeof wrappedKey !== 'string') return null;
  return { algorithm, keyId, wrappedKey };
}

function noKeyGiven(file: string): AppError {
  return new AppError('CAPTURE_ENCRYPTED', `segment ${file} is encrypted: its payloads need a key`, {
    hint: 'Name the key it was recorded with: --encryption-key-file FILE',
  });
}

/** @param what is encrypted */
export function wrongKey(what: string, wanted: string, given: string): AppError {
  return new AppError(
    'CAPTURE_ENCRYPTED',
    `${what} is encrypted under the key ${wanted}, and the key given is ${given}`,
    { hint: 'Name the file with that key; several keys can stand in one file, one a line.' },
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
    // Its bytes are a secret, so the message says how many there are and nothing of what they are.
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
    hint: 'A key is 32 bytes, as they are or as hexadecimal or base64 text: openssl rand -hex 32 > FILE',
  });
}

/** Follows links, as mounted secrets are, and reads pipes; never more than a key file can hold. */
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

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Where a payload stands and how it is coded: bound to it, so that no row can take another's place. */
interface BlockPlace {
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
