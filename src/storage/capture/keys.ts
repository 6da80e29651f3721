import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, reasonOf } from '../../core/errors.ts';
import { HASH_KEY_FILE, segmentsOf, writeFileDurably } from './directory.ts';
import { cipherFor, type EncryptionKey, type WrappedKey, wrappedKeyFrom, wrongKey } from './encryption.ts';
import type { SegmentMeta } from './schema.ts';
import { SegmentReader } from './segment-reader.ts';

const KEY_BYTES = 32;
/** A shorter key could be found by trying all of them. */
const LEAST_KEY_BYTES = 16;
const WRAP_CONTEXT = 'reprise hash key';

/**
 * The key under which a capture's bodies, clients and sessions are hashed, for whoever writes: one of its own is made
 * at its first use. Under an encryption key it is never left in clear, because a client's address is found by trying
 * all of them. It never leaves the directory by itself.
 * @param keyFile a key that a fleet shares; null for the capture's own, `hash.key`
 * @param encryption what the capture is encrypted under, which wraps `hash.key` as well; null for one in clear
 * @throws AppError OPTION_INVALID for a key file that cannot be used, CAPTURE_ENCRYPTED for a key that is wrapped by
 *   one that is not given, OUTPUT_UNWRITABLE when none can be made.
 */
export function loadHashKey(
  captureDirectory: string,
  keyFile: string | null,
  encryption: EncryptionKey | null,
): Uint8Array {
  if (keyFile !== null) return givenKey(keyFile);
  const path = join(captureDirectory, HASH_KEY_FILE);
  try {
    if (!existsSync(path)) writeOwnKey(path, randomBytes(KEY_BYTES), encryption);
    // Read back: when two processes made one at the same instant, both go on with the one that stayed.
    const stored = readOwnKey(path, encryption);
    // One in clear is wrapped from now on, and one that an earlier key wraps is wrapped by the first.
    if (encryption !== null && stored.keyId !== encryption.id) writeOwnKey(path, stored.key, encryption);
    return stored.key;
  } catch (error) {
    throw error instanceof AppError ? error : unusable(path, reasonOf(error), error);
  }
}

/**
 * The same for whoever only reads: nothing is made, and nothing is changed.
 * @throws AppError as `loadHashKey` does; OPTION_INVALID where the capture has no key of its own.
 */
