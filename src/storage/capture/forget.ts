import { closeSync, existsSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Amount } from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import { type BlockRow, blocksIn, decodeBlock, encodeBlock } from './blocks.ts';
import {
  CLAIMED_SUFFIX,
  DAMAGED_SUFFIX,
  FORGET_LOCK_FILE,
  HANDED_SUFFIX,
  LEFTOVER_SUFFIXES,
  MANIFEST_SUFFIX,
  REWRITING_SUFFIX,
  renamed,
  type SegmentFile,
  segmentsOf,
  syncPath,
  TOMBSTONE_SUFFIX,
  unsealedSegments,
} from './directory.ts';
import { type BlockCipher, cipherFor, type EncryptionKey } from './encryption.ts';
import { DirectoryLock } from './lock.ts';
import { expiringSegments, finishExpiries } from './quota.ts';
import { SELECT_HOUR_SUMS, SELECT_SECOND_SUMS } from './roll-ups.ts';
import {
  columnsOfVersion,
  createSchema,
  FORMAT_VERSION,
  type Forgotten,
  readMeta,
  setMeta,
} from './schema.ts';
import {
  factsOf,
  type Manifest,
  manifestOfWhole,
  sealedFile,
  settleSegment,
  sha256Of,
  writeManifest,
} from './sealing.ts';
import { type SegmentReader, withSegment } from './segment-reader.ts';
import {
  type Connection,
  closing,
  damaged,
  insertInto,
  lossReasonOf,
  openForFilling,
  segmentError,
  takenAway,
} from './sqlite.ts';

/** Why some of the exchanges to forget may still be in a capture. */
export type RemainReason = 'open' | 'expiring' | 'other_hash_key' | 'nobody_named' | 'damaged' | 'set_aside';

/** What `forget` did, or would do. Bytes are body bytes after transfer decoding. */
export interface ForgetDocument extends Amount {
  readonly schemaVersion: 1;
  readonly directory: string;
  /** Nothing was changed. */
  readonly dryRun: boolean;
  /** Whether nothing to forget remains, as far as can be known. */
  readonly complete: boolean;
  readonly segments: readonly (Amount & { readonly file: string })[];
  /** Where something is or may be left. Counts are null if they are unknown. */
  readonly remaining: readonly {
    readonly file: string;
    readonly why: RemainReason;
    readonly exchanges: number | null;
  }[];
}

export interface ForgetOptions {
  readonly selection: ForgetSelection;
  /** Fingerprint of the key that hashed the identity; null when the hash itself was given. */
  readonly hashKeyFingerprint: string | null;
  /** Null if none was given. It is needed to remove part of an encrypted block. */
  readonly encryptionKey: EncryptionKey | null;
  readonly dryRun: boolean;
  readonly clock: Clock;
}

/** A segment to rewrite, and what is forgotten of it. */
interface Planned extends Amount {
  readonly segment: SegmentFile;
  readonly cipher: BlockCipher | null;
}

