import { randomBytes } from 'node:crypto';
import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, reasonOf } from '../../core/errors.ts';
import { assertOwn, HASH_KEY_FILE, type SegmentFile, segmentsOf, writeFileDurably } from './directory.ts';
import { cipherFor, type EncryptionKey, type WrappedKey, wrappedKeySchema, wrongKey } from './encryption.ts';
import type { SegmentMeta } from './schema.ts';
import { withSegment } from './segment-reader.ts';

const KEY_BYTES = 32;
/** Shorter keys could be found by brute force. */
const LEAST_KEY_BYTES = 16;
const WRAP_CONTEXT = 'reprise hash key';

/**
 * The key that hashes a capture's bodies, clients and sessions, for writers. A capture's own key is created
 * on first use. With an encryption key it is stored wrapped, because client addresses could be found by brute
 * force. It never leaves the directory by itself.
 * @param keyFile a key shared by a fleet; null for the capture's own, `hash.key`
 * @param encryption the capture's encryption key, which also wraps `hash.key`; null for an unencrypted
 * capture
 * @throws AppError OPTION_INVALID for an unusable key file, CAPTURE_ENCRYPTED if the wrapping key is missing,
 * OUTPUT_UNWRITABLE if no key can be created, or another user made it
 */
export function loadHashKey(
  captureDirectory: string,
  keyFile: string | null,
  encryption: EncryptionKey | null,
): Uint8Array {
  if (keyFile !== null) return givenKey(keyFile);
  const path = join(captureDirectory, HASH_KEY_FILE);
  try {
    const present = lstatSync(path, { throwIfNoEntry: false });
    if (present === undefined) writeOwnKey(path, randomBytes(KEY_BYTES), encryption);
    else if (present.isSymbolicLink()) throw unusable(path, 'it is a link');
    else assertOwn(path, present);
    // Read it back: if two processes create one at the same time, both use the one that stayed.
    const stored = readOwnKey(path, encryption);
    // An unwrapped key is now wrapped. A key wrapped by an earlier key is wrapped by the first.
    if (encryption !== null && stored.keyId !== encryption.id) writeOwnKey(path, stored.key, encryption);
    return stored.key;
  } catch (error) {
    throw error instanceof AppError ? error : unusable(path, reasonOf(error), error);
  }
}

/**
 * The same for readers: nothing is created or changed.
 * @throws AppError like `loadHashKey`; OPTION_INVALID if the capture has no key of its own
 */
export function readHashKey(
  captureDirectory: string,
  keyFile: string | null,
  encryption: EncryptionKey | null,
): Uint8Array {
  if (keyFile !== null) return givenKey(keyFile);
  const path = join(captureDirectory, HASH_KEY_FILE);
  if (!existsSync(path)) {
    throw new AppError('OPTION_INVALID', `${captureDirectory} has no hash key`, {
      hint: 'Pass the key that it was recorded with (--hash-key-file), or the hash itself (--session-hash).',
    });
  }
  return readOwnKey(path, encryption).key;
}

function givenKey(path: string): Uint8Array {
  let key: Uint8Array;
  try {
    key = readFileSync(path);
  } catch (error) {
    throw new AppError('OPTION_INVALID', `hash key file ${path} cannot be read: ${reasonOf(error)}`, {
      hint: 'Pass a readable file, or omit --hash-key-file: a capture then has its own key.',
      cause: error,
    });
  }
  if (key.byteLength < LEAST_KEY_BYTES) {
    throw new AppError('OPTION_INVALID', `hash key file ${path} holds ${key.byteLength} bytes`, {
      hint: `A key has at least ${LEAST_KEY_BYTES} bytes: head -c 32 /dev/urandom > ${path}`,
    });
  }
  return key;
}

/** Unwrapped: 32 raw bytes. Wrapped: JSON. */
function writeOwnKey(path: string, key: Uint8Array, encryption: EncryptionKey | null): void {
  const content =
    encryption === null ? key : `${JSON.stringify(encryption.wrap(key, WRAP_CONTEXT), null, 2)}\n`;
  writeFileDurably(path, content, 0o600);
}

/** `keyId` names the wrapping key; null for an unwrapped key. */
function readOwnKey(
  path: string,
  encryption: EncryptionKey | null,
): { readonly key: Uint8Array; readonly keyId: string | null } {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (error) {
    throw unusable(path, reasonOf(error), error);
  }
  if (content.byteLength === KEY_BYTES) return { key: content, keyId: null };
  let wrapped: WrappedKey;
  try {
    wrapped = wrappedKeySchema.parse(JSON.parse(content.toString('utf8')));
  } catch (error) {
    // Truncated, for example.
    throw unusable(path, `it holds neither ${KEY_BYTES} bytes nor a wrapped key`, error);
  }
  return { key: unwrapped(path, wrapped, encryption), keyId: wrapped.keyId };
}

