import { existsSync, readdirSync, rmSync } from 'node:fs';
import type { Clock } from '../core/clock.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import type { BlockCipher } from './block-cipher.ts';
import { type SegmentFile, segmentsOf } from './capture-directory.ts';
import { lossReasonOf, openForReading, segmentError } from './database.ts';
import { DirectoryLock } from './directory-lock.ts';
import { cipherFor, type EncryptionKey } from './encryption-key.ts';
import { expiringSegments, finishExpiries } from './expiry.ts';
import { amountOf, type ForgetSelection, touches } from './forget-selection.ts';
import { manifestOfWhole } from './manifest.ts';
import { assertReadable, FORMAT_VERSION, isUnborn } from './schema.ts';
import { settleSegment, sha256Of } from './sealing.ts';
import { readMeta } from './segment-meta.ts';
import { DAMAGED_SUFFIX, FORGET_LOCK_FILE, REWRITING_SUFFIX } from './segment-name.ts';
import { finishInterrupted, replaceSegment } from './segment-replacement.ts';
import { rewriteWithout } from './segment-rewrite.ts';

/** Why something that is asked for may still be in a capture. */
export type RemainReason = 'open' | 'expiring' | 'other_hash_key' | 'nobody_named' | 'damaged' | 'set_aside';

/** What `forget` did, or would do. Bytes are those of bodies, after transfer decoding. */
export interface ForgetDocument {
  readonly schemaVersion: 1;
  readonly directory: string;
  /** Nothing was changed. */
  readonly dryRun: boolean;
  /** Nothing of what was asked for is left, as far as anybody can know. */
  readonly complete: boolean;
  readonly exchanges: number;
  readonly bytes: number;
  readonly segments: readonly { readonly file: string; readonly exchanges: number; readonly bytes: number }[];
  /** Where something is or may be left; null where it cannot be counted. */
  readonly remaining: readonly {
    readonly file: string;
    readonly why: RemainReason;
    readonly exchanges: number | null;
  }[];
}

export interface ForgetOptions {
  readonly selection: ForgetSelection;
  /** Fingerprint of the key that the identity was hashed under; null when it was given as a hash. */
  readonly hashKeyFingerprint: string | null;
  /** Null when nobody named one; needed where part of an encrypted block goes. */
  readonly encryptionKey: EncryptionKey | null;
  readonly dryRun: boolean;
  readonly clock: Clock;
}

interface Planned {
  readonly segment: SegmentFile;
  readonly cipher: BlockCipher | null;
  readonly exchanges: number;
  readonly bytes: number;
}

/**
 * Removes exchanges from the sealed segments of a capture, each written anew without them. A recorder may go on
 * beside it; what its open segment holds can be removed once that is sealed.
 *
 * Gives the name of each segment before it is written anew. Whoever returns then leaves nothing half done: what was
 * done until there stays. The document is null only for who returned null.
 * @param captureDirectory as `resolveCaptureDirectory(…, 'read')` gave it
 * @throws AppError CAPTURE_ENCRYPTED before anything is changed, OUTPUT_UNWRITABLE; what was done until then stays.
 */
export function* forgetExchanges(
  captureDirectory: string,
  options: ForgetOptions,
): Generator<string, ForgetDocument | null, undefined> {
  if (options.dryRun) return new Forgetting(captureDirectory, options).plan().document();
  const lock = lockOf(captureDirectory, FORGET_LOCK_FILE);
  try {
    finishInterrupted(captureDirectory, options.clock);
    settleAbandoned(captureDirectory, options.clock);
    const forgetting = new Forgetting(captureDirectory, options).plan();
    yield* forgetting.carryOut();
    return forgetting.document();
  } finally {
    lock.release();
  }
}

class Forgetting {
  readonly #directory: string;
  readonly #options: ForgetOptions;
  readonly #planned: Planned[] = [];
  readonly #remaining: ForgetDocument['remaining'][number][] = [];

  constructor(directory: string, options: ForgetOptions) {
    this.#directory = directory;
    this.#options = options;
  }