/**
 * Removes exchanges from the sealed segments of a capture. Each segment is rewritten without them. A recorder may run
 * at the same time. Exchanges in its open segment can be removed once that is sealed.
 *
 * Yields the name of each segment before it is rewritten. The caller may return at that point: finished segments stay
 * finished and nothing is half done. The document is null only if the caller returned null.
 * @param captureDirectory as returned by `resolveCaptureDirectory(…, 'read')`
 * @throws AppError CAPTURE_ENCRYPTED before anything is changed, OUTPUT_UNWRITABLE; segments finished until then stay
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
  readonly #rewritten: Planned[] = [];
  readonly #remaining: ForgetDocument['remaining'][number][] = [];

  constructor(directory: string, options: ForgetOptions) {
    this.#directory = directory;
    this.#options = options;
  }

  /**
   * Finds the matching exchanges in every segment first, so that a missing key is found before any change.
   */
  plan(): this {
    for (const segment of segmentsOf(this.#directory)) {
      this.#attempt(segment, null, () => this.#look(segment));
    }
    for (const file of expiringSegments(this.#directory)) this.#remains(file, 'expiring', null);
    for (const file of readdirSync(this.#directory).filter((name) => name.endsWith(DAMAGED_SUFFIX))) {
      this.#remains(file, 'set_aside', null);
    }
    return this;
  }

  *carryOut(): Generator<string, void, undefined> {
    for (const planned of this.#planned) {
      const { segment, exchanges } = planned;
      yield segment.file;
      this.#attempt(segment, exchanges, () => {
        this.#rewrite(planned);
        this.#rewritten.push(planned);
      });
    }
  }

  document(): ForgetDocument {
    const { dryRun } = this.#options;
    const segments = (dryRun ? this.#planned : this.#rewritten).map(({ segment, exchanges, bytes }) => {
      return { file: segment.file, exchanges, bytes };
    });
    return {
      schemaVersion: 1,
      directory: this.#directory,
      dryRun,
      complete: this.#remaining.length === 0,
      exchanges: segments.reduce((sum, { exchanges }) => sum + exchanges, 0),
      bytes: segments.reduce((sum, { bytes }) => sum + bytes, 0),
      segments,
      remaining: this.#remaining,
    };
  }

  /**
   * Runs `work` on a segment. A damaged one stays, because it would look sound after rewriting. One that retention
   * removed meanwhile is skipped.
   */
  #attempt(segment: SegmentFile, exchanges: number | null, work: () => void): void {
    try {
      work();
    } catch (thrown) {
      const error = refusal(segment, thrown);
      const code = error instanceof AppError ? error.code : null;
      if (!existsSync(segment.path) || code === 'CAPTURE_NOT_FOUND') return;
      if (code !== 'CAPTURE_DAMAGED') throw error;
      this.#remains(segment.file, 'damaged', exchanges);
    }
  }

  #look(segment: SegmentFile): void {
    const { selection } = this.#options;
    if (segment.sealed) {
      const { firstArrivalUs, lastArrivalUs } = manifestOfWhole(segment.path);
      if (firstArrivalUs === null || lastArrivalUs === null) return;
      if (lastArrivalUs < (selection.fromUs ?? lastArrivalUs)) return;
      if (firstArrivalUs >= (selection.toUs ?? Number.POSITIVE_INFINITY)) return;
    }
    withSegment(segment, (reader) => this.#find(reader));
  }

  #find(reader: SegmentReader): void {
    const { selection, encryptionKey, hashKeyFingerprint } = this.#options;
    const { segment } = reader;
    const meta = reader.meta();
    if (hashKeyFingerprint !== null && meta.hashKeyFingerprint !== hashKeyFingerprint) {
      this.#remains(segment.file, 'other_hash_key', null);
      return;
    }
    if (selection.identity !== null && hasNoKeyPlace(meta.policy[selection.identity.kind])) {
      const fromUs = selection.fromUs ?? Number.MIN_SAFE_INTEGER;
      const { exchanges } = amountOf(reader, { ...selection, identity: null, fromUs });
      if (exchanges > 0) this.#remains(segment.file, 'nobody_named', exchanges);
      return;
    }
    const amount = amountOf(reader, selection);
    if (amount.exchanges === 0) return;
    if (!segment.sealed) this.#remains(segment.file, 'open', amount.exchanges);
    else {
      const cipher = cipherFor(meta.encryption, encryptionKey, segment.file);
      this.#planned.push({ segment, cipher, ...amount });
    }
  }

  #rewrite(planned: Planned): void {
    const { path, file } = planned.segment;
    const { selection, clock } = this.#options;
    const before = manifestOfWhole(path);
    // A damaged segment would be rewritten and sealed as if it were sound.
    if (sha256Of(path) !== before.sha256) {
      throw new AppError('CAPTURE_DAMAGED', `segment ${file} changed after it was sealed`);
    }
    const rewritten = `${path}${REWRITING_SUFFIX}`;
    try {
      const facts = rewriteWithout(selection, planned, rewritten, clock.epochUs());
      replaceSegment(path, sealedFile(rewritten, facts, clock));
    } finally {
      rmSync(rewritten, { force: true });
    }
  }

  #remains(file: string, why: RemainReason, exchanges: number | null): void {
    this.#remaining.push({ file, why, exchanges });
  }
}

