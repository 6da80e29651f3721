import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Amount } from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import { type BlockRow, decodeBlock, encodeBlock } from './blocks.ts';
import {
  CLAIMED_SUFFIX,
  DAMAGED_SUFFIX,
  FORGET_LOCK_FILE,
  HANDED_SUFFIX,
  isMissing,
  LEFTOVER_SUFFIXES,
  MANIFEST_SUFFIX,
  REWRITING_SUFFIX,
  type SegmentFile,
  segmentsOf,
  syncPath,
  TOMBSTONE_SUFFIX,
} from './directory.ts';
import { type BlockCipher, cipherFor, type EncryptionKey } from './encryption.ts';
import { DirectoryLock } from './lock.ts';
import { expiringSegments, finishExpiries } from './retention.ts';
import { SELECT_HOUR_SUMS, SELECT_SECOND_SUMS } from './roll-ups.ts';
import {
  assertReadable,
  FORMAT_VERSION,
  type ForgetKind,
  type Forgotten,
  isUnborn,
  readMeta,
  setMeta,
} from './schema.ts';
import {
  factsOf,
  type Manifest,
  manifestOfWhole,
  settleSegment,
  sha256Of,
  writeManifest,
} from './sealing.ts';
import {
  type Connection,
  damaged,
  lossReasonOf,
  openForFilling,
  openForReading,
  segmentError,
  takenAway,
} from './sqlite.ts';

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

/** Which exchanges are to be forgotten: those to which all of it applies. */
export interface ForgetSelection {
  /** Keyed hashes that one session or client may have; null for any. */
  readonly identity: {
    readonly kind: 'session' | 'client';
    readonly hashes: readonly Uint8Array[];
  } | null;
  /** Arrivals from `fromUs` to before `toUs`, epoch microseconds; null where it has no end on that side. */
  readonly fromUs: number | null;
  readonly toUs: number | null;
}

/** What a selection is made of, as a segment remembers it. */
function kindsOf({ identity, fromUs, toUs }: ForgetSelection): ForgetKind[] {
  return [
    ...(identity === null ? [] : [identity.kind]),
    ...(fromUs === null && toUs === null ? [] : ['time' as const]),
  ];
}

/** Whether a segment with these arrivals can hold any of it. */
function touches(
  { fromUs, toUs }: ForgetSelection,
  span: { readonly firstUs: number; readonly lastUs: number },
): boolean {
  return (fromUs === null || span.lastUs >= fromUs) && (toUs === null || span.firstUs < toUs);
}

/** Condition on rows of `exchange` and what is bound to it. */
function conditionOf({ identity, fromUs, toUs }: ForgetSelection): {
  readonly sql: string;
  readonly bound: readonly (number | Uint8Array)[];
} {
  const terms: string[] = [];
  const bound: (number | Uint8Array)[] = [];
  const add = (term: string, ...values: readonly (number | Uint8Array)[]): void => {
    terms.push(term);
    bound.push(...values);
  };
  if (identity !== null) {
    const { kind, hashes } = identity;
    add(`${kind} IN (${hashes.map(() => '?').join(', ')})`, ...hashes);
  }
  if (fromUs !== null) add('arrival_us >= ?', fromUs);
  if (toUs !== null) add('arrival_us < ?', toUs);
  return { sql: terms.length === 0 ? 'FALSE' : terms.join(' AND '), bound };
}

/** How much of a segment a selection is. Bytes are those of bodies, after transfer decoding. */
function amountOf(
  connection: Connection,
  selection: ForgetSelection,
  schema: 'main' | 'old' = 'main',
): Amount {
  const { sql, bound } = conditionOf(selection);
  const found = connection
    .prepare<(number | Uint8Array)[], Amount>(
      `SELECT count(*) AS exchanges, coalesce(sum(coalesce(request_bytes, 0) + coalesce(response_bytes, 0)), 0) AS bytes
      FROM ${schema}.exchange WHERE ${sql}`,
    )
    .get(...bound);
  return found ?? { exchanges: 0, bytes: 0 };
}

/** Tables that are not copied as they are. */
const FILTERED = ['exchange', 'body', 'name', 'block', 'second', 'hour'];

const NOTHING = new Uint8Array(0);

const SELECT_NEXT_BLOCK = `SELECT first_slot AS firstSlot, slots, raw_bytes AS rawBytes, codec, crc32, payload
FROM old.block WHERE first_slot > ? ORDER BY first_slot LIMIT 1`;

interface RewriteOptions {
  /** The sealed segment. */
  readonly path: string;
  readonly file: string;
  /** The file to be made. */
  readonly target: string;
  readonly selection: ForgetSelection;
  /** Null for a segment that is not encrypted. */
  readonly cipher: BlockCipher | null;
  readonly nowUs: number;
}

