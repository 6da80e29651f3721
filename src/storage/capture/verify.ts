import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, reasonOf } from '../../core/errors.ts';
import { assertChecksum, type BlockRow, decodeBlock, decodeHeads } from './blocks.ts';
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
import { assertReadable, isUnborn, readMeta, type SegmentMeta } from './schema.ts';
import { factsOf, isIntact, type Manifest, readManifest, readManifestText, sha256Of } from './sealing.ts';
import { SegmentIdentities, type SegmentIdentity } from './segment-reader.ts';
import { type Connection, openForReading, segmentError } from './sqlite.ts';

/** How often a segment is checked that is replaced each time. */
const ATTEMPTS = 3;

/** What `verify` says of a capture. */
export interface VerifyDocument {
  readonly schemaVersion: 1;
  readonly directory: string;
  /** No damage was found. */
  readonly ok: boolean;
  readonly exchanges: number;
  readonly segments: readonly (Omit<SegmentReport, 'problems'> & { readonly problems: number })[];
  readonly problems: readonly CaptureProblem[];
  /**
   * Segments that are not there and nothing here says why. No damage: whoever takes what was handed over, or puts
   * captures together in part, leaves them behind. Of those after a recorder's last nobody knows.
   */
  readonly missing: readonly MissingSegments[];
  /** Segments that retention is taking away, or was when its recorder died. */
  readonly expiring: readonly string[];
  /** What an interrupted `forget` left behind; the next one removes it, or the next start of a recorder. */
  readonly leftovers: readonly string[];
}

interface VerifyOptions {
  /** Null when nobody named one: then of encrypted blocks only the checksum is looked at. */
  readonly encryptionKey: EncryptionKey | null;
  /** Told before each segment is read. */
  readonly onSegment: (file: string, index: number, count: number) => void;
}

/**
 * Reads a capture to its last byte and holds it against its manifests and against itself. Nothing is changed.
 * @param captureDirectory as `resolveCaptureDirectory(…, 'read')` gave it
 * @throws AppError CAPTURE_ENCRYPTED for a wrong key, SCHEMA_TOO_NEW
 */
export function verifyCapture(captureDirectory: string, options: VerifyOptions): VerifyDocument {
  // Before all else: what a recorder makes, and takes away, while we read is missed by nobody.
  const listed = readdirSync(captureDirectory);
  const segments = segmentsOf(captureDirectory);
  const reports: SegmentReport[] = [];
  const checked = new CheckedSegments();
  for (const [index, segment] of segments.entries()) {
    options.onSegment(segment.file, index, segments.length);
    const report = reportOn(segment, options.encryptionKey, checked);
    if (report !== null) reports.push(report);
  }
  const files = readdirSync(captureDirectory).sort();
  const problems: CaptureProblem[] = [
    ...reports.flatMap((report) => report.problems),
    ...missingFrom(captureDirectory, files),
    ...files.filter((file) => file.endsWith(DAMAGED_SUFFIX)).map(setAside),
  ];
  return {
    schemaVersion: 1,
    directory: captureDirectory,
    ok: problems.length === 0,
    exchanges: reports.reduce((sum, { exchanges }) => sum + exchanges, 0),
    segments: reports.map((report) => ({ ...report, problems: report.problems.length })),
    problems,
    missing: checked.missing(listed),
    expiring: files.filter((file) => file.endsWith(TOMBSTONE_SUFFIX)),
    leftovers: leftoversIn(captureDirectory),
  };
}

/**
 * Null for a segment that retention took while it was being checked. One that a `forget` put anew in its place, or
 * that was sealed, meanwhile is looked at again: its manifest was that of another file.
 */
function reportOn(
  segment: SegmentFile,
  key: EncryptionKey | null,
  checked: CheckedSegments,
): SegmentReport | null {
  for (let attempt = 1; ; attempt += 1) {
    const seal = sealOf(segment);
    const report = reportOnce(new SegmentCheck({ ...segment, sealed: seal !== null }, key, checked));
    if (attempt === ATTEMPTS || sealOf(segment) === seal) return report;
  }
}

function reportOnce(check: SegmentCheck): SegmentReport | null {
  try {
    return check.run();
  } catch (error) {
    if (error instanceof AppError && error.code === 'CAPTURE_NOT_FOUND') return null;
    throw error;
  }
}

/** Tells one seal from the next; null while there is none. */
function sealOf({ path }: SegmentFile): string | null {
  const status = statSync(`${path}${MANIFEST_SUFFIX}`, { throwIfNoEntry: false });
  return status === undefined ? null : `${status.ino} ${status.mtimeMs}`;
}

