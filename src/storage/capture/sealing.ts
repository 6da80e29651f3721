import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Amount } from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { blocksIn, repackBlock } from './blocks.ts';
import {
  DAMAGED_SUFFIX,
  hasCode,
  isMissing,
  MANIFEST_SUFFIX,
  SIDE_SUFFIXES,
  syncPath,
  writeFileDurably,
} from './directory.ts';
import { assertReadable, FORMAT_VERSION, isUnborn, readMeta, setMeta } from './schema.ts';
import {
  type Connection,
  damaged,
  isDamage,
  openForSealing,
  segmentError,
  sqliteCode,
  takenAway,
} from './sqlite.ts';

/** Attempts while a reader holds the segment for one page: half a minute in total. */
const ATTEMPTS = 300;
const ATTEMPT_DELAY_MS = 100;
const HASH_CHUNK_BYTES = 1024 * 1024;

const NONE: Amount = { exchanges: 0, bytes: 0 };

/** The result for a finished or abandoned segment. */
interface SettledSegment {
  readonly file: string;
  /**
   * `empty`: its writer died before it held anything, and it was removed. `damaged`: kept under another name.
   */
  readonly outcome: 'sealed' | 'recovered' | 'empty' | 'damaged';
  readonly manifest: Manifest | null;
  /** The problem of a damaged segment. */
  readonly problem: string | null;
}

/**
 * Seals a segment that its writer ended: one plain file, checked and read-only, and a manifest beside it. It
 * can be repeated after a crash at any point.
 * @param attempts tries, 100 ms apart, to get the file while a reader uses it
 * @throws AppError CAPTURE_DAMAGED when the segment fails its check or is still in use
 */
export function sealSegment(path: string, clock: Clock, attempts: number = ATTEMPTS): Manifest {
  return seal(path, clock, false, attempts);
}

/**
 * Seals a segment whose writer died. SQLite recovers what was committed; the recording's account counts the
 * rest.
 * @throws AppError CAPTURE_DAMAGED like `sealSegment`
 */
export function recoverSegment(path: string, clock: Clock): Manifest {
  return seal(path, clock, true, ATTEMPTS);
}

/**
 * Seals or recovers an unsealed segment. Removes it if it never held anything, or sets it aside if damaged.
 * The rest of the capture then stays readable.
 * @throws file system errors; AppError CAPTURE_DAMAGED when the segment is still in use
 */
export function settleSegment(path: string, clock: Clock): SettledSegment {
  const file = basename(path);
  if (existsSync(`${path}${MANIFEST_SUFFIX}`)) {
    return { file, outcome: 'sealed', manifest: readManifest(path), problem: null };
  }
  try {
    const state = stateOf(path);
    if (state === 'unborn') {
      for (const suffix of ['', ...SIDE_SUFFIXES]) rmSync(`${path}${suffix}`, { force: true });
      return { file, outcome: 'empty', manifest: null, problem: null };
    }
    return state === 'ended'
      ? { file, outcome: 'sealed', manifest: sealSegment(path, clock), problem: null }
      : { file, outcome: 'recovered', manifest: recoverSegment(path, clock), problem: null };
  } catch (error) {
    if (!isDamage(error)) throw error;
    setAside(path);
    return { file, outcome: 'damaged', manifest: null, problem: reasonOf(error) };
  }
}

function stateOf(path: string): 'unborn' | 'ended' | 'abandoned' {
  return withConnection(path, (connection) => {
    if (isUnborn(connection)) return 'unborn';
    assertReadable(connection, basename(path));
    return readMeta(connection, basename(path)).closedUs === null ? 'abandoned' : 'ended';
  });
}

function seal(path: string, clock: Clock, abandoned: boolean, attempts: number): Manifest {
  if (existsSync(`${path}${MANIFEST_SUFFIX}`)) return readManifest(path);
  const file = basename(path);
  const facts = withConnection(path, (connection) => {
    assertReadable(connection, file);
    // Before any change, so that a damaged segment is set aside as found.
    check(connection, file);
    toOneFile(connection, file, attempts);
    if (abandoned) noteRecovery(connection, clock.epochUs());
    compactSmall(connection, file);
    return factsOf(connection, file);
  });
  const manifest = sealedFile(path, facts, clock);
  writeManifest(path, manifest);
  return manifest;
}

/** Makes a complete segment file durable and read-only. The segment is sealed once its manifest is written. */
export function sealedFile(path: string, facts: ReturnType<typeof factsOf>, clock: Clock): Manifest {
  chmodSync(path, 0o400);
  syncPath(path);
  return {
    ...facts,
    fileBytes: statSync(path).size,
    sha256: sha256Of(path),
    sealedUs: clock.epochUs(),
    quickCheck: 'ok',
  };
}

function withConnection<T>(path: string, work: (connection: Connection) => T): T {
  // An interrupted sealing may have left it read-only.
  chmodSync(path, 0o600);
  try {
    const connection = openForSealing(path);
    try {
      return work(connection);
    } finally {
      connection.close();
    }
  } catch (error) {
    throw segmentError(basename(path), error);
  }
}