/**
 * Writes a segment anew without what is to be forgotten, as a file of its own in which it never was: rows are
 * copied, not deleted. Ids and slots stay what they were, so that whatever else refers to the segment stays true:
 * in a block a forgotten slot is left as an empty one.
 * @returns what a manifest says of it
 * @throws AppError CAPTURE_DAMAGED, what SQLite and the file system throw; the target is then to be removed.
 */
function rewriteWithout(options: RewriteOptions): ReturnType<typeof factsOf> {
  const { path, file, target, selection } = options;
  closeSync(openSync(target, 'wx', 0o600));
  const connection = openForFilling(target, pageBytesOf(path));
  try {
    connection.prepare('ATTACH ? AS old').run(path);
    copyIdentity(connection);
    createTables(connection);
    const { sql, bound } = conditionOf(selection);
    connection.transaction(() => {
      connection.exec('CREATE TEMP TABLE gone (id INTEGER PRIMARY KEY)');
      connection.prepare(`INSERT INTO gone SELECT id FROM old.exchange WHERE ${sql}`).run(...bound);
      copyRows(connection, file);
      copyBlocks(connection, options);
      noteForgotten(connection, options);
    })();
    connection.exec('DETACH old');
    const found = connection.pragma('quick_check', { simple: true });
    if (found !== 'ok') throw damaged(file, `written anew it fails its check: ${found}`);
    return factsOf(connection, file);
  } finally {
    connection.close();
  }
}

/** Small segments have small pages; what is left of one has no need of larger ones. */
function pageBytesOf(path: string): number {
  const header = Buffer.alloc(100);
  const descriptor = openSync(path, 'r');
  try {
    readSync(descriptor, header, 0, header.byteLength, 0);
  } finally {
    closeSync(descriptor);
  }
  // SQLite writes 65536 as 1.
  const bytes = header.readUInt16BE(16);
  return bytes === 1 ? 65_536 : bytes;
}

function copyIdentity(connection: Connection): void {
  for (const name of ['application_id', 'user_version']) {
    connection.pragma(`main.${name} = ${connection.pragma(`old.${name}`, { simple: true })}`);
  }
}

/** The segment's own tables, indexes and views, of whatever version it is. */
function createTables(connection: Connection): void {
  const statements = connection
    .prepare<[], string>(
      "SELECT sql FROM old.sqlite_schema WHERE sql IS NOT NULL ORDER BY type <> 'table', type <> 'index'",
    )
    .pluck()
    .all();
  for (const sql of statements) connection.exec(sql);
}