  /** Finds what is asked for in every segment, so that nothing is begun that lacks a key. */
  plan(): this {
    for (const segment of segmentsOf(this.#directory)) {
      try {
        this.#look(segment);
      } catch (thrown) {
        const error = segmentError(segment.file, thrown);
        if (!existsSync(segment.path)) continue;
        if (!(error instanceof AppError)) throw error;
        if (error.code === 'CAPTURE_DAMAGED') this.#remains(segment.file, 'damaged', null);
        else if (error.code !== 'CAPTURE_NOT_FOUND') throw error;
      }
    }
    for (const file of expiringSegments(this.#directory)) this.#remains(file, 'expiring', null);
    for (const file of readdirSync(this.#directory).filter((name) => name.endsWith(DAMAGED_SUFFIX))) {
      this.#remains(file, 'set_aside', null);
    }
    return this;
  }

  *carryOut(): Generator<string, void, undefined> {
    for (const [index, planned] of this.#planned.entries()) {
      yield planned.segment.file;
      try {
        this.#rewrite(planned);
      } catch (thrown) {
        const error = refusal(planned.segment, thrown);
        const gone = !existsSync(planned.segment.path);
        const code = gone ? 'CAPTURE_NOT_FOUND' : error instanceof AppError ? error.code : null;
        if (code !== 'CAPTURE_DAMAGED' && code !== 'CAPTURE_NOT_FOUND') throw error;
        this.#planned.splice(index, 1, { ...planned, exchanges: 0, bytes: 0 });
        // A damaged one stays as it is: written anew it would pass for sound. Of one that retention took meanwhile
        // nothing is left.
        if (code === 'CAPTURE_DAMAGED') this.#remains(planned.segment.file, 'damaged', planned.exchanges);
      }
    }
  }

  document(): ForgetDocument {
    const segments = this.#planned
      .filter(({ exchanges }) => exchanges > 0)
      .map(({ segment, exchanges, bytes }) => ({ file: segment.file, exchanges, bytes }));
    return {
      schemaVersion: 1,
      directory: this.#directory,
      dryRun: this.#options.dryRun,
      complete: this.#remaining.length === 0,
      exchanges: segments.reduce((sum, { exchanges }) => sum + exchanges, 0),
      bytes: segments.reduce((sum, { bytes }) => sum + bytes, 0),
      segments,
      remaining: this.#remaining,
    };
  }

  #look(segment: SegmentFile): void {
    const { selection, encryptionKey, hashKeyFingerprint } = this.#options;
    if (segment.sealed) {
      const { firstArrivalUs, lastArrivalUs } = manifestOfWhole(segment.path);
      if (firstArrivalUs === null || lastArrivalUs === null) return;
      if (!touches(selection, { firstUs: firstArrivalUs, lastUs: lastArrivalUs })) return;
    }
    const connection = openForReading(segment.path);
    try {
      if (!segment.sealed && isUnborn(connection)) return;
      assertReadable(connection, segment.file);
      const meta = readMeta(connection, segment.file);
      if (hashKeyFingerprint !== null && meta.hashKeyFingerprint !== hashKeyFingerprint) {
        this.#remains(segment.file, 'other_hash_key', null);
        return;
      }
      if (selection.identity !== null && namesNobody(meta.policy[selection.identity.kind])) {
        const { exchanges } = amountOf(connection, everybodyIn(selection));
        if (exchanges > 0) this.#remains(segment.file, 'nobody_named', exchanges);
        return;
      }
      const { exchanges, bytes } = amountOf(connection, selection);
      if (exchanges === 0) return;
      if (!segment.sealed) this.#remains(segment.file, 'open', exchanges);
      else {
        const cipher = cipherFor(meta.encryption, encryptionKey, segment.file);
        this.#planned.push({ segment, cipher, exchanges, bytes });
      }
    } finally {
      connection.close();
    }
  }

  #rewrite({ segment, cipher }: Planned): void {
    const { path, file } = segment;
    const { selection, clock } = this.#options;
    const before = manifestOfWhole(path);
    // Written anew, a damaged segment would be sealed as if it were sound.
    if (sha256Of(path) !== before.sha256) {
      throw new AppError('CAPTURE_DAMAGED', `segment ${file} is not what was sealed`);
    }
    const target = `${path}${REWRITING_SUFFIX}`;
    try {
      const nowUs = clock.epochUs();
      const facts = rewriteWithout({ path, file, target, selection, cipher, nowUs });
      replaceSegment(path, {
        ...facts,
        formatVersion: FORMAT_VERSION,
        file,
        sealedUs: nowUs,
        quickCheck: 'ok',
      });
    } finally {
      rmSync(target, { force: true });
    }
  }

  #remains(file: string, why: RemainReason, exchanges: number | null): void {
    this.#remaining.push({ file, why, exchanges });
  }
}

/** Whatever the time of a selection holds, whose ever it is. */
function everybodyIn({ fromUs, toUs }: ForgetSelection): ForgetSelection {
  return { identity: null, fromUs: fromUs ?? Number.MIN_SAFE_INTEGER, toUs };
}

/** Whether a policy looked for no session (or client) at all; imports do not say where theirs come from. */
function namesNobody(places: unknown): boolean {
  return Array.isArray(places) && places.every((place) => place === 'none');
}

/**
 * Without a recorder, segments that were left open are sealed first, and those that it was taking away when it died
 * are taken away, as its next start would do.
 */
function settleAbandoned(captureDirectory: string, clock: Clock): void {
  const open = segmentsOf(captureDirectory).filter(({ sealed }) => !sealed);
  if (open.length + expiringSegments(captureDirectory).length === 0) return;
  let lock: DirectoryLock;
  try {
    lock = DirectoryLock.acquire(captureDirectory);
  } catch (error) {
    // Somebody records: the segments are theirs, and told of as open or expiring.
    if (error instanceof AppError && error.code === 'OUTPUT_UNWRITABLE') return;
    throw error;
  }
  try {
    finishExpiries(captureDirectory);
    for (const { path } of open) settleSegment(path, clock);
  } finally {
    lock.release();
  }
}

function lockOf(captureDirectory: string, file: string): DirectoryLock {
  try {
    return DirectoryLock.acquire(captureDirectory, file);
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError('OUTPUT_UNWRITABLE', `${captureDirectory} cannot be written: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

/** A full disk is no damage; everything else is what it is. */
function refusal({ file }: SegmentFile, thrown: unknown): unknown {
  if (thrown instanceof AppError || lossReasonOf(thrown) !== 'disk_full') return segmentError(file, thrown);
  return new AppError('OUTPUT_UNWRITABLE', `there is no room to write ${file} anew: ${reasonOf(thrown)}`, {
    hint: 'It needs the room of one more segment for a moment. What was forgotten until here stays forgotten.',
    cause: thrown,
  });
}