function unwrapped(path: string, wrapped: WrappedKey, encryption: EncryptionKey | null): Uint8Array {
  if (encryption === null) {
    throw new AppError('CAPTURE_ENCRYPTED', `the hash key ${path} is encrypted`, {
      hint:
        'Pass the key that it was recorded with: --encryption-key-file FILE. To continue unencrypted, remove it: a new one ' +
        'is made, and its hashes do not match the old ones.',
    });
  }
  if (!encryption.holds(wrapped.keyId)) throw wrongKey(`the hash key ${path}`, wrapped.keyId, encryption.id);
  try {
    return encryption.unwrap(wrapped, WRAP_CONTEXT);
  } catch (error) {
    throw unusable(path, 'it was changed', error);
  }
}

function unusable(path: string, why: string, cause?: unknown): AppError {
  return new AppError('OUTPUT_UNWRITABLE', `the hash key ${path} cannot be used: ${why}`, {
    hint: 'Restore it, or remove it: a new one is created, and its hashes do not match the old ones.',
    cause,
  });
}

/** How many of the latest segments a start reads to see which keys the capture had until now. */
const SEGMENTS_MAX = 32;

/** A difference from the keys that the capture had until now, and advice. */
export interface KeyChange {
  readonly message: string;
  readonly advice: string;
  /** Fingerprint of the previous key. */
  readonly keyId: string;
}

/** The metadata of the latest segments of a capture, recorded ones or imported ones, latest first. */
export function latestMetas(
  directory: string,
  kind: SegmentMeta['origin']['kind'] = 'recorded',
): SegmentMeta[] {
  return segmentsOf(directory)
    .slice(-SEGMENTS_MAX)
    .flatMap((segment) => metaOf(segment) ?? [])
    .filter(({ origin }) => origin.kind === kind)
    .sort((a, b) => b.openedUs - a.openedUs);
}

/**
 * What a new recording would change, compared with the latest segments. It is the only sign of a flag omitted
 * by mistake.
 */
export function keyChanges(
  directory: string,
  now: { readonly encryption: EncryptionKey | null; readonly hashKeyFingerprint: string },
): KeyChange[] {
  const changes: KeyChange[] = [];
  const metas = latestMetas(directory);
  const keyId = metas.find(({ encryption }) => encryption !== null)?.encryption?.keyId ?? null;
  const hashKey = metas[0]?.hashKeyFingerprint ?? now.hashKeyFingerprint;
  if (keyId !== null && now.encryption === null) {
    const message = 'this capture was encrypted until now and continues unencrypted';
    const advice =
      'Restart with its --encryption-key-file. What is recorded until then is readable by everybody ' +
      'who has the file; `forget --from` removes it.';
    changes.push({ message, advice, keyId });
  } else if (keyId !== null && now.encryption?.holds(keyId) === false) {
    const message =
      'this capture continues under another encryption key, which cannot decrypt its earlier segments';
    const advice = 'Keep the earlier key too. One file can hold both, one a line, the new one first.';
    changes.push({ message, advice, keyId });
  }
  if (hashKey !== now.hashKeyFingerprint) {
    const message = 'this capture continues under another hash key';
    const advice =
      'Hashes of bodies, clients and sessions no longer match earlier ones. Restart with its --hash-key-file, ' +
      'or use another --dir.';
    changes.push({ message, advice, keyId: hashKey });
  }
  return changes;
}

/** Null if unreadable. `verify` reports that; it is no reason not to record. */
function metaOf(segment: SegmentFile): SegmentMeta | null {
  try {
    return withSegment(segment, (reader) => reader.meta());
  } catch (error) {
    if (error instanceof AppError) return null;
    throw error;
  }
}

/**
 * Checks that all encrypted segments can be read, before an operation that could fail half-way. Opens every
 * segment and unwraps its key.
 * @throws AppError CAPTURE_ENCRYPTED naming the first segment that needs a key or another one
 */
export function assertKeyFits(captureDirectory: string, key: EncryptionKey | null): void {
  for (const segment of segmentsOf(captureDirectory)) {
    withSegment(segment, (reader) => cipherFor(reader.meta().encryption, key, segment.file));
  }
}