function copyRows(connection: Connection, file: string): void {
  const tables = connection
    .prepare<[], string>(
      "SELECT name FROM old.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    )
    .pluck()
    .all();
  for (const table of tables.filter((name) => !FILTERED.includes(name))) {
    connection.exec(`INSERT INTO main.${table} SELECT * FROM old.${table}`);
  }
  connection.exec(`
    INSERT INTO main.exchange SELECT * FROM old.exchange WHERE id NOT IN (SELECT id FROM gone) ORDER BY id;
    INSERT INTO main.body SELECT * FROM old.body WHERE id IN (
      SELECT request_body FROM main.exchange UNION SELECT response_body FROM main.exchange) ORDER BY id;
    INSERT INTO main.name SELECT * FROM old.name WHERE id IN (
      SELECT protocol FROM main.exchange UNION SELECT method FROM main.exchange
      UNION SELECT route FROM main.exchange UNION SELECT model FROM main.exchange) ORDER BY id;
    INSERT INTO main.second ${SELECT_SECOND_SUMS};
    INSERT INTO main.hour SELECT sums.*, known.committed_us
      FROM (${SELECT_HOUR_SUMS}) sums JOIN old.hour known ON known.hour = sums.hour;
  `);
  const { kept, summed } = connection
    .prepare<[], { kept: number; summed: number }>(
      'SELECT (SELECT count(*) FROM main.exchange) AS kept, (SELECT coalesce(sum(exchanges), 0) FROM main.hour) AS summed',
    )
    .get() ?? { kept: 0, summed: 0 };
  if (kept !== summed) throw damaged(file, `its hours know ${summed} of ${kept} exchanges`);
}

/** Blocks without a slot that goes are copied as they are; one that has nothing else is left out. */
function copyBlocks(connection: Connection, { file, cipher }: RewriteOptions): void {
  connection.exec(`
    CREATE TEMP TABLE dropped (slot INTEGER PRIMARY KEY);
    INSERT OR IGNORE INTO dropped SELECT heads_slot FROM old.exchange
      WHERE id IN (SELECT id FROM gone) AND heads_slot IS NOT NULL;
    INSERT OR IGNORE INTO dropped SELECT slot FROM old.body
      WHERE slot IS NOT NULL AND id NOT IN (SELECT id FROM main.body);
  `);
  const next = connection.prepare<[number], BlockRow>(SELECT_NEXT_BLOCK);
  const droppedIn = connection
    .prepare<[number, number], number>('SELECT slot FROM dropped WHERE slot >= ? AND slot < ?')
    .pluck();
  const insert = connection.prepare(
    'INSERT INTO main.block (first_slot, slots, raw_bytes, codec, crc32, payload) VALUES (?, ?, ?, ?, ?, ?)',
  );
  for (let row = next.get(Number.MIN_SAFE_INTEGER); row !== undefined; row = next.get(row.firstSlot)) {
    const dropped = droppedIn.all(row.firstSlot, row.firstSlot + row.slots);
    if (dropped.length === row.slots) continue;
    const kept = dropped.length === 0 ? row : without(row, dropped, file, cipher);
    insert.run(kept.firstSlot, kept.slots, kept.rawBytes, kept.codec, kept.crc32, kept.payload);
  }
}

function without(
  row: BlockRow,
  dropped: readonly number[],
  file: string,
  cipher: BlockCipher | null,
): BlockRow {
  const slots = [...decodeBlock(row, file, cipher)];
  for (const slot of dropped) slots[slot - row.firstSlot] = NOTHING;
  return encodeBlock(row.firstSlot, slots, cipher);
}

/** Adds to what was forgotten of it before. */
function noteForgotten(connection: Connection, { file, selection, nowUs }: RewriteOptions): void {
  const before = readMeta(connection, file).forgotten;
  const { exchanges, bytes } = amountOf(connection, selection, 'old');
  const forgotten: Forgotten = {
    exchanges: exchanges + (before?.exchanges ?? 0),
    bytes: bytes + (before?.bytes ?? 0),
    atUs: nowUs,
    by: [...new Set([...(before?.by ?? []), ...kindsOf(selection)])],
  };
  setMeta(connection, { forgotten: JSON.stringify(forgotten) });
}

/**
 * Puts a segment that was written anew in the place of the sealed one.
 *
 * The manifest is taken away first: from then on the segment counts as one that is not sealed yet, which is
 * readable, and which whoever finds it after a crash seals anew, be it the old file or the new one. Taking it is
 * also what decides between us and a retention that wants the same segment: one of the two gets it.
 * Readers that have the old file open keep it until they close it.
 * @throws AppError CAPTURE_NOT_FOUND when retention was quicker; what the file system throws.
 */
function replaceSegment(path: string, facts: Omit<Manifest, 'fileBytes' | 'sha256'>): Manifest {
  const rewritten = `${path}${REWRITING_SUFFIX}`;
  chmodSync(rewritten, 0o400);
  syncPath(rewritten);
  const manifest = { ...facts, fileBytes: statSync(rewritten).size, sha256: sha256Of(rewritten) };
  // What was shipped is shipped again: the copy elsewhere still holds what was forgotten here.
  rmSync(`${path}${HANDED_SUFFIX}`, { force: true });
  claim(path);
  renameSync(rewritten, path);
  syncPath(dirname(path));
  writeManifest(path, manifest);
  rmSync(`${path}${CLAIMED_SUFFIX}`, { force: true });
  return manifest;
}

/**
 * Ends what a rewriting began that did not come to its end: half a file goes, a segment without seal gets one, but
 * for one that is being taken away: sealed anew, it would be half there again.
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
 * Removes what an interrupted `forget` left, for a recorder that starts: a copy of a segment that nobody reads
 * would take of its quota for ever. What has no seal its sealer finds by itself. Where a `forget` works, or the
 * files are another user's, they stay: recording does not depend on it.
 */
export function removeLeftovers(captureDirectory: string): void {
  if (leftoversIn(captureDirectory).length === 0) return;
  let lock: DirectoryLock | null = null;
  try {
    lock = DirectoryLock.acquire(captureDirectory, FORGET_LOCK_FILE);
    for (const file of leftoversIn(captureDirectory)) rmSync(join(captureDirectory, file), { force: true });
  } catch {
    // `verify` tells of them, and the next forget or start removes them.
  } finally {
    lock?.release();
  }
}

/** What an interrupted `forget` left, or one that works has there just now. */
export function leftoversIn(captureDirectory: string): string[] {
  return readdirSync(captureDirectory)
    .filter((file) => LEFTOVER_SUFFIXES.some((suffix) => file.endsWith(suffix)))
    .sort();
}

function claim(path: string): void {
  try {
    renameSync(`${path}${MANIFEST_SUFFIX}`, `${path}${CLAIMED_SUFFIX}`);
  } catch (error) {
    throw isMissing(error) ? takenAway(basename(path)) : error;
  }
  syncPath(dirname(path));
}
