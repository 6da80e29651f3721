import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { accountFileOf } from '../../core/accounting.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { accountsIn } from './accounts.ts';
import { assertChecksum, type BlockRow, blocksIn, decodeBlock, decodeHeads } from './blocks.ts';
import { CaptureLives } from './capture-lives.ts';
import {
  DAMAGED_SUFFIX,
  HANDED_SUFFIX,
  MANIFEST_SUFFIX,
  parseSegmentName,
  type SegmentFile,
  segmentsOf,
  TOMBSTONE_SUFFIX,
} from './directory.ts';
import { type BlockCipher, cipherFor, type EncryptionKey } from './encryption.ts';
import { leftoversIn } from './forget.ts';
import { AbsentSegments, type ExpirySummary, SELECT_EXPIRIES } from './lives.ts';
import { HOUR_COLUMNS, SELECT_HOUR_SUMS, SELECT_SECOND_SUMS } from './roll-ups.ts';
import { assertReadable, isUnborn, readMeta, type SegmentMeta, spanOf } from './schema.ts';
import { factsOf, isIntact, type Manifest, readManifest, readManifestText, sha256Of } from './sealing.ts';
import { SegmentIdentities } from './segment-reader.ts';
import { type Connection, closing, openForReading, orGone, segmentError } from './sqlite.ts';

/** How often a segment is checked if it is replaced each time. */
const ATTEMPTS = 3;

/** The document of `verify`. */
export interface VerifyDocument {
  readonly schemaVersion: 1;
  readonly directory: string;
  /** No damage was found. */
  readonly ok: boolean;
  readonly exchanges: number;
  readonly segments: readonly (Omit<SegmentReport, 'problems'> & { readonly problems: number })[];
  readonly problems: readonly CaptureProblem[];
  /**
   * Missing segments without a recorded cause. They are not damage: shipping or a partial merge leaves some
   * out. Segments after a recorder's last one are unknown.
   */
  readonly missing: readonly MissingSegments[];
  /** Segments that retention is removing, or was removing when its recorder died. */
  readonly expiring: readonly string[];
  /** Files that an interrupted `forget` left. The next `forget` or recorder start removes them. */
  readonly leftovers: readonly string[];
}

interface VerifyOptions {
  /** Null if none was given: then only the checksums of encrypted blocks are checked. */
  readonly encryptionKey: EncryptionKey | null;
  /** Called before each segment is read. */
  readonly onSegment: (file: string, index: number, count: number) => void;
}

/**
 * Reads a whole capture and checks it against its manifests and itself. Nothing is changed.
 * @param captureDirectory as returned by `resolveCaptureDirectory(…, 'read')`
 * @throws AppError CAPTURE_ENCRYPTED for a wrong key, SCHEMA_TOO_NEW
 */
export function verifyCapture(captureDirectory: string, options: VerifyOptions): VerifyDocument {
  // List first: files that a recorder creates and removes during the check must not look missing.
  const listed = readdirSync(captureDirectory);
  // A second look, because a segment that expires during the first one is no problem.
  const gone = goneFrom(captureDirectory).length === 0 ? [] : goneFrom(captureDirectory);
  const segments = segmentsOf(captureDirectory);
  const reports: SegmentReport[] = [];
  const others = { identities: new SegmentIdentities(), absent: new AbsentSegments() };
  for (const [index, segment] of segments.entries()) {
    options.onSegment(segment.file, index, segments.length);
    const report = reportOn(segment, options.encryptionKey, others);
    if (report !== null) reports.push(report);
  }
  const files = readdirSync(captureDirectory).sort();
  const problems: CaptureProblem[] = [
    ...reports.flatMap((report) => report.problems),
    ...missingFrom(captureDirectory, files),
    ...gone,
    ...files.filter((file) => file.endsWith(DAMAGED_SUFFIX)).map((file) => ({ file, ...SET_ASIDE })),
  ];
  return {
    schemaVersion: 1,
    directory: captureDirectory,
    ok: problems.length === 0,
    exchanges: reports.reduce((sum, { exchanges }) => sum + exchanges, 0),
    segments: reports.map((report) => ({ ...report, problems: report.problems.length })),
    problems,
    missing: missingNumbers(listed, others.absent),
    expiring: files.filter((file) => file.endsWith(TOMBSTONE_SUFFIX)),
    leftovers: leftoversIn(captureDirectory),
  };
}

