import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  accountFileOf,
  type Counted,
  growthOf,
  isAccountFile,
  type LifeAccount,
  type LossReason,
  NO_PROGRESS,
  type OmissionCause,
  type Progress,
} from '../../core/accounting.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { SUPERVISION } from '../../core/limits.ts';
import type { TimeRange } from '../../core/ports.ts';
import { formatInstantUs } from '../../core/units.ts';
import { isCaptureFile, isMissing, OWN_SUBDIRECTORY, segmentsOf } from './directory.ts';
import { isHeld } from './lock.ts';
import type { SegmentMeta } from './schema.ts';
import { SegmentReader } from './segment-reader.ts';

/** One page of a file system. It takes its place on the disk at once, so that a full disk cannot stop the counting. */
const FILE_BYTES = 4_096;
/** Accounts of lives that left no segment; a start removes the oldest beyond that. */
const FILES_MAX = 256;
/** How often an account file is looked at that may still be written. */
const LOOK_MS = 50;

/**
 * Writes the account of the running recording beside its segments, in place. It waits on the disk in no thread of
 * ours, because a disk may hang, and the process that counts is the one that forwards.
 */
export class AccountFile {
  readonly #path: string;
  readonly #handle: FileHandle;

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  /** @throws Error of the file system */
  static async open(captureDirectory: string, life: string): Promise<AccountFile> {
    const path = join(captureDirectory, accountFileOf(life));
    return new AccountFile(path, await open(path, 'w', 0o600));
  }

  get path(): string {
    return this.#path;
  }