export function readHashKey(
  captureDirectory: string,
  keyFile: string | null,
  encryption: EncryptionKey | null,
): Uint8Array {
  if (keyFile !== null) return givenKey(keyFile);
  const path = join(captureDirectory, HASH_KEY_FILE);
  if (!existsSync(path)) {
    throw new AppError('OPTION_INVALID', `${captureDirectory} has no key of its own to find a name with`, {
      hint: 'Name the key it was recorded with (--hash-key-file), or the hash itself (--session-hash).',
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
      hint: 'Name a file this user may read, or leave --hash-key-file out: then a capture has a key of its own.',
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

/** In clear 32 bytes as they are; wrapped, JSON. */
function writeOwnKey(path: string, key: Uint8Array, encryption: EncryptionKey | null): void {
  const content =
    encryption === null ? key : `${JSON.stringify(encryption.wrap(key, WRAP_CONTEXT), null, 2)}\n`;
  writeFileDurably(path, content, 0o600);
}

/** `keyId` names the key that wraps it; null for one in clear. */
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
  const wrapped = wrappedKeyIn(content);
  if (wrapped === null) throw unusable(path, `it holds neither ${KEY_BYTES} bytes nor a wrapped key`);
  return { key: unwrapped(path, wrapped, encryption), keyId: wrapped.keyId };
}

function wrappedKeyIn(content: Buffer): WrappedKey | null {
  try {
    return wrappedKeyFrom(JSON.parse(content.toString('utf8')));
  } catch {
    // Cut short, say: it is no key of any kind.
    return null;
  }
}

function unwrapped(path: string, wrapped: WrappedKey, encryption: EncryptionKey | null): Uint8Array {
  if (encryption === null) {
    throw new AppError('CAPTURE_ENCRYPTED', `the hash key ${path} is encrypted`, {
      hint:
        'Name the key it was recorded with: --encryption-key-file FILE. To go on in clear, remove it: a new one ' +
        'is made, and hashes under the old one compare no more.',
    });
  }
  if (!encryption.holds(wrapped.keyId)) throw wrongKey(`the hash key ${path}`, wrapped.keyId, encryption.id);
  try {
    return encryption.unwrap(wrapped, WRAP_CONTEXT);
  } catch (error) {
    throw unusable(path, 'it is not what was written', error);
  }
}

function unusable(path: string, why: string, cause?: unknown): AppError {
  return new AppError('OUTPUT_UNWRITABLE', `the hash key ${path} cannot be used: ${why}`, {
    hint: 'Restore it, or remove it: a new one is made, and hashes under the old one compare no more.',
    cause,
  });
}

/** The latest segments say how a capture was kept so far; a start does not read more of it than these. */
const SEGMENTS_MAX = 32;

/** What goes on otherwise than the capture was kept so far, in words, and what to do about it. */
export interface KeyChange {
  readonly message: string;
  readonly advice: string;
  /** Fingerprint of the key so far. */
  readonly keyId: string;
}

/** The keys that the latest segments of a capture were written under, the latest first. */
interface EarlierKeys {
  /** Of each that could be read; null for one in clear. */
  readonly encryption: readonly (string | null)[];
  /** Of the latest. */
  readonly hashKeyFingerprint: string | null;
}

/** Which keys a capture was written under lately, as its segments say it. */
export function earlierKeysOf(directory: string): EarlierKeys {
  const metas = segmentsOf(directory)
    .slice(-SEGMENTS_MAX)
    .flatMap((segment) => metaOf(segment) ?? [])
    .filter(({ origin }) => origin.kind === 'recorded')
    .sort((a, b) => b.openedUs - a.openedUs);
  return {
    encryption: metas.map(({ encryption }) => encryption?.keyId ?? null),
    hashKeyFingerprint: metas[0]?.hashKeyFingerprint ?? null,
  };
}

/** What a recording that begins now would change: a flag that was left out by mistake gives no other sign. */
export function keyChanges(
  earlier: EarlierKeys,
  now: { readonly encryption: EncryptionKey | null; readonly hashKeyFingerprint: string },
): KeyChange[] {
  const changes: KeyChange[] = [];
  const keyId = earlier.encryption.find((id) => id !== null) ?? null;
  if (keyId !== null && now.encryption === null) {
    const message = 'this capture was encrypted so far, and goes on in clear';
    const advice =
      'Start it with the --encryption-key-file that it had. What is recorded meanwhile stays readable for everybody ' +
      'who has the file: forget --from removes it.';
    changes.push({ message, advice, keyId });
  } else if (keyId !== null && now.encryption?.holds(keyId) === false) {
    const message = 'this capture goes on under another encryption key, which does not open what is there';
    const advice = 'Keep the earlier key too: both can stand in one file, one a line, the new one first.';
    changes.push({ message, advice, keyId });
  }
  if (earlier.hashKeyFingerprint !== null && earlier.hashKeyFingerprint !== now.hashKeyFingerprint) {
    const message = 'this capture goes on under another hash key';
    const advice =
      'Bodies, clients and sessions of before and after compare no more: start it with the --hash-key-file that it ' +
      'had, or give it another --dir.';
    changes.push({ message, advice, keyId: earlier.hashKeyFingerprint });
  }
  return changes;
}

/** Null for one that cannot be read: that is for `verify` to say, and no reason not to record. */
function metaOf(segment: Parameters<typeof SegmentReader.open>[0]): SegmentMeta | null {
  try {
    const reader = SegmentReader.open(segment);
    try {
      return reader?.meta() ?? null;
    } finally {
      reader?.close();
    }
  } catch (error) {
    if (error instanceof AppError) return null;
    throw error;
  }
}

/**
 * Sees to it that whatever is encrypted in a capture can be read, before anything is begun that would fail half
 * way: opens every segment, and unwraps its key.
 * @throws AppError CAPTURE_ENCRYPTED naming the first segment that needs a key, or another one.
 */
export function assertKeyFits(captureDirectory: string, key: EncryptionKey | null): void {
  for (const segment of segmentsOf(captureDirectory)) {
    const reader = SegmentReader.open(segment);
    if (reader === null) continue;
    try {
      cipherFor(reader.meta().encryption, key, segment.file);
    } finally {
      reader.close();
    }
  }
}