/**
 * Null for a segment that retention removed during the check. A segment that was sealed or that `forget`
 * replaced meanwhile is checked again, because its manifest belonged to another file.
 */
function reportOn(
  segment: SegmentFile,
  key: EncryptionKey | null,
  others: CheckedSegments,
): SegmentReport | null {
  for (let attempt = 1; ; attempt += 1) {
    const seal = sealOf(segment);
    const check = new SegmentCheck({ ...segment, sealed: seal !== null }, key, others);
    const report = orGone(() => check.run());
    if (attempt === ATTEMPTS || sealOf(segment) === seal) return report;
  }
}

/** Identifies one sealing; null while unsealed. */
function sealOf({ path }: SegmentFile): string | null {
  const status = statSync(`${path}${MANIFEST_SUFFIX}`, { throwIfNoEntry: false });
  return status === undefined ? null : `${status.ino} ${status.mtimeMs}`;
}

/** Manifests without a segment. Expiry removes the manifest first, so this was not intended. */
function missingFrom(directory: string, files: readonly string[]): CaptureProblem[] {
  return files
    .filter((file) => file.endsWith(MANIFEST_SUFFIX))
    .map((file) => file.slice(0, -MANIFEST_SUFFIX.length))
    .map((file) => ({ file, path: join(directory, file) }))
    .filter(({ path }) => !existsSync(path) && existsSync(`${path}${MANIFEST_SUFFIX}`))
    .map(({ file }) => ({ file, kind: 'missing', what: 'its manifest exists but the segment is missing' }));
}

/**
 * What the account files of recordings count as recorded and no segment holds, and segments whose log is gone. Damaged
 * segments are left out: their check reports them.
 */
function goneFrom(directory: string): CaptureProblem[] {
  const read = new CaptureLives();
  read.addDirectory(directory);
  for (const segment of segmentsOf(directory)) {
    try {
      orGone(() => read.addSegment(segment, () => undefined));
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      read.absent.addFile(`${segment.file}${DAMAGED_SUFFIX}`);
    }
  }
  const lives = read.all();
  const counted = new Set(accountsIn(directory).map(({ life }) => life));
  const missing = lives.flatMap(({ id, gaps }) => {
    const exchanges = gaps
      .filter(({ kind }) => kind === 'missing')
      .reduce((sum, gap) => sum + (gap.exchanges ?? 0), 0);
    if (exchanges === 0 || !counted.has(id)) return [];
    const what = `${exchanges} exchanges that it counts as recorded are in no segment here`;
    return [{ file: accountFileOf(id), kind: 'missing' as const, what }];
  });
  const what = 'it is not sealed, and its write-ahead log is not here: its last exchanges were in that';
  return [...missing, ...read.withoutLog(lives).map((file) => ({ file, kind: 'log' as const, what }))];
}

const SET_ASIDE = { kind: 'set_aside', what: 'it failed its check at sealing and is not read' } as const;

type ProblemKind =
  | 'manifest'
  | 'hash'
  | 'database'
  | 'name'
  | 'block'
  | 'payload'
  | 'reference'
  | 'roll_ups'
  | 'counts'
  | 'missing'
  | 'log'
  | 'set_aside';

interface CaptureProblem {
  readonly file: string;
  readonly kind: ProblemKind;
  readonly what: string;
}