/** Segments whose manifest is there and who are not: expiry takes the manifest first, so nobody meant it. */
function missingFrom(directory: string, files: readonly string[]): CaptureProblem[] {
  return files
    .filter((file) => file.endsWith(MANIFEST_SUFFIX))
    .map((file) => file.slice(0, -MANIFEST_SUFFIX.length))
    .filter(
      (file) =>
        !existsSync(join(directory, file)) && existsSync(join(directory, `${file}${MANIFEST_SUFFIX}`)),
    )
    .map((file) => ({ file, kind: 'missing', what: 'its manifest is there, and it is not' }));
}

function setAside(file: string): CaptureProblem {
  return {
    file,
    kind: 'set_aside',
    what: 'it did not pass its check when it was to be sealed, and is not read',
  };
}

/** What can be wrong with a capture. */
const PROBLEM_KINDS = [
  'manifest',
  'hash',
  'database',
  'name',
  'block',
  'payload',
  'reference',
  'roll_ups',
  'counts',
  'missing',
  'set_aside',
] as const;
type ProblemKind = (typeof PROBLEM_KINDS)[number];

interface CaptureProblem {
  readonly file: string;
  readonly kind: ProblemKind;
  readonly what: string;
}

/** What a segment was found to be. */
interface SegmentReport {
  readonly file: string;
  readonly sealed: boolean;
  readonly exchanges: number;
  readonly blocks: number;
  readonly encrypted: boolean;
  /** Whether every block was unpacked; without the key of an encrypted one only checksums are held against it. */
  readonly decoded: boolean;
  readonly problems: readonly CaptureProblem[];
}

/** Which slots the blocks of a segment hold. */
interface SlotLengths {
  /** Length of each slot. */
  readonly known: Map<number, number>;
  /** Blocks that could not be unpacked. */
  readonly unknown: Pick<BlockRow, 'firstSlot' | 'slots'>[];
}

/** A segment that is spoilt through and through is told in so many lines; the last says how many more. */
const PROBLEMS_MAX = 50;

const SELECT_BLOCKS = `SELECT first_slot AS firstSlot, slots, raw_bytes AS rawBytes, codec, crc32, payload
FROM block ORDER BY first_slot`;