/** Whether a policy recorded no session (or client) at all. Imports do not say where theirs come from. */
function hasNoKeyPlace(places: unknown): boolean {
  return Array.isArray(places) && places.every((place) => place === 'none');
}

/**
 * Seals open segments if no recorder runs, and finishes expiries that a dead recorder began. A recorder's
 * next start would do the same.
 */
function settleAbandoned(captureDirectory: string, clock: Clock): void {
  const open = unsealedSegments(captureDirectory);
  if (open.length + expiringSegments(captureDirectory).length === 0) return;
  try {
    const lock = DirectoryLock.acquire(captureDirectory);
    try {
      finishExpiries(captureDirectory);
      for (const path of open) settleSegment(path, clock);
    } finally {
      lock.release();
    }
  } catch (error) {
    // A recorder is running. Its segments are reported as open or expiring.
    if (!(error instanceof AppError) || error.code !== 'OUTPUT_UNWRITABLE') throw error;
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

/** A full disk is not damage. Other errors pass unchanged. */
function refusal({ file }: SegmentFile, thrown: unknown): unknown {
  if (thrown instanceof AppError || lossReasonOf(thrown) !== 'disk_full') return segmentError(file, thrown);
  return new AppError('OUTPUT_UNWRITABLE', `there is no room to rewrite ${file}: ${reasonOf(thrown)}`, {
    hint: 'Free space for one more segment. What was removed so far stays removed.',
    cause: thrown,
  });
}

/** Which exchanges to forget: those that match all of these conditions. */
export interface ForgetSelection {
  /** Keyed hashes that one session or client may have; null for any. */
  readonly identity: {
    readonly kind: 'session' | 'client';
    readonly hashes: readonly Uint8Array[];
  } | null;
  /** Arrivals from `fromUs` (inclusive) to `toUs` (exclusive), epoch microseconds; null for no bound. */
  readonly fromUs: number | null;
  readonly toUs: number | null;
}

function conditionOf({ identity, fromUs, toUs }: ForgetSelection): {
  readonly sql: string;
  readonly bound: readonly (number | Uint8Array)[];
} {
  const hashes = identity?.hashes ?? [];
  const terms = [
    ...(identity === null ? [] : [`${identity.kind} IN (${hashes.map(() => '?').join(', ')})`]),
    ...(fromUs === null ? [] : ['arrival_us >= ?']),
    ...(toUs === null ? [] : ['arrival_us < ?']),
  ];
  const bound = [...hashes, fromUs, toUs].filter((value) => value !== null);
  return { sql: terms.length === 0 ? 'FALSE' : terms.join(' AND '), bound };
}

/** How much of a segment matches. Bytes are body bytes after transfer decoding. */
function amountOf(reader: SegmentReader, selection: ForgetSelection): Amount {
  const { sql, bound } = conditionOf(selection);
  const [found] = reader.all<Amount>(
    `SELECT count(*) AS exchanges, coalesce(sum(coalesce(request_bytes, 0) + coalesce(response_bytes, 0)), 0) AS bytes
    FROM exchange WHERE ${sql}`,
    ...bound,
  );
  return found ?? { exchanges: 0, bytes: 0 };
}

/** Tables that are copied unchanged. */
const UNFILTERED = ['meta', 'counter', 'protocol_use', 'anchor', 'expiry'];

const NOTHING = new Uint8Array(0);

/**
 * Writes a new segment file without the forgotten exchanges. Rows are copied, not deleted, so the new file
 * never held them. Ids and slots stay the same, so references into the segment stay valid. A forgotten slot
 * becomes an empty slot of its block.
 * @param target the file to create
 * @returns the facts for its manifest
 * @throws AppError CAPTURE_DAMAGED, and errors of SQLite and the file system; the caller must then remove the
 * target
 */
function rewriteWithout(
  selection: ForgetSelection,
  planned: Planned,
  target: string,
  nowUs: number,
): ReturnType<typeof factsOf> {
  const { path, file } = planned.segment;
  closeSync(openSync(target, 'wx', 0o600));
  return closing(openForFilling(target), (connection) => {
    connection.prepare('ATTACH ? AS old').run(path);
    // Small segments have small pages. The rewritten segment is smaller still.
    connection.pragma(`main.page_size = ${connection.pragma('old.page_size', { simple: true })}`);
    const { sql, bound } = conditionOf(selection);
    connection.transaction(() => {
      createSchema(connection);
      connection.exec('CREATE TEMP TABLE gone (id INTEGER PRIMARY KEY)');
      connection.prepare(`INSERT INTO gone SELECT id FROM old.exchange WHERE ${sql}`).run(...bound);
      copyRows(connection, file);
      copyBlocks(connection, planned);
      noteForgotten(connection, selection, planned, nowUs);
    })();
    connection.exec('DETACH old');
    const found = connection.pragma('quick_check', { simple: true });
    if (found !== 'ok') throw damaged(file, `the rewritten file fails its check: ${found}`);
    return factsOf(connection, file);
  });
}

function copyRows(connection: Connection, file: string): void {
  for (const table of UNFILTERED) {
    connection.exec(`INSERT INTO main.${table} SELECT * FROM old.${table}`);
  }
  connection.exec(`
    INSERT INTO main.exchange SELECT ${columnsOfVersion(connection, 'old')} FROM old.exchange WHERE id NOT IN (SELECT id FROM gone) ORDER BY id;
    INSERT INTO main.body SELECT * FROM old.body WHERE id IN (
      SELECT request_body FROM main.exchange UNION SELECT response_body FROM main.exchange) ORDER BY id;
    INSERT INTO main.name SELECT * FROM old.name WHERE id IN (
      SELECT protocol FROM main.exchange UNION SELECT method FROM main.exchange
      UNION SELECT route FROM main.exchange UNION SELECT model FROM main.exchange
      UNION SELECT finish_reason FROM main.exchange) ORDER BY id;
    UPDATE main.meta SET value = '${FORMAT_VERSION}' WHERE key = 'format_version';
    INSERT INTO main.second ${SELECT_SECOND_SUMS};
    INSERT INTO main.hour SELECT sums.*, known.committed_us
      FROM (${SELECT_HOUR_SUMS}) sums JOIN old.hour known ON known.hour = sums.hour;
  `);
  const { kept, summed } = connection
    .prepare<[], { kept: number; summed: number }>(
      'SELECT (SELECT count(*) FROM main.exchange) AS kept, (SELECT coalesce(sum(exchanges), 0) FROM main.hour) AS summed',
    )
    .get() ?? { kept: 0, summed: 0 };
  if (kept !== summed) throw damaged(file, `its hourly sums count ${summed} of ${kept} exchanges`);
}

/** Copies blocks without a forgotten slot unchanged. Leaves out blocks with only forgotten slots. */
function copyBlocks(connection: Connection, planned: Planned): void {
  connection.exec(`
    CREATE TEMP TABLE dropped (slot INTEGER PRIMARY KEY);
    INSERT OR IGNORE INTO dropped SELECT heads_slot FROM old.exchange
      WHERE id IN (SELECT id FROM gone) AND heads_slot IS NOT NULL;
    INSERT OR IGNORE INTO dropped SELECT slot FROM old.body
      WHERE slot IS NOT NULL AND id NOT IN (SELECT id FROM main.body);
  `);
  const droppedIn = connection
    .prepare<[number, number], number>('SELECT slot FROM dropped WHERE slot >= ? AND slot < ?')
    .pluck();
  const insert = insertInto(connection, 'block');
  for (const row of blocksIn(connection, 'old.block')) {
    const dropped = droppedIn.all(row.firstSlot, row.firstSlot + row.slots);
    if (dropped.length === row.slots) continue;
    const kept = dropped.length === 0 ? row : without(row, dropped, planned);
    insert.run(kept.firstSlot, kept.slots, kept.rawBytes, kept.codec, kept.crc32, kept.payload);
  }
}

function without(row: BlockRow, dropped: readonly number[], { segment, cipher }: Planned): BlockRow {
  const slots = decodeBlock(row, segment.file, cipher);
  for (const slot of dropped) slots[slot - row.firstSlot] = NOTHING;
  return encodeBlock(row.firstSlot, slots, cipher);
}

function noteForgotten(
  connection: Connection,
  { identity, fromUs, toUs }: ForgetSelection,
  { segment, exchanges, bytes }: Planned,
  nowUs: number,
): void {
  const before = readMeta(connection, segment.file).forgotten;
  const kinds = new Set(before?.by);
  if (identity !== null) kinds.add(identity.kind);
  if (fromUs !== null || toUs !== null) kinds.add('time');
  const forgotten: Forgotten = {
    exchanges: exchanges + (before?.exchanges ?? 0),
    bytes: bytes + (before?.bytes ?? 0),
    atUs: nowUs,
    by: [...kinds],
  };
  setMeta(connection, { forgotten: JSON.stringify(forgotten) });
}

/**
 * Replaces the sealed segment with the rewritten one.
 *
 * The manifest is removed first. From then on the segment counts as unsealed: it stays readable. After a
 * crash the old or new file is sealed again. Removing the manifest also settles a race with retention: only
 * one of the two gets it. Readers that have the old file open keep it until they close it.
 * @throws AppError CAPTURE_NOT_FOUND when retention was first; file system errors
 */
function replaceSegment(path: string, manifest: Manifest): void {
  // Ship the segment again: the shipped copy still holds the forgotten exchanges.
  rmSync(`${path}${HANDED_SUFFIX}`, { force: true });
  if (!renamed(`${path}${MANIFEST_SUFFIX}`, `${path}${CLAIMED_SUFFIX}`)) throw takenAway(basename(path));
  syncPath(dirname(path));
  renameSync(`${path}${REWRITING_SUFFIX}`, path);
  syncPath(dirname(path));
  writeManifest(path, manifest);
  rmSync(`${path}${CLAIMED_SUFFIX}`, { force: true });
}

/**
 * Finishes an interrupted rewriting: removes a partial file and seals a segment without a manifest. A segment
 * that is being expired is not sealed, because part of it is already gone.
 */
function finishInterrupted(captureDirectory: string, clock: Clock): void {
  for (const file of leftoversIn(captureDirectory)) {
    const path = join(captureDirectory, file);
    const segment = path.slice(0, -CLAIMED_SUFFIX.length);
    const isLeft = file.endsWith(CLAIMED_SUFFIX) && existsSync(segment);
    if (isLeft && !existsSync(`${segment}${TOMBSTONE_SUFFIX}`)) settleSegment(segment, clock);
    rmSync(path, { force: true });
  }
}

/**
 * Removes what an interrupted `forget` left; called when a recorder starts. Otherwise an unread copy of a segment would
 * use part of the quota for ever. Unsealed segments are found by the sealer. If a `forget` runs or another user owns
 * the files, they stay: recording does not depend on it.
 */
export function removeLeftovers(captureDirectory: string): void {
  if (leftoversIn(captureDirectory).length === 0) return;
  let lock: DirectoryLock | null = null;
  try {
    lock = DirectoryLock.acquire(captureDirectory, FORGET_LOCK_FILE);
    for (const file of leftoversIn(captureDirectory)) rmSync(join(captureDirectory, file), { force: true });
  } catch {
    // `verify` reports them, and the next `forget` or start removes them.
  } finally {
    lock?.release();
  }
}

/** Files that an interrupted `forget` left, or that a running one uses now. */
export function leftoversIn(captureDirectory: string): string[] {
  return readdirSync(captureDirectory)
    .filter((file) => LEFTOVER_SUFFIXES.some((suffix) => file.endsWith(suffix)))
    .sort();
}