/** The result of checking one segment. */
interface SegmentReport {
  readonly file: string;
  readonly sealed: boolean;
  readonly exchanges: number;
  readonly blocks: number;
  readonly encrypted: boolean;
  /** Whether every block was unpacked. Without the key of an encrypted one only checksums are checked. */
  readonly decoded: boolean;
  readonly problems: readonly CaptureProblem[];
}

/** Length of each slot; null if its block was not unpacked. */
type SlotLengths = Map<number, number | null>;

/** Facts across the checked segments of a capture, to find copies and missing segments. */
interface CheckedSegments {
  readonly identities: SegmentIdentities;
  readonly absent: AbsentSegments;
}

/** Most problems reported per segment; one more line says how many were left out. */
const PROBLEMS_MAX = 50;

/** Columns that refer to a row of another table. */
const REFERENCES = [
  ['outcome', 'outcome'],
  ['protocol', 'name'],
  ['method', 'name'],
  ['route', 'name'],
  ['model', 'name'],
  ['request_body', 'body'],
  ['response_body', 'body'],
] as const;

/**
 * Checks a segment against its manifest and itself in one read transaction. So it sees one state of a segment
 * that is being written, whose log grows meanwhile.
 */
export class SegmentCheck {
  readonly #segment: SegmentFile;
  readonly #key: EncryptionKey | null;
  readonly #others: CheckedSegments;
  readonly #problems: CaptureProblem[] = [];
  #unsaid = 0;
  #exchanges = 0;
  #blocks = 0;
  #encrypted = false;

  /**
   * @param key null if there is none
   * @param others segments of the capture that were checked before
   */
  constructor(segment: SegmentFile, key: EncryptionKey | null, others: CheckedSegments) {
    this.#segment = segment;
    this.#key = key;
    this.#others = others;
  }

  /**
   * @throws AppError CAPTURE_ENCRYPTED for a wrong key, CAPTURE_NOT_FOUND when it was removed, SCHEMA_TOO_NEW
   */
  run(): SegmentReport {
    const { file, path, sealed } = this.#segment;
    const manifest = sealed ? this.#manifest() : null;
    this.#guard('database', () => this.#checkDatabase(manifest));
    if (!existsSync(path)) {
      throw new AppError('CAPTURE_NOT_FOUND', `segment ${file} was removed while it was checked`);
    }
    if (this.#unsaid > 0) {
      this.#problems.push({ file, kind: 'block', what: `${this.#unsaid} more problems in this segment` });
    }
    return {
      file,
      sealed,
      exchanges: this.#exchanges,
      blocks: this.#blocks,
      encrypted: this.#encrypted,
      decoded: !this.#encrypted || this.#key !== null,
      problems: this.#problems,
    };
  }

