import { rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { LifeAccount } from '../core/account.ts';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { segmentsOf } from './capture-directory.ts';
import type { CaptureWriterOptions } from './capture-writer.ts';
import type { DiskQuota, OpenSegment, Refusal } from './disk-quota.ts';
import type { SegmentEncryption } from './encryption-key.ts';
import { keptBytesOf, type PackedExchange } from './exchange-inserter.ts';
import type { Expiry } from './expiry.ts';
import { FORMAT_VERSION } from './schema.ts';
import type { SegmentMeta } from './segment-meta.ts';
import { formatSegmentName, parseSegmentName, SIDE_SUFFIXES } from './segment-name.ts';
import { SegmentWriter } from './segment-writer.ts';

/** A quota is made of at least so many segments, so that expiring one does not take it all. */
const SEGMENTS_PER_QUOTA = 8;

/** What a row and its index entry take at most, and the pages any transaction and any new file touch. */
const ROW_BYTES = 320;
const TRANSACTION_BYTES = 192 * 1024;
const NEW_SEGMENT_BYTES = 320 * 1024;

/** The write-ahead log is moved into the database at this size. */
const WAL_SOFT_BYTES = 8 * 1024 * 1024;

/** The open segment of a capture and what follows it: when one ends, the next is opened by the next batch. */
export class SegmentRotation {
  readonly #options: CaptureWriterOptions;
  readonly #clock: Clock;
  readonly #segmentBytesMax: number;
  readonly #walSoftBytes: number;
  #segment: SegmentWriter | null = null;
  /** Of the open segment when it was empty, and of those before it without that. */
  #emptyBytes = 0;
  #endedBytes = 0;
  #ended = 0;
  #sequence: number;

  /** @throws AppError OPTION_INVALID for a recorder id that no segment's name can hold. */
  constructor(options: CaptureWriterOptions, clock: Clock) {
    const { id } = options.recorder;
    if (parseSegmentName(formatSegmentName({ hour: 0, recorder: id, sequence: 1 })) === null) {
      throw new AppError('OPTION_INVALID', `${JSON.stringify(id)} cannot be part of a segment's name`, {
        hint: 'A recorder id is 1 to 32 lower-case letters and digits.',
      });
    }
    this.#options = options;
    this.#clock = clock;
    this.#segmentBytesMax = Math.min(LIMITS.segmentBytes, options.maxDiskBytes / SEGMENTS_PER_QUOTA);
    this.#walSoftBytes = Math.min(WAL_SOFT_BYTES, options.maxDiskBytes / 32);
    this.#sequence = lastSequence(options);
  }

  /** Hour of the open segment; null when none is open. */
  get hour(): number | null {
    return this.#segment?.hour ?? null;
  }

  /** What everything written so far takes in its segments, without what every segment takes when it is empty. */
  get contentBytes(): number {
    return this.#endedBytes + (this.#segment === null ? 0 : this.#segment.contentBytes - this.#emptyBytes);
  }

  /**
   * Ends the open segment when its hour is over or it is full. A clock that is set back, or a late arrival,
   * does not reopen an hour: it goes where the writer is.
   */
  turnTo(hour: number): void {
    const segment = this.#segment;
    if (segment === null) return;
    if (hour > segment.hour || bytesOf(segment) >= this.#segmentBytesMax) this.end(false);
  }

  /**
   * The segment to write to, opened if need be.
   * @param baseline the account that the one before it ends with
   */
  segmentFor(hour: number, baseline: LifeAccount | null): SegmentWriter {
    this.#segment ??= this.#open(hour, baseline);
    return this.#segment;
  }

  /**
   * Whether there is room for a batch: once in the log and once in the database, with the rewriting of its last
   * block, and for ending the segment after it. Expires the oldest sealed segments if that helps the quota.
   */
  makeRoom(
    quota: DiskQuota,
    exchanges: readonly PackedExchange[],
    expired: (expiry: Expiry) => void,
  ): Refusal {
    const segment = this.#segment;
    const payload = exchanges.reduce((sum, exchange) => sum + keptBytesOf(exchange), 0);
    const openBlock = segment?.openBlockBytes ?? 0;
    const batch = payload + exchanges.length * ROW_BYTES + openBlock + TRANSACTION_BYTES;
    const end = Math.min(LIMITS.blockBytes, payload + openBlock) + TRANSACTION_BYTES;
    const growth = 2 * (batch + end) + (segment === null ? NEW_SEGMENT_BYTES : 0);
    // What the log holds by now may have to go into the database as well.
    const needed = () => growth + (segment?.walBytes ?? 0);
    if (!quota.leavesReserve(growth)) return 'disk_reserve';
    if (quota.fits(this.#asOpen(), needed())) return null;
    segment?.truncateWal();
    return quota.makeRoom(this.#asOpen(), needed(), expired) ? null : 'quota';
  }

  /** Bounds the log, between batches. One that a reader holds open past the bound stays behind with its segment. */
  checkpoint(): void {
    this.#segment?.checkpoint(this.#walSoftBytes);
    if ((this.#segment?.walBytes ?? 0) > LIMITS.walBytes) this.end(false);
  }

  /** Ends the open segment and hands it over, even when writing its end fails (which is thrown). */
  end(recorderEnded: boolean): void {
    const segment = this.#segment;
    this.#segment = null;
    if (segment === null) return;
    try {
      segment.end(this.#clock.epochUs(), recorderEnded);
      this.#endedBytes += segment.contentBytes - this.#emptyBytes;
    } finally {
      this.#handOver(segment);
    }
  }

  /** Hands the open segment over as it is: the disk failed under it, and recovery says what it is worth. */
  abandon(): void {
    const segment = this.#segment;
    this.#segment = null;
    if (segment !== null) this.#handOver(segment);
  }

  /** The open segment, as the quota takes it. */
  #asOpen(): OpenSegment {
    const segment = this.#segment;
    const file = segment === null ? null : basename(segment.path);
    return { file, bytes: bytesOf(segment), endedBefore: this.#ended };
  }

  #handOver(segment: SegmentWriter): void {
    this.#ended += 1;
    try {
      segment.close();
    } finally {
      this.#options.onFinished(segment.path);
    }
  }

  #open(hour: number, baseline: LifeAccount | null): SegmentWriter {
    const { directory, recorder, durability, encryption, breathe } = this.#options;
    const sequence = this.#sequence + 1;
    const path = join(directory, formatSegmentName({ hour, recorder: recorder.id, sequence }));
    try {
      const key = encryption?.newSegment() ?? null;
      const meta = this.#meta(key?.encryption ?? null);
      const means = { durability, cipher: key?.cipher ?? null, breathe, baseline };
      const segment = new SegmentWriter(path, hour, meta, means);
      // Only now: a number that no segment has would read as a segment that is missing.
      this.#sequence = sequence;
      this.#emptyBytes = segment.contentBytes;
      return segment;
    } catch (error) {
      // Nothing is in it yet, and a disk that fails must not be left with one more file at every attempt.
      for (const suffix of ['', ...SIDE_SUFFIXES]) rmSync(`${path}${suffix}`, { force: true });
      throw error;
    }
  }

  #meta(encryption: SegmentEncryption | null): SegmentMeta {
    const { recorder, origin, policy, hashKeyFingerprint, fleetSize } = this.#options;
    return {
      formatVersion: FORMAT_VERSION,
      recorder,
      origin,
      policy,
      hashKeyFingerprint,
      fleetSize,
      openedUs: this.#clock.epochUs(),
      closedUs: null,
      recoveredUs: null,
      endedUs: null,
      encryption,
      forgotten: null,
      account: null,
      progress: null,
    };
  }
}

/** Numbers go on where an earlier process with the same recorder id stopped, so that no name is used twice. */
function lastSequence({ directory, recorder }: CaptureWriterOptions): number {
  return segmentsOf(directory)
    .filter((segment) => segment.recorder === recorder.id)
    .reduce((last, segment) => Math.max(last, segment.sequence), 0);
}

function bytesOf(segment: SegmentWriter | null): number {
  return segment === null ? 0 : segment.databaseBytes + segment.walBytes;
}