/** Moves the log into the database and removes it. It needs exclusive access, so it waits for readers. */
function toOneFile(connection: Connection, file: string, attempts: number): void {
  connection.pragma('wal_checkpoint(TRUNCATE)');
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (let attempt = 1; ; attempt += 1) {
    try {
      connection.pragma('journal_mode = DELETE');
      return;
    } catch (error) {
      if (!sqliteCode(error)?.startsWith('SQLITE_BUSY')) throw error;
      if (attempt >= attempts) {
        throw new AppError('CAPTURE_DAMAGED', `segment ${file} is in use and was not sealed`, {
          cause: error,
        });
      }
      Atomics.wait(sleeper, 0, 0, ATTEMPT_DELAY_MS);
    }
  }
}

function check(connection: Connection, file: string): void {
  const found = connection.pragma('quick_check', { simple: true });
  if (found !== 'ok') throw damaged(file, String(found));
}

function noteRecovery(connection: Connection, nowUs: number): void {
  connection.transaction(() => {
    setMeta(connection, { closed_us: String(nowUs), recovered_us: String(nowUs) });
  })();
}

/** The content facts for a manifest, read from the segment. */
export function factsOf(connection: Connection, file: string) {
  const meta = readMeta(connection, file);
  const ends = (end: 'min' | 'max') =>
    connection.prepare<[], number | null>(`SELECT ${end}(arrival_us) FROM exchange`).pluck().get() ?? null;
  const totals = connection
    .prepare<[], { exchanges: number; requestBytes: number; responseBytes: number }>(
      `SELECT coalesce(sum(exchanges), 0) AS exchanges, coalesce(sum(request_bytes), 0) AS requestBytes,
        coalesce(sum(response_bytes), 0) AS responseBytes FROM hour`,
    )
    .get();
  if (totals === undefined) throw damaged(file, 'it has no totals');
  const amount = (table: 'loss' | 'omission') =>
    connection
      .prepare<[], Amount>(
        `SELECT coalesce(sum(exchanges), 0) AS exchanges, coalesce(sum(bytes), 0) AS bytes FROM ${table}`,
      )
      .get() ?? NONE;
  return {
    formatVersion: FORMAT_VERSION,
    file,
    recorder: meta.recorder.id,
    recovered: meta.recoveredUs !== null,
    firstArrivalUs: ends('min'),
    lastArrivalUs: ends('max'),
    ...totals,
    lost: amount('loss'),
    omitted: amount('omission'),
    expired: connection.prepare<[], ExpiredSums>(SELECT_EXPIRED).get() ?? { segments: 0, ...NONE },
  };
}

const SELECT_EXPIRED = `SELECT count(*) + coalesce(sum(earlier_segments), 0) AS segments,
  coalesce(sum(exchanges + earlier_exchanges), 0) AS exchanges,
  coalesce(sum(bytes + earlier_bytes), 0) AS bytes FROM expiry`;

/** Hexadecimal. */
export function sha256Of(path: string): string {
  const hash = createHash('sha256');
  const chunk = Buffer.allocUnsafe(HASH_CHUNK_BYTES);
  const descriptor = openSync(path, 'r');
  try {
    for (let read = readSync(descriptor, chunk); read > 0; read = readSync(descriptor, chunk)) {
      hash.update(chunk.subarray(0, read));
    }
  } finally {
    closeSync(descriptor);
  }
  return hash.digest('hex');
}

function setAside(path: string): void {
  for (const suffix of SIDE_SUFFIXES) {
    if (existsSync(`${path}${suffix}`)) renameSync(`${path}${suffix}`, `${path}${DAMAGED_SUFFIX}${suffix}`);
  }
  renameSync(path, `${path}${DAMAGED_SUFFIX}`);
  syncPath(dirname(path));
}

const SMALL_PAGE_BYTES = 512;

/**
 * Rewrites a small segment with small pages and recompresses its blocks. Every table takes at least one page.
 * With 8 KiB pages an hour with ten requests takes 160 KiB, mostly empty. A large segment stays as it is: its
 * size is mostly payload, and rewriting it is expensive.
 */
function compactSmall(connection: Connection, file: string): void {
  const pages = Number(connection.pragma('page_count', { simple: true }));
  const pageBytes = Number(connection.pragma('page_size', { simple: true }));
  // Small pages mean that it was compacted before a crash that came before its manifest.
  if (pageBytes === SMALL_PAGE_BYTES || pages * pageBytes > LIMITS.compactedSegmentBytes) return;
  try {
    connection.transaction(() => repackBlocks(connection, file))();
    connection.pragma(`page_size = ${SMALL_PAGE_BYTES}`);
    connection.exec('VACUUM');
  } catch (error) {
    // No space for the copy: it keeps its size.
    if (!sqliteCode(error)?.startsWith('SQLITE_FULL')) throw error;
  }
}

