import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
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
import { reasonOf } from '../../core/errors.ts';
import { SUPERVISION } from '../../core/limits.ts';
import type { Logger, TimeRange } from '../../core/ports.ts';
import { formatInstantUs } from '../../core/units.ts';
import { isCaptureFile, isMissing, OWN_SUBDIRECTORY, segmentsOf } from './directory.ts';
import type { SegmentMeta } from './schema.ts';
import { withSegment } from './segment-reader.ts';

/**
 * One page of a file system. The file has this size from the start, so a full disk cannot stop the counting.
 */
const FILE_BYTES = 4_096;
/** Account files of lives that left no segment. A start removes the oldest ones beyond this number. */
const FILES_MAX = 256;
/** How often to read an account file that may still be written. */
const LOOK_MS = 50;

/**
 * Keeps the account of the running recording in its file beside the segments, one write at a time: while one is under
 * way the next is left out, as it says all that this one would. Writes are asynchronous, because a disk may hang and
 * the process that counts also forwards traffic. A disk that refuses them is one line in the log, and tried again.
 */
export class AccountKeeper {
  readonly #dir: string;
  readonly #accountOf: () => LifeAccount;
  readonly #logger: Logger;
  /** The capture, once a recorder has it open. */
  #directory: string | null = null;
  /** No recorder made the capture: we do. */
  #standsIn = false;
  #path = '';
  #handle: FileHandle | null = null;
  #busy: Promise<void> | null = null;
  #written = '';
  #failing = false;

  /** @param dir what the user named */
  constructor(dir: string, accountOf: () => LifeAccount, logger: Logger) {
    this.#dir = dir;
    this.#accountOf = accountOf;
    this.#logger = logger;
  }

  /** Our recorder has the capture open there: what lies there may have been removed and made again. */
  moveTo(directory: string): void {
    this.#directory = directory;
    const isThere = this.#handle !== null && existsSync(this.#path);
    if (!isThere) void this.#close().catch(() => undefined);
    this.write();
  }

  /** A recorder has failed, and it may be long until one opens the capture. */
  standIn(): void {
    this.#standsIn = true;
  }

  write(): void {
    if (this.#directory === null && !this.#standsIn) return;
    this.#busy ??= this.#write().finally(() => {
      this.#busy = null;
    });
  }

  /** The last word, within so many milliseconds: a disk that hangs holds up no stop. */
  async end(limitMs: number): Promise<void> {
    const last = async () => {
      await this.#busy;
      await this.#write();
      await this.#close();
    };
    const timer = new AbortController();
    const late = sleep(limitMs, undefined, { signal: timer.signal });
    await Promise.race([last(), late]).catch(() => undefined);
    timer.abort();
  }

  async #write(): Promise<void> {
    const account = this.#accountOf();
    const text = JSON.stringify({ ...account, atUs: 0 });
    // Said again each second, so that a reader sees that the recording runs.
    const isNews = text !== this.#written;
    try {
      this.#handle ??= await this.#open(account.life);
      const bytes = Buffer.alloc(FILE_BYTES, ' ');
      bytes.write(JSON.stringify(account));
      await this.#handle.write(bytes, 0, FILE_BYTES, 0);
      if (account.ended && isNews) await this.#handle.datasync();
      this.#written = text;
      if (this.#failing) this.#logger.info({}, 'the account of the recording can be written again');
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) {
        const message =
          'the account of the recording cannot be written; it is lost if all processes are killed';
        this.#logger.error({ reason: reasonOf(error) }, message);
      }
      this.#failing = true;
      await this.#close().catch(() => undefined);
    }
  }

  async #open(life: string): Promise<FileHandle> {
    const directory = this.#directory ?? (await accountDirectoryOf(this.#dir));
    this.#path = join(directory, accountFileOf(life));
    return await open(this.#path, 'w', 0o600);
  }

  async #close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    await handle?.close();
  }
}

