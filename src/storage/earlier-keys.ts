import { AppError } from '../core/errors.ts';
import { segmentsOf } from './capture-directory.ts';
import type { EncryptionKey } from './encryption-key.ts';
import type { SegmentMeta } from './segment-meta.ts';
import { SegmentReader } from './segment-reader.ts';

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
export interface EarlierKeys {
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