  /** @throws Error of the file system */
  async write(account: LifeAccount, { synced = false } = {}): Promise<void> {
    const bytes = Buffer.alloc(FILE_BYTES, ' ');
    bytes.write(JSON.stringify(account));
    await this.#handle.write(bytes, 0, FILE_BYTES, 0);
    if (synced) await this.#handle.datasync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/**
 * The directory that a recording of `directory` writes to, made if it is missing: for an account whose recorder could
 * not open the capture.
 * @throws Error of the file system
 */
export async function accountDirectoryOf(directory: string): Promise<string> {
  try {
    const files = await readdir(directory);
    if (files.some(isCaptureFile)) return directory;
    const own = join(directory, OWN_SUBDIRECTORY);
    await mkdir(own, { recursive: true, mode: 0o700 });
    return own;
  } catch (error) {
    if (!isMissing(error)) throw error;
    await mkdir(dirname(directory), { recursive: true });
    await mkdir(directory, { mode: 0o700 });
    return directory;
  }
}

/** The accounts that lie beside the segments of a capture. One that cannot be read is left out. */
export function accountsIn(captureDirectory: string): LifeAccount[] {
  return readdirSync(captureDirectory)
    .filter(isAccountFile)
    .flatMap((file) => {
      try {
        return [JSON.parse(readFileSync(join(captureDirectory, file), 'utf8')) as LifeAccount];
      } catch {
        // A capture that is read by another user's group, or a file whose disk lost its power.
        return [];
      }
    });
}

/** What a life has written into its newest segment. */
interface WrittenAccount {
  readonly account: LifeAccount | null;
  readonly progress: Progress;
}

/**
 * What the newest readable segment of a life holds of its account: where a recorder goes on that follows another one.
 */
export function writtenBy(captureDirectory: string, life: string): WrittenAccount {
  const segments = segmentsOf(captureDirectory).filter(({ recorder }) => recorder === life);
  for (const segment of segments.sort((a, b) => b.sequence - a.sequence)) {
    try {
      const reader = SegmentReader.open(segment);
      if (reader === null) continue;
      try {
        const { account, progress } = reader.meta();
        return { account, progress: progress ?? NO_PROGRESS };
      } finally {
        reader.close();
      }
    } catch {
      // A damaged one is told of when it is sealed; the one before it says nearly the same.
    }
  }
  return { account: null, progress: NO_PROGRESS };
}

/**
 * Removes accounts of lives that ended before anything began which the capture still holds: what they tell of has
 * expired. For whoever holds the lock.
 */
export function removeExpiredAccounts(captureDirectory: string, life: string): void {
  const segments = segmentsOf(captureDirectory);
  const lives = new Set(segments.map(({ recorder }) => recorder));
  const oldestUs = segments.length === 0 ? 0 : Math.min(...segments.map(({ hour }) => hour)) * 3_600_000_000;
  const others = accountsIn(captureDirectory)
    .filter((account) => account.life !== life && !lives.has(account.life))
    .sort((a, b) => b.atUs - a.atUs);
  for (const [index, account] of others.entries()) {
    if (index < FILES_MAX && account.atUs >= oldestUs) continue;
    rmSync(join(captureDirectory, accountFileOf(account.life)), { force: true });
  }
}

/** A recording that was killed: what passed after its last account nobody counted. Times are ISO 8601, UTC. */
export interface KilledDocument {
  readonly life: string;
  readonly startedAt: string;
  readonly knownUntil: string;
  /** When the next recording of the capture began. Null while none has. */
  readonly foundAt: string | null;
}

interface KnownLife {
  account: LifeAccount;
  /** The newest account that a segment holds, and how far its recorder had come by the newest of them. */
  written: LifeAccount | null;
  progress: Progress;
  killed: boolean;
}

/** The accounts of all lives in captures: those of the segments, and those beside them that are newer. */
export class LifeAccounts {
  readonly #lives = new Map<string, KnownLife>();
  /** Lives of which a segment was recovered, and no account says that they went on. */
  readonly #crashed = new Set<string>();
  readonly #startsUs: number[] = [];
  #oldestUs = Number.POSITIVE_INFINITY;

  /** To be called before the segments of the directory are added. */
  addDirectory(captureDirectory: string): void {
    const running = runningIn(captureDirectory);
    for (const account of accountsIn(captureDirectory)) {
      const known = this.#lives.get(account.life);
      if (known !== undefined && known.account.atUs >= account.atUs) continue;
      const killed = !account.ended && !running.has(account.life);
      this.#lives.set(account.life, { account, written: null, progress: NO_PROGRESS, killed });
      this.#startsUs.push(account.startedUs);
    }
  }

  addSegment({ recorder, openedUs, origin, account, progress, recoveredUs }: SegmentMeta): void {
    if (origin.kind !== 'recorded') return;
    this.#startsUs.push(recorder.startedUs);
    this.#oldestUs = Math.min(this.#oldestUs, openedUs);
    const life = this.#lives.get(recorder.id);
    if (life === undefined) {
      if (recoveredUs !== null) this.#crashed.add(recorder.id);
      else this.#crashed.delete(recorder.id);
      return;
    }
    if (account !== null && account.atUs > (life.written?.atUs ?? 0)) life.written = account;
    if (progress !== null && progress.exchanges >= life.progress.exchanges) life.progress = progress;
  }

  /** Whether the life of that segment was killed. */
  isKilled({ recorder }: SegmentMeta): boolean {
    return this.#lives.get(recorder.id)?.killed ?? this.#crashed.has(recorder.id);
  }

  /** All that was seen is counted. Else totals are lower bounds. */
  get exact(): boolean {
    return this.#crashed.size === 0 && this.#killed().length === 0;
  }

  /** What was lost, and stands in no segment. */
  losses(): (Counted & { readonly name: LossReason })[] {
    return this.#current().flatMap(({ account, written, progress, killed }) => {
      const lost = growthOf(account.lost, written?.lost ?? {});
      const late = {
        turns: Math.max(0, progress.turns - account.recorded.turns),
        bytes: Math.max(0, progress.bytes - account.recorded.bytes),
        exchanges: Math.max(0, progress.exchanges - account.exchanges),
      };
      // A commit whose acknowledgement nobody read: it is recorded, and the account says that it is pending or lost.
      if (!killed) return account.ended ? without(lost, late) : lost;
      const { turns, bytes } = account.pending;
      const pending = { name: 'crash_gap' as const, turns, bytes, exchanges: turns };
      return [...lost, ...without([pending], late)];
    });
  }

