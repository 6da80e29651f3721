import { type FileHandle, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Loss } from '../core/accounting.ts';
import {
  CELL_BYTES,
  cellOffsetOf,
  encodeCell,
  killedLifeOf,
  LEDGER_BYTES,
  LEDGER_FILE,
  type LifeAccount,
  livesIn,
  newestOf,
  pendingLossOf,
} from '../core/ledger-cell.ts';
import type { CommittedByLife } from './messages.ts';
import { sumOfLosses } from './untold-losses.ts';

/** The last cell belongs to the mark of a recorder at work. */
export const MARK_OFFSET = LEDGER_BYTES - CELL_BYTES;

/**
 * The account of a recording on its disk: 1 MiB that is allocated once and then written in place, so that a full
 * disk cannot stop the counting. It holds the lives of a capture's recordings in a ring; what a life that was
 * killed had not told the capture, the next one takes over. Nothing here waits on the disk in the thread that
 * answers probes: a disk may take seconds, or hang.
 */
export class LedgerFile {
  readonly #file: FileHandle;
  /** The newest account of each life, by its place in the ring. */
  readonly #lives: (LifeAccount | null)[];
  #place = -1;
  #number = 0;

  private constructor(file: FileHandle, lives: (LifeAccount | null)[]) {
    this.#file = file;
    this.#lives = lives;
  }

  /**
   * Opens the ledger of a capture whose lock is held, or makes it.
   * @throws Error of the file system; there is no ledger then
   */
  static async open(directory: string): Promise<LedgerFile> {
    const path = join(directory, LEDGER_FILE);
    await (await open(path, 'a', 0o600)).close();
    const file = await open(path, 'r+');
    try {
      const bytes = Buffer.alloc(LEDGER_BYTES);
      const { bytesRead } = await file.read(bytes, 0, LEDGER_BYTES, 0);
      // Zeros that are written take their place on the disk now; a file that is only made long takes it later.
      if (bytesRead < LEDGER_BYTES) await file.write(bytes, bytesRead, LEDGER_BYTES - bytesRead, bytesRead);
      await file.sync();
      return new LedgerFile(file, livesIn(bytes));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /**
   * Losses that lives before `life` left untold; what was pending when one was killed is a `crash_gap`.
   * @param committed what the capture holds of lives that were killed
   */
  untold(life: string, nowUs: number, committed: readonly CommittedByLife[] = []): Loss[] {
    const others = this.#lives.filter((one) => one !== null && one.life !== life && one.state !== 'told');
    return sumOfLosses(
      ...others.map((one) => {
        const account = one as LifeAccount;
        const held = committed.find((each) => each.life === account.life)?.exchanges ?? null;
        return [...account.untold, ...pendingLossOf(account, held, nowUs)];
      }),
    );
  }

  /**
   * Marks lives before `life` as told. To be called once their losses stand in the account of `life`.
   * @param foundUs when those that are open were found killed; null where all that they saw is accounted for
   */
  async settleOthers(life: string, foundUs: number | null = null): Promise<void> {
    for (const [place, one] of this.#lives.entries()) {
      if (one === null || one.life === life || one.state === 'told') continue;
      const killed = one.state === 'open' && killedLifeOf(one) !== null && foundUs !== null;
      const told: LifeAccount = {
        ...one,
        number: one.number + 1,
        state: 'told',
        ...(killed ? { foundUs } : {}),
      };
      await this.#file.write(encodeCell(told), 0, CELL_BYTES, cellOffsetOf(place, told.number));
      this.#lives[place] = told;
    }
    await this.#file.datasync();
  }

  /**
   * Writes the account of this recording in its place. One at a time. Written, it outlives all processes; what
   * is synced as well outlives the host.
   * @returns false when somebody else has taken this life's losses over: another recording owns the capture
   * @throws Error of the file system
   */
  async write(account: Omit<LifeAccount, 'number'>, { synced = true } = {}): Promise<boolean> {
    if (this.#place < 0) this.#claim(account.life);
    else if (!(await this.#isOurs(account.life))) return false;
    this.#number += 1;
    const cell = encodeCell({ ...account, number: this.#number });
    await this.#file.write(cell, 0, CELL_BYTES, cellOffsetOf(this.#place, this.#number));
    if (synced) await this.#file.datasync();
    return true;
  }

  /** The feed and the connection that a recorder was at work on when it ended; null for none. */
  async readMark(): Promise<{ slot: number; connection: number } | null> {
    const mark = Buffer.alloc(8);
    await this.#file.read(mark, 0, 8, MARK_OFFSET);
    const slot = mark.readUInt32LE(0);
    return slot === 0 ? null : { slot: slot - 1, connection: mark.readUInt32LE(4) };
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /** The place of the life that ended longest ago. */
  #claim(life: string): void {
    const age = (one: LifeAccount | null) => (one === null ? Number.NEGATIVE_INFINITY : one.atUs);
    const known = this.#lives.findIndex((one) => one?.life === life);
    this.#place =
      known >= 0
        ? known
        : this.#lives.reduce(
            (oldest, one, place, all) => (age(one) < age(all[oldest] ?? null) ? place : oldest),
            0,
          );
    this.#number = this.#lives[this.#place]?.number ?? 0;
  }

  async #isOurs(life: string): Promise<boolean> {
    const bytes = Buffer.alloc(2 * CELL_BYTES);
    await this.#file.read(bytes, 0, bytes.length, cellOffsetOf(this.#place, 0));
    const newest = newestOf(bytes, 0);
    return newest === null || (newest.life === life && newest.state !== 'told');
  }
}

/**
 * The newest account of each life that the ledger of a capture holds, for whoever only looks.
 * @throws Error of the file system
 */
export async function readLives(directory: string): Promise<LifeAccount[]> {
  return livesIn(await readFile(join(directory, LEDGER_FILE))).filter((one) => one !== null);
}