/** Writes the account of a recording that was killed before it could write one. One that is there is newer. */
export function leaveAccount(captureDirectory: string, account: LifeAccount): void {
  try {
    const text = JSON.stringify(account).padEnd(FILE_BYTES);
    writeFileSync(join(captureDirectory, accountFileOf(account.life)), text, { flag: 'wx', mode: 0o600 });
  } catch {
    // It is there, or the disk fails; what came through the pipe is kept all the same.
  }
}

/**
 * The directory that a recording to `directory` writes to, created if missing. Used for an account whose
 * recorder could not open the capture.
 * @throws Error of the file system
 */
async function accountDirectoryOf(directory: string): Promise<string> {
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

/** Accounts beside the segments of a capture. Unreadable ones are left out. */
export function accountsIn(captureDirectory: string): LifeAccount[] {
  return readdirSync(captureDirectory)
    .filter(isAccountFile)
    .flatMap((file) => {
      try {
        return [JSON.parse(readFileSync(join(captureDirectory, file), 'utf8')) as LifeAccount];
      } catch {
        // Another user's group may own the capture, or a power loss may have damaged the file.
        return [];
      }
    });
}

/** What a life has written into its newest segment. */
interface WrittenAccount {
  readonly account: LifeAccount | null;
  readonly progress: Progress;
}

/** The account in the newest readable segment of a life. The next recorder continues from it. */
export function writtenBy(captureDirectory: string, life: string): WrittenAccount {
  const segments = segmentsOf(captureDirectory).filter(({ recorder }) => recorder === life);
  for (const segment of segments.sort((a, b) => b.sequence - a.sequence)) {
    try {
      const meta = withSegment(segment, (reader) => reader.meta());
      if (meta !== null) return { account: meta.account, progress: meta.progress ?? NO_PROGRESS };
    } catch {
      // Sealing reports a damaged segment; the segment before it holds almost the same account.
    }
  }
  return { account: null, progress: NO_PROGRESS };
}

/**
 * Removes accounts of lives that ended before everything the capture still holds: their exchanges have
 * expired. The caller must hold the lock.
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

/**
 * A recording that was killed. Exchanges after its last account were not counted. Times are ISO 8601, UTC.
 */
export interface KilledDocument {
  readonly life: string;
  readonly startedAt: string;
  readonly knownUntil: string;
  /** When the next recording of the capture began; null if none has begun. */
  readonly foundAt: string | null;
}

interface KnownLife {
  account: LifeAccount;
  /** The newest account in a segment, and the recorder's progress in the newest of them. */
  written: LifeAccount | null;
  progress: Progress;
  killed: boolean;
}

/** The accounts of all lives in captures: from the segments, and newer ones from the files beside them. */
export class LifeAccounts {
  readonly #lives = new Map<string, KnownLife>();
  /** Lives with a recovered segment and no account of a later time. */
  readonly #crashed = new Set<string>();
  readonly #startsUs: number[] = [];
  #oldestUs = Number.POSITIVE_INFINITY;

  /** Call before adding the segments of the directory. */
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

  /** Whether the life of the segment was killed. */
  isKilled({ recorder }: SegmentMeta): boolean {
    return this.#lives.get(recorder.id)?.killed ?? this.#crashed.has(recorder.id);
  }

  /** Whether everything seen was counted. If false, totals are lower bounds. */
  get exact(): boolean {
    return this.#crashed.size === 0 && this.#killed().length === 0;
  }

  /** Losses that no segment records. */
  losses(): (Counted & { readonly name: LossReason })[] {
    return this.#current().flatMap(({ account, written, progress, killed }) => {
      const lost = growthOf(account.lost, written?.lost ?? {});
      const known = { ...account.recorded, exchanges: account.exchanges };
      const late = counted((unit) => Math.max(0, progress[unit] - known[unit]));
      // The commit succeeded but its acknowledgement was never read. The account still says pending or lost.
      if (!killed) return account.ended ? without(lost, late) : lost;
      const { turns, bytes } = account.pending;
      const pending = { name: 'crash_gap' as const, turns, bytes, exchanges: turns };
      return [...lost, ...without([pending], late)];
    });
  }

  /** Omissions that no segment records. */
  omissions(): (Counted & { readonly name: OmissionCause })[] {
    return this.#current().flatMap(({ account, written }) =>
      growthOf(account.omitted, written?.omitted ?? {}),
    );
  }

  /** Whether one of the ranges includes a time without counting. */
  touches(ranges: readonly TimeRange[]): boolean {
    return this.#killed().some(({ account, foundUs }) =>
      ranges.some(
        ({ fromUs, toUs }) => toUs > account.atUs && fromUs < (foundUs ?? Number.POSITIVE_INFINITY),
      ),
    );
  }

  /** Sorted by end. */
  killed(): KilledDocument[] {
    return this.#killed().map(({ account, foundUs }) => ({
      life: account.life,
      startedAt: formatInstantUs(account.startedUs),
      knownUntil: formatInstantUs(account.atUs),
      foundAt: foundUs === null ? null : formatInstantUs(foundUs),
    }));
  }

  /** Leaves out lives that ended before the first segment here: they say nothing about this capture. */
  #current(): KnownLife[] {
    return [...this.#lives.values()].filter(
      // One that has recorded nothing never had a segment that could have expired.
      ({ account, written }) =>
        written !== null || !(account.atUs < this.#oldestUs) || account.recorded.bytes === 0,
    );
  }

  /** Each with the next start of any life: nobody counted until then. Null if nothing followed. */
  #killed(): { readonly account: LifeAccount; readonly foundUs: number | null }[] {
    const startsUs = this.#startsUs.toSorted((a, b) => a - b);
    return this.#current()
      .filter(({ killed }) => killed)
      .map(({ account }) => ({ account, foundUs: startsUs.find((us) => us > account.atUs) ?? null }))
      .sort((a, b) => a.account.atUs - b.account.atUs);
  }
}

