import { existsSync, statSync } from 'node:fs';
import { AppError, reasonOf } from '../core/errors.ts';
import { assertChecksum, type BlockRow, decodeBlock } from './block.ts';
import type { BlockCipher } from './block-cipher.ts';
import type { SegmentFile } from './capture-directory.ts';
import type { CheckedSegments } from './checked-segments.ts';
import { type Connection, openForReading, segmentError } from './database.ts';
import { cipherFor, type EncryptionKey } from './encryption-key.ts';
import { isIntact, type Manifest, readManifest, readManifestText } from './manifest.ts';
import { decodeHeads } from './message-codec.ts';
import { HOUR_COLUMNS, SELECT_HOUR_SUMS, SELECT_SECOND_SUMS } from './roll-up-queries.ts';
import { assertReadable, isUnborn } from './schema.ts';
import { factsOf, sha256Of } from './sealing.ts';
import { readMeta } from './segment-meta.ts';
import { MANIFEST_SUFFIX } from './segment-name.ts';

/** What can be wrong with a capture. */
export const PROBLEM_KINDS = [
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
export type ProblemKind = (typeof PROBLEM_KINDS)[number];

export interface CaptureProblem {
  readonly file: string;
  readonly kind: ProblemKind;
  readonly what: string;
}

/** What a segment was found to be. */
export interface SegmentReport {
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
