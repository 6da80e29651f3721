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
import { z } from 'zod';
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
import { assertReadable, isUnborn, readMeta, setMeta, spanOf } from './schema.ts';
import {
  type Connection,
  closing,
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
  /** The problem of a damaged segment. */
  readonly problem: string | null;
}

/**
 * Seals or recovers an unsealed segment. Removes it if it never held anything, or sets it aside if damaged.
 * The rest of the capture then stays readable.
 * @throws file system errors; AppError CAPTURE_DAMAGED when the segment is still in use
 */
export function settleSegment(path: string, clock: Clock): SettledSegment {
  const file = basename(path);
  if (existsSync(`${path}${MANIFEST_SUFFIX}`)) return { file, outcome: 'sealed', problem: null };
  try {
    if (withConnection(path, isUnborn)) {
      for (const suffix of ['', ...SIDE_SUFFIXES]) rmSync(`${path}${suffix}`, { force: true });
      return { file, outcome: 'empty', problem: null };
    }
    const { recovered } = sealSegment(path, clock);
    return { file, outcome: recovered ? 'recovered' : 'sealed', problem: null };
  } catch (error) {
    if (!isDamage(error)) throw error;
    setAside(path);
    return { file, outcome: 'damaged', problem: reasonOf(error) };
  }
}

/**
 * Seals a segment: one plain file, checked and read-only, and a manifest beside it. It can be repeated after
 * a crash at any point. If its writer died, SQLite recovers what was committed; the recording's account
 * counts the rest.
 * @param attempts tries, 100 ms apart, to get the file while a reader uses it
 * @throws AppError CAPTURE_DAMAGED when the segment fails its check or is still in use
 */
export function sealSegment(path: string, clock: Clock, attempts: number = ATTEMPTS): Manifest {
  if (existsSync(`${path}${MANIFEST_SUFFIX}`)) return readManifest(path);
  const file = basename(path);
  const facts = withConnection(path, (connection) => {
    assertReadable(connection, file);
    // Before any change, so that a damaged segment is set aside as found.
    const found = connection.pragma('quick_check', { simple: true });
    if (found !== 'ok') throw damaged(file, String(found));
    const isAbandoned = readMeta(connection, file).closedUs === null;
    toOneFile(connection, file, attempts);
    if (isAbandoned) noteRecovery(connection, clock.epochUs());
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
    return closing(openForSealing(path), work);
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

function noteRecovery(connection: Connection, nowUs: number): void {
  connection.transaction(() => {
    setMeta(connection, { closed_us: String(nowUs), recovered_us: String(nowUs) });
  })();
}

/** The content facts for a manifest, read from the segment. */
export function factsOf(connection: Connection, file: string) {
  const meta = readMeta(connection, file);
  const span = spanOf(connection);
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
    formatVersion: Number(connection.pragma('user_version', { simple: true })),
    file,
    recorder: meta.recorder.id,
    recovered: meta.recoveredUs !== null,
    firstArrivalUs: span?.firstUs ?? null,
    lastArrivalUs: span?.lastUs ?? null,
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

const whole = z.number().int();
const amount = z.object({ exchanges: whole, bytes: whole });

/** The manifest beside a sealed segment: the seal, and facts that are needed without opening the segment. */
const manifestSchema = z.object({
  formatVersion: whole,
  file: z.string(),
  recorder: z.string(),
  /** Its recorder died, and a later process sealed it. */
  recovered: z.boolean(),
  firstArrivalUs: whole.nullable(),
  lastArrivalUs: whole.nullable(),
  exchanges: whole,
  requestBytes: whole,
  responseBytes: whole,
  lost: amount,
  omitted: amount,
  /**
   * Expiries recorded in it, including earlier ones. When it expires itself, the segment that records this takes them
   * over.
   */
  expired: z.object({ segments: whole, exchanges: whole, bytes: whole }),
  fileBytes: whole,
  /** SHA-256 of the file, hexadecimal. */
  sha256: z.string(),
  sealedUs: whole,
  quickCheck: z.literal('ok'),
});
export type Manifest = Readonly<z.infer<typeof manifestSchema>>;

/** Sums of what retention removed. */
export type ExpiredSums = Manifest['expired'];

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
  try {
    return manifestSchema.parse(JSON.parse(text));
  } catch (error) {
    throw invalid(file, error instanceof z.ZodError ? z.prettifyError(error) : reasonOf(error));
  }
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