/** Losses of which the recorder may have committed something that nobody heard of. */
const UNREAD: ReadonlySet<LossReason> = new Set(['writer_down', 'crash_gap', 'shutdown_timeout']);

/** Losses less what turned out to be recorded. */
function without(
  losses: readonly (Counted & { readonly name: LossReason })[],
  recorded: Counted,
): (Counted & { readonly name: LossReason })[] {
  let left = recorded;
  return losses.map((loss) => {
    if (!UNREAD.has(loss.name)) return loss;
    const before = left;
    left = counted((unit) => Math.max(0, before[unit] - loss[unit]));
    return { name: loss.name, ...counted((unit) => Math.max(0, loss[unit] - before[unit])) };
  });
}

function counted(of: (unit: keyof Counted) => number): Counted {
  return { turns: of('turns'), bytes: of('bytes'), exchanges: of('exchanges') };
}

/**
 * The lives that record into a capture now: an open life whose account file is still updated. That also holds
 * while it is paused or waits for the capture. Recently written accounts are watched for a moment to decide.
 */
function runningIn(captureDirectory: string, clock: Clock = systemClock): ReadonlySet<string> {
  const silenceUs = SUPERVISION.accountSilenceMs * 1e3;
  const first = openIn(captureDirectory).filter(({ atUs }) => clock.epochUs() - atUs <= silenceUs);
  const untilNs = clock.nowNs() + SUPERVISION.accountWatchMs * 1e6;
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  const running = new Set<string>();
  while (running.size < first.length && clock.nowNs() < untilNs) {
    Atomics.wait(sleeper, 0, 0, LOOK_MS);
    const now = openIn(captureDirectory);
    for (const { life, atUs } of first) {
      const unchanged = now.some((account) => account.life === life && account.atUs === atUs);
      if (!unchanged) running.add(life);
    }
  }
  return running;
}

function openIn(captureDirectory: string): LifeAccount[] {
  return accountsIn(captureDirectory).filter(({ ended }) => !ended);
}
