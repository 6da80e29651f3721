import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, reasonOf } from '../core/errors.ts';
import { writeFileDurably } from './durable-files.ts';
import { HASH_KEY_FILE } from './segment-name.ts';

const KEY_BYTES = 32;
/** A shorter key could be found by trying all of them. */
const LEAST_KEY_BYTES = 16;

/**
 * The key under which a capture's bodies, clients and sessions are hashed: the content of `keyFile` (shared by
 * a fleet), else `hash.key` of the capture, made at its first use. It never leaves the directory by itself.
 * @throws AppError OPTION_INVALID for a key file that cannot be used, OUTPUT_UNWRITABLE when none can be made.
 */
export function loadHashKey(captureDirectory: string, keyFile: string | null): Uint8Array {
  return keyFile === null ? ownKey(join(captureDirectory, HASH_KEY_FILE)) : givenKey(keyFile);
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

function ownKey(path: string): Uint8Array {
  try {
    if (!existsSync(path)) writeFileDurably(path, randomBytes(KEY_BYTES), 0o600);
    // Read back: when two processes made one at the same instant, both go on with the one that stayed.
    const key = readFileSync(path);
    if (key.byteLength === KEY_BYTES) return key;
  } catch (error) {
    throw unusable(path, reasonOf(error), error);
  }
  throw unusable(path, `it does not hold ${KEY_BYTES} bytes`);
}

function unusable(path: string, why: string, cause?: unknown): AppError {
  return new AppError('OUTPUT_UNWRITABLE', `the hash key ${path} cannot be used: ${why}`, {
    hint: 'Restore it, or remove it: a new one is made, and hashes under the old one compare no more.',
    cause,
  });
}
