import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { LifeAccounts } from './accounts.ts';
import { isMissing as isAbsent, type SegmentFile, sizeOf } from './directory.ts';
import { AbsentSegments, isMissing, RecorderLife, type SegmentSummary, summaryOf } from './lives.ts';
import { type SegmentReader, withSegment } from './segment-reader.ts';

/**
 * The lives of the recorders in captures: their segments, their accounts, and what is known of segments that are not
 * here.
 */
export class CaptureLives {
  readonly segments: SegmentSummary[] = [];
  /** Segments that are not sealed, and that are without the write-ahead log which held their last commits. */
  readonly #withoutLog: SegmentFile[] = [];
  readonly absent = new AbsentSegments();
  readonly accounts: LifeAccounts;

  /** @param recorders only these; empty for all */
  constructor(recorders: ReadonlySet<string> = new Set()) {
    this.accounts = new LifeAccounts(recorders, (life) => this.absent.mayHaveExpired(life));
  }

  /** Call it before the segments are read: an account must not be newer than the segments that it is held against. */
  addDirectory(directory: string): void {
    this.accounts.addDirectory(directory);
    for (const file of readdirSync(directory)) this.absent.addFile(file);
  }

  /**
   * Reads a segment. One that has no tables yet is only looked at.
   * @throws AppError CAPTURE_DAMAGED, CAPTURE_NOT_FOUND or SCHEMA_TOO_NEW, naming the segment
   */
  addSegment(segment: SegmentFile, also: (reader: SegmentReader, summary: SegmentSummary) => void): void {
    // Before it is opened, because a reader makes an empty log.
    const lacksLog = !segment.sealed && lacksItsLog(segment.path);
    const summary = withSegment(segment, (reader) => {
      const read = summaryOf(reader);
      also(reader, read);
      return read;
    });
    if (lacksLog && (summary?.meta.closedUs ?? null) === null) this.#withoutLog.push(segment);
    if (summary === null) return;
    this.accounts.addSegment(summary.meta);
    this.segments.push(summary);
    for (const expiry of summary.expiries) this.absent.expired(expiry);
  }

  /** In no order. */
  all(): RecorderLife[] {
    const byRecorder = Map.groupBy(this.segments, ({ meta }) => meta.recorder.id);
    const ids = new Set([
      ...byRecorder.keys(),
      ...this.accounts.withoutSegments,
      ...this.#withoutLog.map(({ recorder }) => recorder),
    ]);
    return [...ids].map((id) => {
      const isWithoutLog = this.#withoutLog.some(({ recorder }) => recorder === id);
      const facts = { account: this.accounts.accountOf(id), end: this.accounts.endOf(id), isWithoutLog };
      return new RecorderLife(id, byRecorder.get(id) ?? [], facts, this.absent);
    });
  }

  /** Segments whose last commits may have been in a log that is gone. */
  withoutLog(lives: readonly RecorderLife[]): string[] {
    return this.#withoutLog.flatMap(({ file, recorder }) =>
      lives.some((life) => life.id === recorder && life.gaps.some(isMissing)) ? [file] : [],
    );
  }
}

/** Where the header of a database says how it is read, and the value for a write-ahead log. */
const READ_VERSION = { offset: 19, wal: 2 };

/**
 * Whether a database is written with a write-ahead log, and the log is not beside it or is empty. Its writer makes the
 * log as it opens the file, and removes it as it closes it.
 */
export function lacksItsLog(path: string): boolean {
  if (sizeOf(`${path}-wal`) > 0) return false;
  const header = Buffer.alloc(READ_VERSION.offset + 1);
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
  try {
    readSync(descriptor, header, 0, header.length, 0);
  } finally {
    closeSync(descriptor);
  }
  return header[READ_VERSION.offset] === READ_VERSION.wal;
}
