import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { AppError, reasonOf } from '../core/errors.ts';
import { BlockCipher, NONCE_BYTES, TAG_BYTES } from './block-cipher.ts';
import { damaged } from './database.ts';

const KEY_BYTES = 32;
/** Sixteen keys in their longest form; a file past this is not a key file. */
const KEY_FILE_BYTES = 4_096;
const KEYS_MAX = 16;
const SEGMENT_ID_BYTES = 16;
const ALGORITHM = 'aes-256-gcm';

/** How a segment's blocks are encrypted, kept in its `meta`. It gives nothing away without the key. */
export interface SegmentEncryption {
  readonly algorithm: typeof ALGORITHM;
  /** Fingerprint of the key that wraps the segment's own. */
  readonly keyId: string;
  /** Names the segment for good, whatever its file is called; hexadecimal. */
  readonly segment: string;
  /** Nonce, the segment's key encrypted, and tag; base64. */
  readonly wrappedKey: string;
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
    const [{ id, key }] = this.#keys;
    const segment = randomBytes(SEGMENT_ID_BYTES).toString('hex');
    const segmentKey = randomBytes(KEY_BYTES);
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(ALGORITHM, key, nonce);
    cipher.setAAD(wrapContext(segment));
    const wrapped = Buffer.concat([nonce, cipher.update(segmentKey), cipher.final(), cipher.getAuthTag()]);
    return {
      encryption: { algorithm: ALGORITHM, keyId: id, segment, wrappedKey: wrapped.toString('base64') },
      cipher: new BlockCipher(segmentKey, segment),
    };
  }

  /**
   * The cipher of a segment.
   * @throws AppError CAPTURE_ENCRYPTED when it was encrypted under none of these keys, CAPTURE_DAMAGED when what
   * it says of its key was changed.
   */
  cipherOf(encryption: SegmentEncryption, file: string): BlockCipher {
    const found = this.#keys.find(({ id }) => id === encryption.keyId);
    if (found === undefined) throw wrongKey(encryption.keyId, this.id, file);
    const wrapped = Buffer.from(encryption.wrappedKey, 'base64');
    try {
      const decipher = createDecipheriv(ALGORITHM, found.key, wrapped.subarray(0, NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(wrapContext(encryption.segment));
      decipher.setAuthTag(wrapped.subarray(-TAG_BYTES));
      const key = Buffer.concat([
        decipher.update(wrapped.subarray(NONCE_BYTES, -TAG_BYTES)),
        decipher.final(),
      ]);
      return new BlockCipher(key, encryption.segment);
    } catch (error) {
      throw damaged(file, 'the key it was encrypted with is not what it was', error);
    }
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
  const value = JSON.parse(text) as Partial<Record<keyof SegmentEncryption, unknown>> | null;
  const { algorithm, keyId, segment, wrappedKey } = value ?? {};
  if (
    algorithm === ALGORITHM &&
    typeof keyId === 'string' &&
    typeof segment === 'string' &&
    typeof wrappedKey === 'string'
  ) {
    return { algorithm, keyId, segment, wrappedKey };
  }
  throw damaged(file, 'its meta says it is encrypted, and not how');
}

function noKeyGiven(file: string): AppError {
  return new AppError('CAPTURE_ENCRYPTED', `segment ${file} is encrypted: its payloads need a key`, {
    hint: 'Name the key it was recorded with: --encryption-key-file FILE',
  });
}

function wrongKey(wanted: string, given: string, file: string): AppError {
  return new AppError(
    'CAPTURE_ENCRYPTED',
    `segment ${file} is encrypted under the key ${wanted}, and the key given is ${given}`,
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

function wrapContext(segment: string): Buffer {
  return Buffer.from(`reprise segment key ${segment}`, 'latin1');
}