/** Columns that name a row of another table. */
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
 * Holds a segment against its manifest and against itself. One read transaction: of a segment that is being
 * written it sees one state, and its log grows while that is read.
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
   * @param key null when there is none
   * @param others those of the capture that were checked before
   */
  constructor(segment: SegmentFile, key: EncryptionKey | null, others: CheckedSegments) {
    this.#segment = segment;
    this.#key = key;
    this.#others = others;
  }

  /** @throws AppError CAPTURE_ENCRYPTED for a wrong key, CAPTURE_NOT_FOUND when it was taken away, SCHEMA_TOO_NEW. */
  run(): SegmentReport {
    const { file, path, sealed } = this.#segment;
    const manifest = sealed ? this.#manifest() : null;
    this.#guard('database', () => this.#checkDatabase(manifest));
    if (!existsSync(path)) {
      throw new AppError('CAPTURE_NOT_FOUND', `segment ${file} was taken away while it was checked`);
    }
    if (this.#unsaid > 0) {
      this.#problems.push({ file, kind: 'block', what: `${this.#unsaid} more problems of this segment` });
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

  /** The manifest, held against the file as a whole; null when it cannot be read. */
  #manifest(): Manifest | null {
    const { file, path } = this.#segment;
    return this.#guard('manifest', () => {
      if (!isIntact(readManifestText(`${path}${MANIFEST_SUFFIX}`))) {
        this.#found('manifest', `${file}${MANIFEST_SUFFIX} is not what was written`);
      }
      const manifest = readManifest(path);
      const { size } = statSync(path);
      if (size !== manifest.fileBytes) {
        this.#found('hash', `it has ${size} bytes, and was sealed with ${manifest.fileBytes}`);
      } else if (sha256Of(path) !== manifest.sha256) {
        this.#found('hash', 'its SHA-256 is not the one it was sealed with');
      }
      return manifest;
    });
  }

  #checkDatabase(manifest: Manifest | null): void {
    const { file, path, sealed } = this.#segment;
    const connection = openForReading(path);
    try {
      if (!sealed && isUnborn(connection)) return;
      connection.exec('BEGIN');
      assertReadable(connection, file);
      this.#checkStructure(connection);
      const meta = readMeta(connection, file);
      this.#guard('name', () => this.#others.add(this.#segment, meta, connection));
      const { encryption } = meta;
      this.#encrypted = encryption !== null;
      const cipher = this.#key === null ? null : cipherFor(encryption, this.#key, file);
      const slots = this.#guard('block', () => this.#checkBlocks(connection, cipher));
      if (slots !== null) this.#guard('payload', () => this.#checkBodies(connection, slots));
      this.#guard('reference', () => this.#checkReferences(connection));
      this.#guard('roll_ups', () => this.#checkRollUps(connection));
      this.#guard('counts', () => this.#checkCounts(connection, manifest));
    } finally {
      connection.close();
    }
  }

  /** Of a sealed one the hash says more; of an open one only its own structure can be asked. */
  #checkStructure(connection: Connection): void {
    const check = this.#segment.sealed ? 'quick_check' : 'integrity_check';
    const rows = connection.pragma(`${check}(10)`) as Record<string, string>[];
    for (const text of rows.flatMap((row) => Object.values(row))) {
      if (text !== 'ok') this.#found('database', text);
    }
  }

  /** Unpacks every block and the heads in it; where a body lies in it comes after. */
  #checkBlocks(connection: Connection, cipher: BlockCipher | null): SlotLengths {
    const lengths: SlotLengths = { known: new Map(), unknown: [] };
    const heads = connection
      .prepare<[], number>('SELECT heads_slot FROM exchange WHERE heads_slot IS NOT NULL ORDER BY heads_slot')
      .pluck()
      .iterate();
    try {
      let head = heads.next();
      for (const row of connection.prepare<[], BlockRow>(SELECT_BLOCKS).iterate()) {
        this.#blocks += 1;
        const slots = this.#guard('block', () => this.#slotsOf(row, cipher));
        if (slots === null) lengths.unknown.push({ firstSlot: row.firstSlot, slots: row.slots });
        for (const [at, { byteLength }] of (slots ?? []).entries()) {
          lengths.known.set(row.firstSlot + at, byteLength);
        }
        for (; !head.done && head.value < row.firstSlot + row.slots; head = heads.next()) {
          if (head.value < row.firstSlot) this.#headsMissing(head.value);
          else this.#checkHeads(slots?.[head.value - row.firstSlot]);
        }
      }
      for (; !head.done; head = heads.next()) this.#headsMissing(head.value);
      return lengths;
    } finally {
      // One that is not at its end keeps its connection from being closed.
      heads.return?.();
    }
  }

  #headsMissing(slot: number): void {
    this.#found('payload', `the heads of an exchange, slot ${slot}, are in no block`);
  }

  /** Null where nothing but the checksum can be asked. */
  #slotsOf(row: BlockRow, cipher: BlockCipher | null): readonly Uint8Array[] | null {
    if (!this.#encrypted || cipher !== null) return decodeBlock(row, this.#segment.file, cipher);
    assertChecksum(row, this.#segment.file);
    return null;
  }

  /** Of a block that could not be unpacked there is nothing to look at. */
  #checkHeads(slot: Uint8Array | undefined): void {
    if (slot !== undefined) this.#guard('payload', () => decodeHeads(slot, this.#segment.file));
  }

  #checkBodies(connection: Connection, slots: SlotLengths): void {
    const bodies = connection.prepare<[], { id: number; slot: number | null; kept: number | null }>(
      'SELECT id, slot, kept_bytes AS kept FROM body',
    );
    for (const { id, slot, kept } of bodies.iterate()) {
      const length = slot === null ? 0 : lengthOf(slot, slots);
      if (length === undefined) this.#found('payload', `body ${id}, slot ${slot}, is in no block`);
      else if (length !== null && length !== (kept ?? 0)) {
        this.#found('payload', `body ${id} has ${length} bytes where its row says ${kept ?? 0}`);
      }
    }
  }

  #checkReferences(connection: Connection): void {
    for (const [column, table] of REFERENCES) {
      const missing = countOf(
        connection,
        `exchange WHERE ${column} IS NOT NULL AND ${column} NOT IN (SELECT id FROM ${table})`,
      );
      if (missing > 0) this.#found('reference', `${missing} exchanges name a ${column} that is not there`);
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
      if (wrong > 0) this.#found('roll_ups', `the sums of table ${table} are not those of the exchanges`);
    }
  }

  #checkCounts(connection: Connection, manifest: Manifest | null): void {
    this.#exchanges = countOf(connection, 'exchange');
    if (manifest === null) return;
    const { file } = this.#segment;
    const facts = { file, ...factsOf(connection, file) };
    for (const [name, value] of Object.entries(facts)) {
      const stated = manifest[name as keyof typeof facts];
      if (JSON.stringify(stated) === JSON.stringify(value)) continue;
      this.#found(
        'counts',
        `${name} is ${JSON.stringify(value)}, and its manifest says ${JSON.stringify(stated)}`,
      );
    }
  }

  /** What `work` gives; null when it found the segment wanting, which is a problem of that kind. */
  #guard<T>(kind: ProblemKind, work: () => T): T | null {
    try {
      return work();
    } catch (thrown) {
      const error = segmentError(this.#segment.file, thrown);
      const code = error instanceof AppError ? error.code : null;
      // A version or a key that are not ours are no damage, unless the file is not what was sealed.
      const spoilt = this.#problems.some((problem) => problem.kind === 'hash');
      if (code === 'CAPTURE_DAMAGED' || (code !== null && spoilt)) this.#found(kind, reasonOf(thrown));
      // What is not there any more is no damage; `run` says so.
      else if (code !== null || existsSync(this.#segment.path)) throw error;
      return null;
    }
  }

  #found(kind: ProblemKind, what: string): void {
    if (this.#problems.length < PROBLEMS_MAX) this.#problems.push({ file: this.#segment.file, kind, what });
    else this.#unsaid += 1;
  }
}

/** Null where its block could not be unpacked, undefined where no block holds it. */
function lengthOf(slot: number, { known, unknown }: SlotLengths): number | null | undefined {
  const holds = (row: SlotLengths['unknown'][number]) =>
    slot >= row.firstSlot && slot < row.firstSlot + row.slots;
  return known.get(slot) ?? (unknown.some(holds) ? null : undefined);
}

function countOf(connection: Connection, from: string): number {
  return connection.prepare<[], number>(`SELECT count(*) FROM ${from}`).pluck().get() ?? 0;
}

/** Numbers of a recorder in a row that are not there, and nothing in the capture says why. */
interface MissingSegments {
  readonly recorder: string;
  readonly from: number;
  readonly to: number;
}

/** Files that stand for a segment: it is there, or why it is not is told otherwise. */
const TRACES = ['', MANIFEST_SUFFIX, TOMBSTONE_SUFFIX, DAMAGED_SUFFIX, HANDED_SUFFIX];

/** What the segments of a capture that were checked say of each other, and of those that are not there. */
class CheckedSegments {
  readonly #identities = new SegmentIdentities();
  readonly #absent = new AbsentSegments();

  /** @throws AppError CAPTURE_DAMAGED when it is not the segment that its name says, or one that was there before. */
  add(segment: SegmentFile, meta: SegmentMeta, connection: Connection): void {
    for (const expiry of connection.prepare<[], ExpirySummary>(SELECT_EXPIRIES).all()) {
      this.#absent.expired(expiry);
    }
    this.#identities.assertNew(segment, { meta, ...arrivalsIn(connection) });
  }

  /** @param files all that the directory held when the check began */
  missing(files: readonly string[]): MissingSegments[] {
    const missing: MissingSegments[] = [];
    for (const [recorder, numbers] of numbersIn(files)) {
      const there = [...numbers].sort((a, b) => a - b);
      let expected = 1;
      for (const number of there) {
        for (; expected < number; expected += 1) {
          const { kind } = this.#absent.whyOf(recorder, expected, number === there[0]);
          if (kind === 'missing') addTo(missing, recorder, expected);
        }
        expected = number + 1;
      }
    }
    return missing;
  }
}

function numbersIn(files: readonly string[]): Map<string, Set<number>> {
  const recorders = new Map<string, Set<number>>();
  for (const file of files) {
    const suffix = TRACES.findLast((trace) => file.endsWith(trace)) ?? '';
    const name = parseSegmentName(file.slice(0, file.length - suffix.length));
    if (name === null) continue;
    const numbers = recorders.get(name.recorder) ?? new Set();
    recorders.set(name.recorder, numbers.add(name.sequence));
  }
  return recorders;
}

function addTo(missing: MissingSegments[], recorder: string, number: number): void {
  const last = missing.at(-1);
  if (last?.recorder === recorder && last.to === number - 1) missing.splice(-1, 1, { ...last, to: number });
  else missing.push({ recorder, from: number, to: number });
}

/** What arrived in a segment, read from its rows. */
function arrivalsIn(connection: Connection): Pick<SegmentIdentity, 'span' | 'exchanges'> {
  const found = connection
    .prepare<[], { exchanges: number; firstUs: number | null; lastUs: number | null }>(
      'SELECT count(*) AS exchanges, min(arrival_us) AS firstUs, max(arrival_us) AS lastUs FROM exchange',
    )
    .get();
  const { exchanges = 0, firstUs = null, lastUs = null } = found ?? {};
  return { exchanges, span: firstUs === null || lastUs === null ? null : { firstUs, lastUs } };
}
