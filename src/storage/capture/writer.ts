import { rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { LifeAccount, LossReason, Progress, ProtocolUse } from '../../core/accounting.ts';
import type { Clock, ClockAnchor } from '../../core/clock.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import type { Exchange } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { CommittingSink, CommitResult as SinkCommitResult } from '../../core/ports.ts';
import { formatSegmentName, hourOf, parseSegmentName, SIDE_SUFFIXES, segmentsOf } from './directory.ts';
import type { EncryptionKey, SegmentEncryption } from './encryption.ts';
import {
  DiskQuota,
  type Expiry,
  type OpenSegment,
  type Refusal,
  Retention,
  SegmentExpiry,
} from './retention.ts';
import { type CaptureOrigin, FORMAT_VERSION, type RecorderIdentity, type SegmentMeta } from './schema.ts';
import {
  keptBytesOf,
  type PackedExchange,
  packExchange,
  SegmentWriter,
  SideRecords,
} from './segment-writer.ts';
import { type Durability, lossReasonOf } from './sqlite.ts';

export type { CaptureOrigin, RecorderIdentity } from './schema.ts';

export interface CaptureWriterOptions {
  /** A directory from `resolveCaptureDirectory(…, 'write')`. */
  readonly directory: string;
  readonly recorder: RecorderIdentity;
  readonly origin: CaptureOrigin;
  /** What is stored and masked (bodies, caps, redaction …), kept in `meta` as it is given. */
  readonly policy: Readonly<Record<string, unknown>>;
  readonly hashKeyFingerprint: string;
  /** Key that the blocks of every segment are encrypted under; null leaves them readable. */
  readonly encryption: EncryptionKey | null;
  /** How many recorders the fleet has; null when nobody said so. */
  readonly fleetSize: number | null;
  /** The account that this recorder's last segment ends with, written by a process before this one; null for none. */
  readonly account: LifeAccount | null;
  /** Bytes that all files of the directory together may take. */
  readonly maxDiskBytes: number;
  /** Sealed segments whose last arrival is older go, ms; null keeps them as long as the quota does. */
  readonly retainMs: number | null;
  /** A segment is an hour of the writer's clock, or (imports) of the arrivals. */
  readonly segmentBy: 'clock' | 'arrival';
  /** `commit`: every commit is synced to disk. `seal`: only a sealed segment is, for imports that can be repeated. */
  readonly durability: Durability;
  /** Takes the path of a finished segment, to have it sealed. Called inside `commit` and `close`; must not throw. */
  readonly onFinished: (file: string) => void;
}

/** What became of a batch. Whoever counts says in the next account what was lost. */
export interface CommitResult extends SinkCommitResult {
  /** The error behind it in words, for the log; null when there was none. */
  readonly error: string | null;
}

const REFUSALS = {
  quota: 'the disk quota of the capture is used up',
  disk_reserve: 'the file system of the capture is all but full',
};

/** After a failure the disk is left alone for this long, twice as long each time it fails again, up to seconds. */
const RETRY_NS = 1e9;
const RETRY_MAX_NS = 4e9;

/** Why batches are being lost without the disk being asked. */
interface OutageCause {
  readonly reason: LossReason;
  readonly error: string;
}

const NOTHING: CommitResult = { committed: 0, lost: 0, reason: null, error: null };

/**
 * Puts exchanges into the segments of one capture. Synchronous, group commit, one writer a directory (the
 * caller holds its DirectoryLock). Whatever the disk does is answered with a `CommitResult`, never thrown.
 */
export class CaptureWriter implements CommittingSink {
  readonly #options: CaptureWriterOptions;
  readonly #clock: Clock;
  readonly #expiry: SegmentExpiry;
  readonly #quota: DiskQuota;
  readonly #retention: Retention | null;
  readonly #rotation: SegmentRotation;
  readonly #pending = new PendingExchanges();
  readonly #records = new SideRecords();
  /** The account that was written last. */
  #account: LifeAccount | null;
  #progress: Progress | null = null;
  #outage: OutageCause | null = null;
  #outageNs = RETRY_NS;
  #outageUntilNs = 0;
  #committed = 0;

  /** @throws AppError OPTION_INVALID for a quota too small for any segment; what reading the directory throws. */
  constructor(options: CaptureWriterOptions, clock: Clock) {
    if (options.maxDiskBytes < LIMITS.leastDiskBytes) {
      throw new AppError(
        'OPTION_INVALID',
        `${options.maxDiskBytes} bytes of disk are too few for a capture`,
        {
          hint: `Allow at least ${LIMITS.leastDiskBytes / 2 ** 20} MiB, or free space on the disk.`,
        },
      );
    }
    this.#options = options;
    this.#account = options.account;
    this.#clock = clock;
    const { directory, maxDiskBytes, retainMs } = options;
    this.#expiry = new SegmentExpiry(directory, clock);
    this.#quota = new DiskQuota(directory, maxDiskBytes, this.#expiry, clock);
    this.#retention = retainMs === null ? null : new Retention(directory, retainMs, this.#expiry, clock);
    this.#rotation = new SegmentRotation(options, clock);
    this.#records.expiries.push(...this.#expiry.unrecorded());
  }

  /** Exchanges that wait for the next commit. */
  get pendingExchanges(): number {
    return this.#pending.count;
  }

  /** The account that a segment holds by now; null before the first. */
  get writtenAccount(): LifeAccount | null {
    return this.#account;
  }

  /** Exchanges committed so far, and the disk they take: what an estimate is made of. */
  get stored(): { readonly exchanges: number; readonly bytes: number } {
    return { exchanges: this.#committed, bytes: this.#rotation.contentBytes };
  }

  append(exchange: Exchange): boolean {
    const packed = packExchange(exchange);
    if (packed !== null) this.#pending.add(packed, this.#clock);
    return packed !== null;
  }

  setAccount(account: LifeAccount): void {
    this.#records.account = account;
  }

  addProtocolUse(use: ProtocolUse): void {
    this.#records.addProtocolUse(use);
  }

  addAnchor(anchor: ClockAnchor): void {
    this.#records.addAnchor(anchor);
  }

  /** Whether a commit is due: the oldest exchange has waited 250 ms, or what waits fills a block. */
  due(nowNs: number): boolean {
    return this.#pending.due(nowNs);
  }

  /** Makes everything that was appended durable, or says why it is lost. */
  commit(progress: Progress | null = null): CommitResult {
    this.#progress = progress;
    const exchanges = this.#pending.take();
    if (exchanges.length === 0 && this.#records.isEmpty) return NOTHING;
    if (exchanges.length === 0 || this.#options.segmentBy === 'clock') {
      return this.#commitBatch(exchanges, hourOf(this.#clock.epochUs()));
    }
    return this.#batchesByHour(exchanges)
      .map(({ batch, hour }) => this.#commitBatch(batch, hour))
      .reduce(sumOf, NOTHING);
  }

  /**
   * What has to happen without traffic too, every minute or so: a segment whose hour is over is ended, what is
   * too old goes, and anchors reach the open segment. Touches no exchange that waits for its commit.
   */
  housekeep(): { readonly error: string | null } {
    const hour = this.#options.segmentBy === 'clock' ? hourOf(this.#clock.epochUs()) : null;
    try {
      if (hour !== null) this.#rotation.turnTo(hour);
      if (this.#retention?.due) this.#retention.enforce((expiry) => this.#records.expiries.push(expiry));
    } catch (error) {
      return { error: reasonOf(error) };
    }
    const open = this.#rotation.hour;
    // Anchors alone are not worth a segment; an expiry that nobody recorded would look like a loss.
    if (this.#records.isEmpty || (open === null && this.#records.expiries.length === 0))
      return { error: null };
    return { error: this.#commitBatch([], hour ?? open ?? hourOf(this.#clock.epochUs())).error };
  }

  /** Commits what waits, ends the open segment and hands it over. */
  close(): CommitResult {
    this.#outage = null;
    const result = this.commit(this.#progress);
    try {
      this.#rotation.end(true);
      return result;
    } catch (error) {
      // Everything acknowledged is in the segment; only its end is not, and recovery will write that.
      return { ...result, error: reasonOf(error) };
    }
  }

  #commitBatch(exchanges: readonly PackedExchange[], hour: number): CommitResult {
    const cause = this.#outage;
    if (cause !== null && this.#clock.nowNs() < this.#outageUntilNs)
      return { ...NOTHING, lost: exchanges.length, ...cause };
    try {
      this.#rotation.turnTo(hour);
      const refusal = this.#rotation.makeRoom(this.#quota, exchanges, (expiry) => {
        this.#records.expiries.push(expiry);
      });
      if (refusal !== null) return this.#lose(exchanges, refusal, REFUSALS[refusal]);
      const segment = this.#rotation.segmentFor(hour, this.#account);
      const committedUs = this.#clock.epochUs();
      segment.write({ exchanges, records: this.#records, progress: this.#progress, committedUs });
    } catch (error) {
      return this.#failed(exchanges, hour, error);
    }
    this.#account = this.#records.account ?? this.#account;
    this.#records.clear();
    this.#outage = null;
    this.#committed += exchanges.length;
    return { ...NOTHING, committed: exchanges.length, ...this.#tidy() };
  }

  /** What a commit leaves to do. Its failure costs no exchange: what was committed is safe in the log. */
  #tidy(): Pick<CommitResult, 'error'> {
    try {
      this.#expiry.recorded();
      this.#rotation.checkpoint();
      return { error: null };
    } catch (error) {
      this.#distrust(lossReasonOf(error), reasonOf(error));
      return { error: reasonOf(error) };
    }
  }

  #failed(exchanges: readonly PackedExchange[], hour: number, error: unknown): CommitResult {
    const reason = lossReasonOf(error);
    if (reason !== 'encode_failed' || exchanges.length < 2)
      return this.#lose(exchanges, reason, reasonOf(error));
    // One exchange that cannot be written must not take its neighbours with it: halve until it stands alone.
    const middle = exchanges.length >> 1;
    return sumOf(
      this.#commitBatch(exchanges.slice(0, middle), hour),
      this.#commitBatch(exchanges.slice(middle), hour),
    );
  }

  #lose(exchanges: readonly PackedExchange[], reason: LossReason, error: string): CommitResult {
    this.#distrust(reason, error);
    return { committed: 0, lost: exchanges.length, reason, error };
  }

  /** Leaves the disk alone for a while, and a segment for good that a failing disk may have spoilt. */
  #distrust(reason: LossReason, error: string): void {
    if (reason === 'encode_failed') return;
    this.#failedBecause({ reason, error });
    if (reason !== 'io_error' && reason !== 'corrupt') return;
    try {
      this.#rotation.abandon();
    } catch (closing) {
      this.#failedBecause({ reason, error: `${error}; ${reasonOf(closing)}` });
    }
  }

  /** Batches are lost at once while an outage lasts, and now and then one is tried. */
  #failedBecause(cause: OutageCause): void {
    this.#outageNs = this.#outage === null ? RETRY_NS : Math.min(this.#outageNs * 2, RETRY_MAX_NS);
    this.#outageUntilNs = this.#clock.nowNs() + this.#outageNs;
    this.#outage = cause;
  }

  /** Runs that belong to one segment each, in the order of appending. */
  #batchesByHour(exchanges: readonly PackedExchange[]): { batch: PackedExchange[]; hour: number }[] {
    const runs: { batch: PackedExchange[]; hour: number }[] = [];
    let hour = this.#rotation.hour ?? Number.NEGATIVE_INFINITY;
    for (const packed of exchanges) {
      const arrivalHour = hourOf(packed.exchange.arrivalUs);
      const last = runs.at(-1);
      if (last === undefined || arrivalHour > hour) {
        hour = Math.max(hour, arrivalHour);
        runs.push({ batch: [packed], hour });
      } else last.batch.push(packed);
    }
    return runs;
  }
}

/** Exchanges without payload fill no block; so many make a commit due. */
const PENDING_MAX = 16_384;

/** Exchanges that wait for a commit, and when they have waited enough. */
class PendingExchanges {
  #exchanges: PackedExchange[] = [];
  #bytes = 0;
  #slots = 0;
  #sinceNs = 0;

  get count(): number {
    return this.#exchanges.length;
  }

  add(packed: PackedExchange, clock: Clock): void {
    if (this.#exchanges.length === 0) this.#sinceNs = clock.nowNs();
    this.#exchanges.push(packed);
    this.#bytes += keptBytesOf(packed);
    this.#slots += slotsOf(packed);
  }

  /** Whether the oldest has waited long enough (less where many wait), or all fill the blocks of a commit. */
  due(nowNs: number): boolean {
    if (this.#exchanges.length === 0) return false;
    const waitedMs = (nowNs - this.#sinceNs) / 1e6;
    return (
      waitedMs >= LIMITS.commitDelayMs ||
      (waitedMs >= LIMITS.commitSpacingMs && this.#exchanges.length >= LIMITS.commitExchanges) ||
      this.#bytes >= LIMITS.commitBlocks * LIMITS.blockBytes ||
      this.#slots >= LIMITS.commitBlocks * LIMITS.blockSlots ||
      this.#exchanges.length >= PENDING_MAX
    );
  }

  /** All of them; none is left. */
  take(): PackedExchange[] {
    const taken = this.#exchanges;
    this.#exchanges = [];
    this.#bytes = 0;
    this.#slots = 0;
    return taken;
  }
}

function slotsOf({ exchange: { request, response }, heads }: PackedExchange): number {
  const bodies = [request, response].filter((message) => (message?.body.kept?.byteLength ?? 0) > 0);
  return Number(heads !== null) + bodies.length;
}

function sumOf(a: CommitResult, b: CommitResult): CommitResult {
  return {
    committed: a.committed + b.committed,
    lost: a.lost + b.lost,
    reason: b.reason ?? a.reason,
    error: b.error ?? a.error,
  };
}

/** A quota is made of at least so many segments, so that expiring one does not take it all. */
const SEGMENTS_PER_QUOTA = 8;

/** What a row and its index entry take at most, and the pages any transaction and any new file touch. */
const ROW_BYTES = 320;
const TRANSACTION_BYTES = 192 * 1024;
const NEW_SEGMENT_BYTES = 320 * 1024;

/** The write-ahead log is moved into the database at this size. */
const WAL_SOFT_BYTES = 8 * 1024 * 1024;

/** The open segment of a capture and what follows it: when one ends, the next is opened by the next batch. */
class SegmentRotation {
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
    const { directory, recorder, durability, encryption } = this.#options;
    const sequence = this.#sequence + 1;
    const path = join(directory, formatSegmentName({ hour, recorder: recorder.id, sequence }));
    try {
      const key = encryption?.newSegment() ?? null;
      const meta = this.#meta(key?.encryption ?? null);
      const means = { durability, cipher: key?.cipher ?? null, baseline };
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