  /** What was omitted, and stands in no segment. */
  omissions(): (Counted & { readonly name: OmissionCause })[] {
    return this.#current().flatMap(({ account, written }) =>
      growthOf(account.omitted, written?.omitted ?? {}),
    );
  }

  /** Whether one of the ranges has a time that nobody counted. */
  touches(ranges: readonly TimeRange[]): boolean {
    return this.#killed().some(({ account }) => {
      const foundUs = this.#foundUs(account);
      return ranges.some(({ fromUs, toUs }) => toUs > account.atUs && (foundUs === null || fromUs < foundUs));
    });
  }

  /** In the order of their ends. */
  killed(): KilledDocument[] {
    return this.#killed().map(({ account }) => {
      const foundUs = this.#foundUs(account);
      return {
        life: account.life,
        startedAt: formatInstantUs(account.startedUs),
        knownUntil: formatInstantUs(account.atUs),
        foundAt: foundUs === null ? null : formatInstantUs(foundUs),
      };
    });
  }

  /** Those that ended before all that is here say nothing of what is. */
  #current(): KnownLife[] {
    return [...this.#lives.values()].filter(
      ({ account, written }) =>
        written !== null || !(account.atUs < this.#oldestUs) || this.#isFirst(account),
    );
  }

  /** It began before every segment that is here, and none of it expired: it never had one. */
  #isFirst({ recorded }: LifeAccount): boolean {
    return recorded.bytes === 0;
  }

  #killed(): KnownLife[] {
    return this.#current()
      .filter(({ killed }) => killed)
      .sort((a, b) => a.account.atUs - b.account.atUs);
  }

  #foundUs({ atUs }: LifeAccount): number | null {
    const later = this.#startsUs.filter((startedUs) => startedUs > atUs);
    return later.length === 0 ? null : Math.min(...later);
  }
}

/** What is left of losses once so much of them turns out to be recorded: of a recorder's death first. */
function without(
  losses: readonly (Counted & { readonly name: LossReason })[],
  recorded: Counted,
): (Counted & { readonly name: LossReason })[] {
  const left = { ...recorded };
  return losses.map((loss) => {
    if (loss.name !== 'writer_down' && loss.name !== 'crash_gap') return loss;
    const taken = {
      turns: Math.min(loss.turns, left.turns),
      bytes: Math.min(loss.bytes, left.bytes),
      exchanges: Math.min(loss.exchanges, left.exchanges),
    };
    left.turns -= taken.turns;
    left.bytes -= taken.bytes;
    left.exchanges -= taken.exchanges;
    return {
      ...loss,
      turns: loss.turns - taken.turns,
      bytes: loss.bytes - taken.bytes,
      exchanges: loss.exchanges - taken.exchanges,
    };
  });
}

/**
 * The lives that record into a capture now. One that is open runs where its account goes on being written, be it paused
 * or waiting for the capture, or where it is the only one and a recorder holds the lock. Accounts that were written
 * lately are watched for a moment, to be sure.
 */
function runningIn(captureDirectory: string, clock: Clock = systemClock): ReadonlySet<string> {
  const running = new Set<string>();
  const silenceUs = SUPERVISION.accountSilenceMs * 1e3;
  const first = openIn(captureDirectory).filter(({ atUs }) => clock.epochUs() - atUs <= silenceUs);
  const untilNs = clock.nowNs() + SUPERVISION.accountWatchMs * 1e6;
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  while (running.size < first.length) {
    const isHeldByFirst = first.length === 1 && isHeld(captureDirectory);
    const now = openIn(captureDirectory);
    for (const { life, atUs } of first) {
      const wasWritten = now.some((one) => one.life === life && one.atUs !== atUs);
      const hasEnded = !now.some((one) => one.life === life);
      if (wasWritten || hasEnded || isHeldByFirst) running.add(life);
    }
    if (clock.nowNs() >= untilNs) break;
    if (running.size < first.length) Atomics.wait(sleeper, 0, 0, LOOK_MS);
  }
  return running;
}

function openIn(captureDirectory: string): LifeAccount[] {
  return accountsIn(captureDirectory).filter(({ ended }) => !ended);
}
