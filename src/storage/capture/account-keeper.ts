import { constants, existsSync, writeFileSync } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { accountFileOf, type LifeAccount } from '../../core/accounting.ts';
import { reasonOf } from '../../core/errors.ts';
import type { Guard, Logger } from '../../core/ports.ts';
import { besideOf, UNNAMED_SUFFIX } from './accounts.ts';
import { assertOwn, hasCode, isCaptureFile, isMissing, OWN_SUBDIRECTORY } from './directory.ts';
import { SpareAccount } from './spare-account.ts';

/**
 * One page of a file system. The file has this size from the start, so a full disk cannot stop the counting.
 */
const FILE_BYTES = 4_096;
/** Links are not followed, because others may write beside a capture. */
const OPEN_FLAGS = constants.O_RDWR | constants.O_NOFOLLOW;

/** An account allows for the turns of this much time after it, at the rate of the last turns. */
const AHEAD_MS = 100;
/** It allows for at least this many turns. After half of the allowed turns, a newer account is written. */
const LEAST_AHEAD = 32;
/** A write to the capture that takes longer hangs. */
const HANG_US = 1e6;
const SPARE_RENEWAL_US = 3_600e6;
/** A shorter time gives no reliable rate. */
const LEAST_SPAN_MS = 10;

interface AccountKeeperDeps {
  /** The directory that the user named. */
  readonly dir: string;
  /** Whether nothing passes before the capture is open. Then an account is not missed before. */
  readonly opensFirst: boolean;
  readonly accountOf: () => LifeAccount;
  /** Calls `notice` once, when this many turns have been seen. */
  readonly noticeAt: (turns: number, notice: () => void) => void;
  readonly logger: Logger;
  readonly guard: Guard;
}

/**
 * Keeps the account of the running recording in its file, even before the first byte passes. The file is in the
 * capture, or beside it if the capture cannot be written. There is one write at a time. Writes are asynchronous,
 * because a disk may hang and the process that counts also forwards traffic. If the disk refuses a write, one line is
 * logged, and the write is tried again.
 */
export class AccountKeeper {
  readonly #deps: AccountKeeperDeps;
  /** The capture, once a recorder has it open. */
  #directory: string | null = null;
  #path = '';
  #handle: FileHandle | null = null;
  /** Whether the file is outside the capture that a recorder has opened. */
  #moved = false;
  #busy: Promise<void> | null = null;
  /** Whether a newer account is due when the current write ends. */
  #again = false;
  #written = '';
  /** Null before the start, and if there is no other file system. */
  #spare: SpareAccount | null = null;
  #spareAtUs = 0;
  /** The write of the spare account; null if there is none. */
  #sparing: Promise<boolean> | null = null;
  /** Time of the account that is being written, for a disk that hangs. */
  #busySinceUs = 0;
  /** Turns and time of the last account, for the rate. */
  #last = { turns: 0, atUs: 0 };
  #failing = false;

  constructor(deps: AccountKeeperDeps) {
    this.#deps = deps;
  }