  /** The manifest, compared with the whole file; null if unreadable. */
  #manifest(): Manifest | null {
    const { file, path } = this.#segment;
    return this.#guard('manifest', () => {
      if (!isIntact(readManifestText(`${path}${MANIFEST_SUFFIX}`))) {
        this.#found('manifest', `${file}${MANIFEST_SUFFIX} was changed after it was written`);
      }
      const manifest = readManifest(path);
      const { size } = statSync(path);
      if (size !== manifest.fileBytes) {
        this.#found('hash', `it has ${size} bytes, and was sealed with ${manifest.fileBytes}`);
      } else if (sha256Of(path) !== manifest.sha256) {
        this.#found('hash', 'its SHA-256 differs from the one in its manifest');
      }
      return manifest;
    });
  }

  #checkDatabase(manifest: Manifest | null): void {
    const { file, path, sealed } = this.#segment;
    closing(openForReading(path), (connection) => {
      if (!sealed && isUnborn(connection)) return;
      connection.exec('BEGIN');
      assertReadable(connection, file);
      this.#checkStructure(connection);
      const meta = readMeta(connection, file);
      this.#guard('name', () => this.#compare(connection, meta));
      const { encryption } = meta;
      this.#encrypted = encryption !== null;
      const cipher = this.#key === null ? null : cipherFor(encryption, this.#key, file);
      const slots = this.#guard('block', () => this.#checkBlocks(connection, cipher));
      if (slots !== null) this.#guard('payload', () => this.#checkBodies(connection, slots));
      this.#guard('reference', () => this.#checkReferences(connection));
      this.#guard('roll_ups', () => this.#checkRollUps(connection));
      this.#guard('counts', () => this.#checkCounts(connection, manifest));
    });
  }

  /** @throws AppError CAPTURE_DAMAGED when its name is another segment's, or the same was checked before */
  #compare(connection: Connection, meta: SegmentMeta): void {
    const { identities, absent } = this.#others;
    for (const expiry of connection.prepare<[], ExpirySummary>(SELECT_EXPIRIES).all()) absent.expired(expiry);
    const exchanges = countOf(connection, 'exchange');
    identities.assertNew(this.#segment, { meta, exchanges, span: spanOf(connection) });
  }

  /** The hash covers a sealed segment. An open one only has its own structure to check. */
  #checkStructure(connection: Connection): void {
    const check = this.#segment.sealed ? 'quick_check' : 'integrity_check';
    const rows = connection.pragma(`${check}(10)`) as Record<string, string>[];
    for (const text of rows.flatMap((row) => Object.values(row))) {
      if (text !== 'ok') this.#found('database', text);
    }
  }

  /** Unpacks every block and its heads. Bodies are checked afterwards by their slots. */
  #checkBlocks(connection: Connection, cipher: BlockCipher | null): SlotLengths {
    const lengths: SlotLengths = new Map();
    const selectHeads = 'SELECT heads_slot FROM exchange WHERE heads_slot IS NOT NULL ORDER BY heads_slot';
    const heads = new Set(connection.prepare<[], number>(selectHeads).pluck().all());
    for (const row of blocksIn(connection, 'block')) {
      this.#blocks += 1;
      const slots = this.#guard('block', () => this.#slotsOf(row, cipher));
      // A damaged row may claim any number of slots.
      for (let at = 0; at < Math.min(row.slots, LIMITS.blockSlots); at += 1) {
        const bytes = slots?.[at];
        lengths.set(row.firstSlot + at, bytes?.byteLength ?? null);
        const isHeads = heads.delete(row.firstSlot + at);
        if (isHeads && bytes !== undefined) {
          this.#guard('payload', () => decodeHeads(bytes, this.#segment.file));
        }
      }
    }
    for (const slot of heads) {
      this.#found('payload', `the heads of an exchange, slot ${slot}, are in no block`);
    }
    return lengths;
  }

  /** Null if only the checksum can be checked. */
  #slotsOf(row: BlockRow, cipher: BlockCipher | null): readonly Uint8Array[] | null {
    if (!this.#encrypted || cipher !== null) return decodeBlock(row, this.#segment.file, cipher);
    assertChecksum(row, this.#segment.file);
    return null;
  }

  #checkBodies(connection: Connection, slots: SlotLengths): void {
    const bodies = connection.prepare<[], { id: number; slot: number | null; kept: number | null }>(
      'SELECT id, slot, kept_bytes AS kept FROM body',
    );
    for (const { id, slot, kept } of bodies.iterate()) {
      const length = slot === null ? 0 : slots.get(slot);
      if (length === undefined) this.#found('payload', `body ${id}, slot ${slot}, is in no block`);
      else if (length !== null && length !== (kept ?? 0)) {
        this.#found('payload', `body ${id} has ${length} bytes but its row says ${kept ?? 0}`);
      }
    }
  }

  #checkReferences(connection: Connection): void {
    for (const [column, table] of REFERENCES) {
      const missing = countOf(
        connection,
        `exchange WHERE ${column} IS NOT NULL AND ${column} NOT IN (SELECT id FROM ${table})`,
      );
      if (missing > 0) this.#found('reference', `${missing} exchanges name a missing ${column}`);
    }
  }

  #checkRollUps(connection: Connection): void {
    for (const [table, stored, summed] of [
      ['second', 'SELECT * FROM second', SELECT_SECOND_SUMS],
      ['hour', `SELECT ${HOUR_COLUMNS} FROM hour`, SELECT_HOUR_SUMS],
    ] as const) {
      const wrong =
        countOf(connection, `(SELECT * FROM (${stored}) EXCEPT SELECT * FROM (${summed}))`) +
        countOf(connection, `(SELECT * FROM (${summed}) EXCEPT SELECT * FROM (${stored}))`);
      if (wrong > 0) this.#found('roll_ups', `the sums in table ${table} differ from those of the exchanges`);
    }
  }

  #checkCounts(connection: Connection, manifest: Manifest | null): void {
    this.#exchanges = countOf(connection, 'exchange');
    if (manifest === null) return;
    const facts = factsOf(connection, this.#segment.file);
    for (const [name, value] of Object.entries(facts)) {
      const stated = manifest[name as keyof typeof facts];
      if (JSON.stringify(stated) === JSON.stringify(value)) continue;
      this.#found(
        'counts',
        `${name} is ${JSON.stringify(value)} but its manifest says ${JSON.stringify(stated)}`,
      );
    }
  }

  /** The result of `work`; null if it reported damage, which is recorded as a problem of that kind. */
  #guard<T>(kind: ProblemKind, work: () => T): T | null {
    try {
      return work();
    } catch (thrown) {
      const error = segmentError(this.#segment.file, thrown);
      const code = error instanceof AppError ? error.code : null;
      // An unknown version or key is no damage unless the file changed after sealing.
      const spoilt = this.#problems.some((problem) => problem.kind === 'hash');
      if (code === 'CAPTURE_DAMAGED' || (code !== null && spoilt)) this.#found(kind, reasonOf(thrown));
      // A file that no longer exists is no damage; `run` reports it.
      else if (code !== null || existsSync(this.#segment.path)) throw error;
      return null;
    }
  }

  #found(kind: ProblemKind, what: string): void {
    if (this.#problems.length < PROBLEMS_MAX) this.#problems.push({ file: this.#segment.file, kind, what });
    else this.#unsaid += 1;
  }
}

function countOf(connection: Connection, from: string): number {
  return connection.prepare<[], number>(`SELECT count(*) FROM ${from}`).pluck().get() ?? 0;
}

/** Consecutive segment numbers of a recorder that are missing without a recorded cause. */
interface MissingSegments {
  readonly recorder: string;
  readonly from: number;
  readonly to: number;
}

/** Files that show that a segment exists, or why it does not. */
const TRACES = ['', MANIFEST_SUFFIX, TOMBSTONE_SUFFIX, DAMAGED_SUFFIX, HANDED_SUFFIX];

/** @param files all files in the directory when the check began */
function missingNumbers(files: readonly string[], absent: AbsentSegments): MissingSegments[] {
  const names = files.flatMap((file) =>
    TRACES.filter((trace) => file.endsWith(trace)).flatMap(
      (trace) => parseSegmentName(file.slice(0, file.length - trace.length)) ?? [],
    ),
  );
  const missing: MissingSegments[] = [];
  for (const [recorder, ofLife] of Map.groupBy(names, (name) => name.recorder)) {
    const present = [...new Set(ofLife.map(({ sequence }) => sequence))].sort((a, b) => a - b);
    for (const { kind, sequence } of absent.holesIn(recorder, present)) {
      if (kind !== 'missing') continue;
      const last = missing.at(-1);
      const from = last?.recorder === recorder && last.to === sequence - 1 ? last.from : sequence;
      if (from !== sequence) missing.pop();
      missing.push({ recorder, from, to: sequence });
    }
  }
  return missing;
}