function repackBlocks(connection: Connection, file: string): void {
  const update = connection.prepare<[Uint8Array, number, number]>(
    'UPDATE block SET payload = ?, crc32 = ? WHERE first_slot = ?',
  );
  for (const row of blocksIn(connection, 'block')) {
    const packed = repackBlock(row, file);
    if (packed !== null) update.run(packed.payload, packed.crc32, row.firstSlot);
  }
}

/** Sums of what retention removed. */
export interface ExpiredSums extends Amount {
  readonly segments: number;
}

/** The manifest beside a sealed segment: the seal, and facts that are needed without opening the segment. */
export interface Manifest {
  readonly formatVersion: number;
  readonly file: string;
  readonly recorder: string;
  readonly firstArrivalUs: number | null;
  readonly lastArrivalUs: number | null;
  readonly exchanges: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly lost: Amount;
  readonly omitted: Amount;
  /** Expiries recorded in it, including earlier ones. The segment that records its expiry carries them on. */
  readonly expired: ExpiredSums;
  readonly fileBytes: number;
  /** SHA-256 of the file, hexadecimal. */
  readonly sha256: string;
  readonly sealedUs: number;
  readonly quickCheck: 'ok';
  /** Its recorder died, and a later process sealed it. */
  readonly recovered: boolean;
}

const NUMBERS = [
  'formatVersion',
  'exchanges',
  'requestBytes',
  'responseBytes',
  'fileBytes',
  'sealedUs',
] as const;
const TEXTS = ['file', 'recorder', 'sha256'] as const;

/** Writes the manifest beside its segment. The segment is sealed from then on. */
export function writeManifest(segmentPath: string, manifest: Manifest): void {
  writeFileDurably(`${segmentPath}${MANIFEST_SUFFIX}`, textOf(manifest), 0o600);
}

/** Whether a manifest is unchanged since it was written. */
export function isIntact(text: string): boolean {
  try {
    return textOf(parseManifest(text, 'manifest')) === text;
  } catch (error) {
    if (error instanceof AppError) return false;
    throw error;
  }
}

/** The last field is a checksum over the others, because most of them are stored nowhere else. */
function textOf(manifest: Manifest): string {
  return `${JSON.stringify({ ...manifest, crc32: crc32(JSON.stringify(manifest)) }, null, 2)}\n`;
}

/**
 * The manifest of a sealed segment. @throws AppError CAPTURE_DAMAGED when it is invalid, CAPTURE_NOT_FOUND
 */
export function readManifest(segmentPath: string): Manifest {
  const path = `${segmentPath}${MANIFEST_SUFFIX}`;
  return parseManifest(
    orTakenAway(segmentPath, () => readManifestText(path)),
    path,
  );
}

/** @throws AppError CAPTURE_DAMAGED when the name is not a file's; file system errors */
export function readManifestText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw hasCode(error, 'EISDIR') ? invalid(path, 'it is a directory') : error;
  }
}

/**
 * The manifest of a segment after a check of its file size. This detects truncation or growth since sealing
 * without reading the file.
 * @throws AppError CAPTURE_DAMAGED, CAPTURE_NOT_FOUND
 */
export function manifestOfWhole(segmentPath: string): Manifest {
  const manifest = readManifest(segmentPath);
  const file = basename(segmentPath);
  if (manifest.file !== file) throw damaged(file, `its manifest belongs to ${manifest.file}`);
  const { size } = orTakenAway(segmentPath, () => statSync(segmentPath));
  if (size === manifest.fileBytes) return manifest;
  throw damaged(file, `it has ${size} bytes, and was sealed with ${manifest.fileBytes}`);
}

/** @throws AppError CAPTURE_DAMAGED naming `file` */
export function parseManifest(text: string, file: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(file, reasonOf(error));
  }
  if (typeof value !== 'object' || value === null) throw invalid(file, 'it is not an object');
  const fields = value as Record<string, unknown>;
  for (const name of NUMBERS)
    if (!Number.isSafeInteger(fields[name])) throw invalid(file, `${name} is missing`);
  for (const name of TEXTS) if (typeof fields[name] !== 'string') throw invalid(file, `${name} is missing`);
  for (const name of ['firstArrivalUs', 'lastArrivalUs']) {
    if (fields[name] !== null && !Number.isSafeInteger(fields[name]))
      throw invalid(file, `${name} is missing`);
  }
  const sums = fields['expired'];
  if (typeof sums !== 'object' || sums === null) throw invalid(file, 'expired is missing');
  const { crc32: _, ...manifest } = fields;
  return manifest as unknown as Manifest;
}

function orTakenAway<T>(segmentPath: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw isMissing(error) ? takenAway(basename(segmentPath)) : error;
  }
}

function invalid(file: string, what: string): AppError {
  return new AppError('CAPTURE_DAMAGED', `manifest ${file} cannot be read: ${what}`, {
    hint: 'Remove it: its segment is then read as unsealed.',
  });
}