  /**
   * Writes the first account. Waits at most this many milliseconds, so that a hanging disk does not delay the start.
   */
  async begin(limitMs: number): Promise<void> {
    await within(limitMs, this.#findSpare());
    this.write();
    await within(limitMs, this.#busy ?? Promise.resolve());
  }

  async #findSpare(): Promise<void> {
    const { dir, accountOf } = this.#deps;
    const account = accountOf();
    this.#spare = await SpareAccount.of(await captureOf(dir), account.life);
    await this.#writeSpare(account);
  }

  /** Our recorder has opened the capture in this directory, which may have been removed and created again. */
  moveTo(directory: string): void {
    this.#directory = directory;
    this.#moved = dirname(this.#path) !== directory || !existsSync(this.#path);
    this.write();
  }

  write(): void {
    const { accountOf, guard } = this.#deps;
    if (this.#busy !== null) {
      const account = accountOf();
      if (account.atUs - this.#busySinceUs > HANG_US && this.#sparing === null)
        guard.start(() => this.#writeSpare(this.#withAhead(account)));
      return;
    }
    this.#busySinceUs = accountOf().atUs;
    const over = guard.wrap(() => {
      this.#busy = null;
      if (this.#again) this.write();
    });
    this.#busy = guard.finish(() => this.#write()).then(over);
  }

  #writeAgain(): void {
    this.#again = this.#busy !== null;
    this.write();
  }

  /** Writes the last account. Waits at most this many milliseconds, so that a hanging disk does not delay the stop. */
  async end(limitMs: number): Promise<void> {
    const last = async () => {
      await this.#busy;
      await this.#write();
      await this.#close();
    };
    await within(limitMs, last());
    const account = this.#deps.accountOf();
    if (this.#written === textOf({ ...account, turnsAhead: 0, spare: null })) await this.#spare?.remove();
    else await within(limitMs, this.#writeSpare(account));
  }

  /** The recording never began, so its file is removed. */
  async discard(limitMs: number): Promise<void> {
    const last = async () => {
      await this.#busy;
      await this.#close();
      await this.#spare?.remove();
      await rm(this.#path, { force: true });
      // This succeeds only if we created it, because another capture is not empty.
      await rmdir(dirname(this.#path));
    };
    if (this.#path !== '') await within(limitMs, last());
  }

  async #write(): Promise<void> {
    this.#again = false;
    const { accountOf, noticeAt, logger, guard } = this.#deps;
    const account = this.#withAhead(accountOf());
    // Not while a chunk is being counted, because the counts are incomplete then.
    noticeAt(account.seen.turns + account.turnsAhead / 2, () => guard.next(() => this.#writeAgain()));
    const text = textOf(account);
    // Written again every quarter of a second even if unchanged, so that a reader sees that the recording runs.
    const isNews = text !== this.#written;
    try {
      await this.#put(account);
      // Cleaners of temporary files remove what nobody has written for days.
      if (account.atUs - this.#spareAtUs > SPARE_RENEWAL_US) await this.#writeSpare(account);
      if (account.ended && isNews) await this.#handle?.datasync();
      this.#written = text;
      if (this.#failing) logger.info({}, 'the account of the recording can be written again');
      this.#failing = false;
    } catch (error) {
      const isSpared = await this.#writeSpare(account);
      // A capture that cannot be opened ends the start, and its error has the reason.
      const isMissed = this.#directory !== null || !this.#deps.opensFirst;
      if (!this.#failing && isMissed) {
        const until = isSpared
          ? `it is in ${this.#spare?.path} until it can`
          : 'it is lost if all processes are killed';
        const message = `the account of the recording cannot be written to the capture; ${until}`;
        logger.error({ reason: reasonOf(error) }, message);
      }
      this.#failing ||= isMissed;
      await this.#close().catch(() => undefined);
    }
  }

  #withAhead(account: LifeAccount): LifeAccount & { readonly turnsAhead: number } {
    const { seen, atUs } = account;
    const spanMs = Math.max(LEAST_SPAN_MS, (atUs - this.#last.atUs) / 1e3);
    const ahead = Math.ceil(((seen.turns - this.#last.turns) / spanMs) * AHEAD_MS);
    this.#last = { turns: seen.turns, atUs };
    return {
      ...account,
      turnsAhead: account.ended ? 0 : Math.max(LEAST_AHEAD, ahead),
      spare: account.ended ? null : (this.#spare?.path ?? null),
    };
  }

  /**
   * One write at a time, as to the capture. Each one that hangs holds a thread of the process, and these also look up
   * the names of targets.
   * @returns whether the account is there now
   */
  async #writeSpare(account: LifeAccount): Promise<boolean> {
    const before = this.#sparing;
    const write = async () => {
      await before;
      return this.#putSpare(account);
    };
    const sparing = write();
    this.#sparing = sparing;
    const isThere = await sparing;
    if (this.#sparing === sparing) this.#sparing = null;
    return isThere;
  }

  async #putSpare(account: LifeAccount): Promise<boolean> {
    if (this.#spare === null) return false;
    try {
      await this.#spare.write(paged(account));
      this.#spareAtUs = account.atUs;
      return true;
    } catch {
      // The caller says that the account is nowhere. At a start, there is no such place.
      if (this.#spareAtUs === 0) this.#spare = null;
      return false;
    }
  }

  async #put(account: LifeAccount): Promise<void> {
    const bytes = paged(this.#spare === null && !account.ended ? { ...account, turnsAhead: null } : account);
    if (this.#moved) await this.#close().catch(() => undefined);
    this.#moved = false;
    if (this.#handle !== null) await this.#handle.write(bytes, 0, FILE_BYTES, 0);
    else await this.#putAnew(bytes, accountFileOf(account.life));
  }

  /** @throws the error of the capture if it can be written nowhere */
  async #putAnew(bytes: Buffer, file: string): Promise<void> {
    const capture = this.#directory ?? (await captureOf(this.#deps.dir));
    const beside = besideOf(capture, file);
    try {
      await makeOwn(capture);
      await this.#putAt(join(capture, file), bytes);
    } catch (error) {
      await this.#putAt(beside, bytes).catch(() => {
        throw error;
      });
      return;
    }
    // A full disk may have left an empty one.
    await rm(beside, { force: true }).catch(() => undefined);
  }

  async #putAt(path: string, bytes: Buffer): Promise<void> {
    const handle = await open(path, OPEN_FLAGS).catch((error) => {
      if (isMissing(error)) return createWhole(path, bytes);
      throw error;
    });
    try {
      await handle.write(bytes, 0, FILE_BYTES, 0);
    } catch (error) {
      await handle.close();
      throw error;
    }
    const before = this.#path;
    this.#path = path;
    this.#handle = handle;
    if (before !== '' && before !== path) await rm(before, { force: true }).catch(() => undefined);
  }

  async #close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    await handle?.close();
  }
}

/** An account without its time, to see whether anything else changed. */
function textOf(account: LifeAccount): string {
  return JSON.stringify({ ...account, atUs: 0 });
}

function paged(account: LifeAccount): Buffer {
  const bytes = Buffer.alloc(FILE_BYTES, ' ');
  bytes.write(JSON.stringify(account));
  return bytes;
}

/**
 * Creates a file that is complete as soon as it has its name. If there is no room for it, an empty file gets the name.
 * Then a reader knows that something is unknown.
 */
async function createWhole(path: string, bytes: Buffer): Promise<FileHandle> {
  const unnamed = `${path}${UNNAMED_SUFFIX}`;
  const handle = await open(unnamed, OPEN_FLAGS | constants.O_CREAT, 0o600);
  try {
    await handle.write(bytes, 0, FILE_BYTES, 0);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  } finally {
    await rename(unnamed, path);
  }
}

/** Waits for work, but no longer than this. */
async function within(limitMs: number, work: Promise<unknown>): Promise<void> {
  const timer = new AbortController();
  const late = sleep(limitMs, undefined, { signal: timer.signal });
  await Promise.race([work, late]).catch(() => undefined);
  timer.abort();
}

/**
 * Writes the account of a recording that was killed before it could write one. An existing account is newer and stays.
 */
export function leaveAccount(captureDirectory: string, account: LifeAccount): void {
  try {
    const text = JSON.stringify(account).padEnd(FILE_BYTES);
    writeFileSync(join(captureDirectory, accountFileOf(account.life)), text, { flag: 'wx', mode: 0o600 });
  } catch {
    // It exists, or the disk fails. What came through the pipe is kept anyway.
  }
}

/** The capture that a recording to `directory` writes to, like `resolveCaptureDirectory` but asynchronous. */
async function captureOf(directory: string): Promise<string> {
  // Missing, closed to this user, or a file. If it becomes a capture, the capture is at this path.
  const files = await readdir(directory).catch(() => null);
  return files === null || files.some(isCaptureFile) ? directory : join(directory, OWN_SUBDIRECTORY);
}

/** @throws AppError OUTPUT_UNWRITABLE if another user owns it; Error of the file system */
async function makeOwn(capture: string): Promise<void> {
  try {
    await makeBelow(capture, 0o700);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
    assertOwn(capture, await lstat(capture));
  }
}

/** Like `makeDirectories`, but asynchronous, and with EEXIST for an existing path. */
async function makeBelow(path: string, mode?: number): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    if (!isMissing(error) || dirname(path) === path) throw error;
    await makeBelow(dirname(path)).catch((thrown) => {
      if (!hasCode(thrown, 'EEXIST')) throw thrown;
    });
    await mkdir(path, { mode });
  }
}
