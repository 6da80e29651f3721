import { rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { LifeAccount, LossReason, Progress, ProtocolUse } from '../../core/accounting.ts';
import type { Clock, ClockAnchor } from '../../core/clock.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import type { Exchange } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { CommittingSink, CommitResult as SinkCommitResult } from '../../core/ports.ts';
import type { ServerDetails } from '../../documents/server-details.ts';
import {
  formatSegmentName,
  hourOf,
  parseSegmentName,
  type SegmentFile,
  SIDE_SUFFIXES,
  segmentsOf,
  sizeOf,
} from './directory.ts';
import { cipherFor, type EncryptionKey } from './encryption.ts';
import { DiskQuota, type OpenSegment, type Refusal, Retention, SegmentExpiry } from './quota.ts';
import type { NewSegmentMeta } from './schema.ts';
import { withSegment } from './segment-reader.ts';
import {
  keptBytesOf,
  type PackedExchange,
  packExchange,
  SegmentWriter,
  SideRecords,
} from './segment-writer.ts';
import { type Durability, lossReasonOf } from './sqlite.ts';

export interface CaptureWriterOptions extends Omit<NewSegmentMeta, 'openedUs' | 'encryption'> {
  /** From `resolveCaptureDirectory(…, 'write')`. */
  readonly directory: string;
  /** Encrypts the blocks of every segment; null leaves them unencrypted. */
  readonly encryption: EncryptionKey | null;
  /** The last account in this recorder's last segment, written by an earlier process; null if none. */
  readonly account: LifeAccount | null;
  /** Upper bound in bytes of all files in the directory. */
  readonly maxDiskBytes: number;
  /** Sealed segments whose last arrival is older are expired, ms; null applies only the quota. */
  readonly retainMs: number | null;
  /** A segment covers an hour of the writer's clock or, for imports, of the arrivals. */
  readonly segmentBy: 'clock' | 'arrival';
  /**
   * `commit` syncs every commit to disk. `seal` syncs only sealed segments, for imports, which can be
   * repeated.
   */
  readonly durability: Durability;
  /**
   * Receives the path of a finished segment, to seal it. Called inside `commit` and `close`; must not throw.
   */
  readonly onFinished: (file: string) => void;
  /** Receives the name of each segment that is begun. */
  readonly onBegun?: (file: string) => void;
  /** Receives a segment of which somebody removed a file while it was open. The next one is begun. */
  readonly onRemoved?: (removed: RemovedSegment) => void;
  /** The newest segment that earlier processes of this recorder began, even if it is not here any more. */
  readonly newestSegment?: string | null;
  /** Receives the error of an exchange that could not be packed; `append` has returned false for it. */
  readonly onUnpacked?: (error: unknown) => void;
}

export interface RemovedSegment {
  readonly file: string;
  /** `log`: only its write-ahead log, and nothing is lost. */
  readonly what: 'database' | 'log';
  /** Exchanges that were in it. */
  readonly exchanges: number;
}

/** The result of a batch. The next account reports what was lost. */
export interface CommitResult extends SinkCommitResult {
  /** The error text for the log; null if there was none. */
  readonly error: string | null;
}

const REFUSALS = {
  quota: 'the disk quota of the capture is used up',
  disk_reserve: 'the file system of the capture is almost full',
};

/** Pause of disk writes after a failure. It doubles with each further failure, up to several seconds. */
const RETRY_NS = 1e9;
const RETRY_MAX_NS = 4e9;

/** Why batches are lost without a disk write. */
interface OutageCause {
  readonly reason: LossReason;
  readonly error: string;
}

const NOTHING: CommitResult = { committed: 0, lost: [], reason: null, error: null };

/**
 * Writes exchanges into the segments of one capture: synchronous, with group commit, one writer per
 * directory. The caller holds its DirectoryLock. Disk errors are returned in `CommitResult`, never thrown.
 */
export class CaptureWriter implements CommittingSink {
  readonly #options: CaptureWriterOptions;
  readonly #clock: Clock;
  readonly #expiry: SegmentExpiry;
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

  /**
   * @throws AppError OPTION_INVALID for a quota too small for any segment; errors of reading the directory
   */
  constructor(options: CaptureWriterOptions, clock: Clock) {
    if (options.maxDiskBytes < LIMITS.leastDiskBytes) {
      const message = `${options.maxDiskBytes} bytes of disk space are too few for a capture`;
      throw new AppError('OPTION_INVALID', message, {
        hint: `Allow at least ${LIMITS.leastDiskBytes / 2 ** 20} MiB, or free space on the disk.`,
      });
    }
    this.#options = options;
    this.#account = options.account;
    this.#clock = clock;
    const { directory, maxDiskBytes, retainMs } = options;
    this.#expiry = new SegmentExpiry(directory, clock);
    const quota = new DiskQuota(directory, maxDiskBytes, this.#expiry, clock);
    this.#retention = retainMs === null ? null : new Retention(directory, retainMs, this.#expiry, clock);
    this.#rotation = new SegmentRotation(options, quota, clock);
  }

  /** The file of an earlier process of this recorder that the first commit continues; null if there is none. */
  get continues(): string | null {
    return this.#rotation.left?.path ?? null;
  }

  /** Exchanges that wait for the next commit. */
  get pendingExchanges(): number {
    return this.#pending.count;
  }

  /** The last account written to a segment; null before the first. */
  get writtenAccount(): LifeAccount | null {
    return this.#account;
  }

  /** Exchanges committed so far and their disk space, for estimates. */
  get stored(): { readonly exchanges: number; readonly bytes: number } {
    return { exchanges: this.#committed, bytes: this.#rotation.contentBytes };
  }

  append(exchange: Exchange): boolean {
    try {
      this.#pending.add(packExchange(exchange), this.#clock);
      return true;
    } catch (error) {
      this.#options.onUnpacked?.(error);
      return false;
    }
  }

  setAccount(account: LifeAccount): void {
    this.#records.account = account;
  }

  /** What the recorded servers say of themselves from now on. */
  setServerDetails(details: ServerDetails): void {
    this.#records.serverDetails = details;
    this.#rotation.serverDetails = details;
  }

  addProtocolUse(use: ProtocolUse): void {
    this.#records.addProtocolUse(use);
  }

  addAnchor(anchor: ClockAnchor): void {
    this.#records.addAnchor(anchor);
  }

  /**
   * Whether a commit is due: the oldest exchange has waited long enough, or the pending ones fill the blocks of a
   * commit.
   */
  due(nowNs: number): boolean {
    return this.#pending.due(nowNs);
  }

  /** Makes all appended exchanges durable, or reports why they are lost. */
  commit(progress: Progress | null = null): CommitResult {
    const sinceNs = this.#clock.nowNs();
    const result = this.#commit(progress);
    this.#pending.spaceLike((this.#clock.nowNs() - sinceNs) / 1e6);
    return result;
  }

  #commit(progress: Progress | null): CommitResult {
    this.#progress = progress;
    const exchanges = this.#pending.take();
    const records = this.#expiry.pending.length + Number(!this.#records.isEmpty);
    if (exchanges.length + records === 0) return NOTHING;
    if (exchanges.length === 0 || this.#options.segmentBy === 'clock') {
      return this.#commitBatch(exchanges, hourOf(this.#clock.epochUs()));
    }
    // A late arrival goes into the segment of the hour that was reached before it.
    let reached = this.#rotation.hour ?? Number.NEGATIVE_INFINITY;
    const batches = Map.groupBy(exchanges, ({ exchange }) => {
      reached = Math.max(reached, hourOf(exchange.arrivalUs));
      return reached;
    });
    return [...batches].map(([hour, batch]) => this.#commitBatch(batch, hour)).reduce(sumOf, NOTHING);
  }

  /**
   * Work that is also needed without traffic, about every minute. It ends a segment whose hour is over,
   * expires old segments and writes anchors. It does not touch exchanges that wait for their commit.
   */
  housekeep(): { readonly error: string | null } {
    const hour = this.#options.segmentBy === 'clock' ? hourOf(this.#clock.epochUs()) : null;
    try {
      if (hour !== null) this.#rotation.turnTo(hour);
      this.#retention?.enforce();
    } catch (error) {
      return { error: reasonOf(error) };
    }
    const open = this.#rotation.hour;
    // Anchors alone need no new segment. An unrecorded expiry would look like a loss.
    const expired = this.#expiry.pending.length > 0;
    if (!expired && (this.#records.isEmpty || open === null)) return { error: null };
    return { error: this.#commitBatch([], hour ?? open ?? hourOf(this.#clock.epochUs())).error };
  }

  /** Commits pending exchanges, ends the open segment and passes it to `onFinished`. */
  close(): CommitResult {
    this.#outage = null;
    const result = this.commit(this.#progress);
    try {
      this.#rotation.end(true);
      return result;
    } catch (error) {
      // All acknowledged exchanges are in the segment. Only its end is missing, which recovery writes.
      return { ...result, error: reasonOf(error) };
    }
  }

  #commitBatch(exchanges: readonly PackedExchange[], hour: number): CommitResult {
    const cause = this.#outage;
    if (cause !== null && this.#clock.nowNs() < this.#outageUntilNs) return lossOf(exchanges, cause);
    try {
      this.#rotation.turnTo(hour);
      const refusal = this.#rotation.makeRoom(exchanges);
      if (refusal !== null) return this.#lose(exchanges, refusal, REFUSALS[refusal]);
      const segment = this.#rotation.segmentFor(hour, this.#account);
      const committedUs = this.#clock.epochUs();
      const [records, expiries, progress] = [this.#records, this.#expiry.pending, this.#progress];
      segment.write({ exchanges, records, expiries, progress, committedUs });
    } catch (error) {
      return this.#failed(exchanges, hour, error);
    }
    this.#account = this.#records.account ?? this.#account;
    this.#records.clear();
    this.#outage = null;
    this.#committed += exchanges.length;
    return { ...NOTHING, committed: exchanges.length, ...this.#tidy() };
  }

  /** Work after a commit. If it fails, no exchange is lost: they are committed in the log. */
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
    // One exchange that cannot be written must not cost the others: split until it is alone.
    const middle = exchanges.length >> 1;
    return sumOf(
      this.#commitBatch(exchanges.slice(0, middle), hour),
      this.#commitBatch(exchanges.slice(middle), hour),
    );
  }

  #lose(exchanges: readonly PackedExchange[], reason: LossReason, error: string): CommitResult {
    this.#distrust(reason, error);
    return lossOf(exchanges, { reason, error });
  }

  /** Pauses disk writes, and abandons a segment that a failing disk may have damaged. */
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

  /** Begins or extends an outage. Meanwhile batches are lost at once, and one is tried from time to time. */
  #failedBecause(cause: OutageCause): void {
    this.#outageNs = this.#outage === null ? RETRY_NS : Math.min(this.#outageNs * 2, RETRY_MAX_NS);
    this.#outageUntilNs = this.#clock.nowNs() + this.#outageNs;
    this.#outage = cause;
  }
}

/**
 * If the disk is slow, commits are larger by this factor, to catch up with the queue. Slow means that a commit takes
 * longer than exchanges wait for one.
 */
const SLOW_DISK_FACTOR = 4;

/** Exchanges that wait for a commit, and when that is due. */
class PendingExchanges {
  #exchanges: PackedExchange[] = [];
  #bytes = 0;
  #sinceNs = 0;
  #spacingMs: number = LIMITS.commitSpacingMs;

  get count(): number {
    return this.#exchanges.length;
  }

  add(packed: PackedExchange, clock: Clock): void {
    if (this.#exchanges.length === 0) this.#sinceNs = clock.nowNs();
    this.#exchanges.push(packed);
    this.#bytes += keptBytesOf(packed);
  }

  /**
   * Whether the oldest has waited long enough (less if many wait), or they fill the blocks of a commit.
   */
  due(nowNs: number): boolean {
    if (this.#exchanges.length === 0) return false;
    const waitedMs = (nowNs - this.#sinceNs) / 1e6;
    const blocks = LIMITS.commitBlocks * (this.#spacingMs > LIMITS.commitDelayMs ? SLOW_DISK_FACTOR : 1);
    return (
      waitedMs >= LIMITS.commitDelayMs ||
      (waitedMs >= this.#spacingMs && this.#exchanges.length >= LIMITS.commitExchanges) ||
      this.#bytes >= blocks * LIMITS.blockBytes ||
      this.#exchanges.length >= blocks * LIMITS.blockSlots
    );
  }

  /**
   * On a slow disk, exchanges wait as long as the last commit took. So the next commit includes everything that came
   * during the last one, which is read only after it.
   */
  spaceLike(commitMs: number): void {
    this.#spacingMs = Math.max(LIMITS.commitSpacingMs, commitMs);
  }

  /** Removes and returns all. */
  take(): PackedExchange[] {
    const taken = this.#exchanges;
    this.#exchanges = [];
    this.#bytes = 0;
    return taken;
  }
}

function lossOf(exchanges: readonly PackedExchange[], { reason, error }: OutageCause): CommitResult {
  const lost = exchanges.map(({ exchange }) => ({ exchange, reason }));
  return { committed: 0, lost, reason, error };
}

function sumOf(a: CommitResult, b: CommitResult): CommitResult {
  return {
    committed: a.committed + b.committed,
    lost: [...a.lost, ...b.lost],
    reason: b.reason ?? a.reason,
    error: b.error ?? a.error,
  };
}

/** A quota covers at least this many segments, so that expiring one does not remove everything. */
const SEGMENTS_PER_QUOTA = 8;

/** Upper bounds: a row with its index entry, the pages that a transaction touches, and those of a new file. */
const ROW_BYTES = 320;
const TRANSACTION_BYTES = 192 * 1024;
const NEW_SEGMENT_BYTES = 320 * 1024;

/** Log size at which it is moved into the database. */
const WAL_SOFT_BYTES = 8 * 1024 * 1024;

/** The open segment of a capture and its successors. The next batch opens the next segment. */
class SegmentRotation {
  readonly #options: CaptureWriterOptions;
  readonly #quota: DiskQuota;
  readonly #clock: Clock;
  readonly #segmentBytesMax: number;
  readonly #walSoftBytes: number;
  #segment: SegmentWriter | null = null;
  /** Size of the open segment when it was empty. */
  #emptyBytes = 0;
  /** Size of the ended segments, less their sizes when empty. */
  #endedBytes = 0;
  #sequence: number;
  /** For segments that are begun. */
  serverDetails: ServerDetails | null = null;
  /**
   * The segment that an earlier process of the same recorder left open. It is continued, because a recorder that dies
   * again and again would otherwise create a file each time.
   */
  left: SegmentFile | null = null;

  /** @throws AppError OPTION_INVALID for a recorder id that a segment name cannot contain */
  constructor(options: CaptureWriterOptions, quota: DiskQuota, clock: Clock) {
    const { id } = options.recorder;
    if (parseSegmentName(formatSegmentName({ hour: 0, recorder: id, sequence: 1 })) === null) {
      throw new AppError('OPTION_INVALID', `${JSON.stringify(id)} cannot be part of a segment's name`, {
        hint: 'A recorder id is 1 to 32 lower-case letters and digits.',
      });
    }
    this.#options = options;
    this.#quota = quota;
    this.#clock = clock;
    this.#segmentBytesMax = Math.min(LIMITS.segmentBytes, options.maxDiskBytes / SEGMENTS_PER_QUOTA);
    this.#walSoftBytes = Math.min(WAL_SOFT_BYTES, options.maxDiskBytes / 32);
    // Numbers continue after an earlier process with the same recorder id, so no name is used twice.
    const last = segmentsOf(options.directory)
      .filter(({ recorder }) => recorder === id)
      .reduce<SegmentFile | null>((a, b) => (a !== null && a.sequence > b.sequence ? a : b), null);
    const begun = parseSegmentName(options.newestSegment ?? '')?.sequence ?? 0;
    this.#sequence = Math.max(last?.sequence ?? 0, begun);
    if (last !== null && !last.sealed) this.left = last;
  }

  /** Hour of the open segment; null if none is open. */
  get hour(): number | null {
    return this.#segment?.hour ?? null;
  }

  /** Disk space of everything written so far, without that of empty segments. */
  get contentBytes(): number {
    return this.#endedBytes + (this.#segment === null ? 0 : this.#segment.contentBytes - this.#emptyBytes);
  }

  /**
   * Ends the open segment when its hour is over or it is full. A clock set back or a late arrival does not
   * reopen an hour: it goes into the current segment.
   */
  turnTo(hour: number): void {
    if (this.left !== null && (hour > this.left.hour || sizeOf(this.left.path) >= this.#segmentBytesMax))
      this.#leave();
    this.#leaveRemoved();
    const segment = this.#segment;
    if (segment === null) return;
    if (hour > segment.hour || bytesOf(segment) >= this.#segmentBytesMax) this.end(false);
  }

  /**
   * The segment to write to, opened if needed.
   * @param baseline the last account of the segment before it
   */
  segmentFor(hour: number, baseline: LifeAccount | null): SegmentWriter {
    this.#segment ??= this.#continued(baseline) ?? this.#open(hour, baseline);
    return this.#segment;
  }

  /**
   * Whether a batch fits: once in the log and once in the database. This includes its rewritten last block
   * and the end of the segment. Expires the oldest sealed segments if that helps the quota.
   */
  makeRoom(exchanges: readonly PackedExchange[]): Refusal {
    const segment = this.#segment;
    const payload = exchanges.reduce((sum, exchange) => sum + keptBytesOf(exchange), 0);
    const openBlock = segment?.openBlockBytes ?? 0;
    const batch = payload + exchanges.length * ROW_BYTES + openBlock + TRANSACTION_BYTES;
    const end = Math.min(LIMITS.blockBytes, payload + openBlock) + TRANSACTION_BYTES;
    const growth = 2 * (batch + end) + (segment === null ? NEW_SEGMENT_BYTES : 0);
    // The current log may also have to move into the database.
    const needed = () => growth + (segment?.walBytes ?? 0);
    if (!this.#quota.leavesReserve(growth)) return 'disk_reserve';
    if (this.#quota.fits(this.#asOpen(), needed())) return null;
    segment?.truncateWal();
    return this.#quota.makeRoom(this.#asOpen(), needed()) ? null : 'quota';
  }

  /** Limits the log between batches. If a reader keeps the log above the limit, the segment is ended. */
  checkpoint(): void {
    this.#segment?.checkpoint(this.#walSoftBytes);
    if ((this.#segment?.walBytes ?? 0) > LIMITS.walBytes) this.end(false);
  }

  /**
   * Ends the open segment and passes it on. It is also passed on if writing its end fails; then the error is thrown.
   */
  end(recorderEnded: boolean): void {
    this.#leave();
    this.#leaveRemoved();
    const segment = this.#segment;
    this.#segment = null;
    if (segment !== null) this.#finish(segment, recorderEnded);
  }

  #finish(segment: SegmentWriter, recorderEnded: boolean): void {
    try {
      segment.end(this.#clock.epochUs(), recorderEnded);
      this.#endedBytes += segment.contentBytes - this.#emptyBytes;
    } finally {
      this.#passOn(segment);
    }
  }

  /** Passes the open segment on unchanged after a disk error. Recovery finds out what it holds. */
  abandon(): void {
    const segment = this.#segment;
    this.#segment = null;
    if (segment !== null) this.#passOn(segment);
  }

  /** Ends the open segment if one of its files was removed. Without the database there is nothing to pass on. */
  #leaveRemoved(): void {
    const segment = this.#segment;
    const what = segment?.removed ?? null;
    if (segment === null || what === null) return;
    this.#segment = null;
    this.#options.onRemoved?.({ file: basename(segment.path), what, exchanges: segment.exchanges });
    if (what === 'log') this.#finish(segment, false);
    else segment.close();
    this.#quota.forgetCount();
  }

  /** The open segment for the quota. */
  #asOpen(): OpenSegment {
    const file = this.#segment === null ? null : basename(this.#segment.path);
    return { file, bytes: bytesOf(this.#segment) };
  }

  #passOn(segment: SegmentWriter): void {
    this.#quota.forgetCount();
    try {
      segment.close();
    } finally {
      this.#options.onFinished(segment.path);
    }
  }

  /** Passes on the segment that an earlier process left open, unchanged. */
  #leave(): void {
    const left = this.left;
    this.left = null;
    if (left !== null) this.#options.onFinished(left.path);
  }

  /** Opens the segment that an earlier process left open; null if there is none that this process may continue. */
  #continued(baseline: LifeAccount | null): SegmentWriter | null {
    const { left } = this;
    if (left === null) return null;
    const { durability, encryption, hashKeyFingerprint } = this.#options;
    try {
      const meta = withSegment(left, (reader) => reader.meta());
      const isOurs =
        meta?.closedUs === null &&
        meta.hashKeyFingerprint === hashKeyFingerprint &&
        (meta.encryption === null) === (encryption === null);
      if (isOurs) {
        const cipher = cipherFor(meta.encryption, encryption, left.file);
        const segment = new SegmentWriter(left.path, left.hour, null, { durability, cipher, baseline });
        this.left = null;
        this.#emptyBytes = segment.contentBytes;
        // The quota counted it as one of the other segments so far.
        this.#quota.forgetCount();
        return segment;
      }
    } catch {
      // Sealing reports what is wrong with it. New exchanges go into a new file.
    }
    this.#leave();
    return null;
  }

  #open(hour: number, baseline: LifeAccount | null): SegmentWriter {
    const { directory, recorder, durability, encryption } = this.#options;
    const sequence = this.#sequence + 1;
    const path = join(directory, formatSegmentName({ hour, recorder: recorder.id, sequence }));
    try {
      const key = encryption?.newSegment();
      const meta = {
        ...this.#options,
        earlierAccounts: sequence === 1 ? (this.#options.earlierAccounts ?? []) : [],
        openedUs: this.#clock.epochUs(),
        encryption: key?.encryption ?? null,
        serverDetails: this.serverDetails,
      };
      const segment = new SegmentWriter(path, hour, meta, {
        durability,
        cipher: key?.cipher ?? null,
        baseline,
      });
      // Set only now: an unused number would look like a missing segment.
      this.#sequence = sequence;
      this.#options.onBegun?.(basename(path));
      this.#emptyBytes = segment.contentBytes;
      return segment;
    } catch (error) {
      // It is still empty. A failing disk must not get one more file at every attempt.
      for (const suffix of ['', ...SIDE_SUFFIXES]) rmSync(`${path}${suffix}`, { force: true });
      throw error;
    }
  }
}

function bytesOf(segment: SegmentWriter | null): number {
  return segment === null ? 0 : segment.databaseBytes + segment.walBytes;
}
