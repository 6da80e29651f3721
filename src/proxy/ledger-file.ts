import { closeSync, fdatasync, fsyncSync, openSync, readSync, write, writeSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Loss } from '../core/accounting.ts';
import { CELL_BYTES, decodeCell, encodeCell, type LifeAccount } from './ledger-cell.ts';
import { sumOfLosses } from './untold-losses.ts';

export const LEDGER_FILE = 'ledger.bin';
/** Its whole size, for good. */
export const LEDGER_BYTES = 1024 * 1024;
/** The last cell belongs to the mark of a recorder at work. */
export const MARK_OFFSET = LEDGER_BYTES - CELL_BYTES;
/** Each life has two cells and writes them in turn, so that the one before is whole while the other is written. */
const LIVES = Math.floor((LEDGER_BYTES / CELL_BYTES - 1) / 2);

const writeAt = promisify(write);
const syncData = promisify(fdatasync);

/**
 * The account of a recording on its disk: 1 MiB that is allocated once and then written in place, so that a full
 * disk cannot stop the counting. It holds the lives of a capture's recordings in a ring; what a life that was
 * killed had not told the capture, the next one takes over.
 */
export class LedgerFile {
  readonly #fd: number;
  /** The newest account of each life, by its place in the ring. */
  readonly #lives: (LifeAccount | null)[];
  #place = -1;
  #number = 0;
  #writing: Promise<void> | null = null;

  private constructor(fd: number, lives: (LifeAccount | null)[]) {
    this.#fd = fd;
    this.#lives = lives;
  }

  /**
   * Opens the ledger of a capture whose lock is held, or makes it.
   * @throws Error of the file system; there is no ledger then
   */
  static open(directory: string): LedgerFile {
    const fd = openSync(join(directory, LEDGER_FILE), 'a', 0o600);
    closeSync(fd);
    const file = openSync(join(directory, LEDGER_FILE), 'r+');
    try {
      const bytes = Buffer.alloc(LEDGER_BYTES);
      const length = readSync(file, bytes, 0, LEDGER_BYTES, 0);
      // Zeros that are written take their place on the disk now; a file that is only made long takes it later.
      if (length < LEDGER_BYTES) writeSync(file, bytes, length, LEDGER_BYTES - length, length);
      fsyncSync(file);
      return new LedgerFile(
        file,
        Array.from({ length: LIVES }, (_, place) => newestOf(bytes, place)),
      );
    } catch (error) {
      closeSync(file);
      throw error;
    }
  }

  /** Losses that lives before `life` left untold; what was pending when one was killed is a `crash_gap`. */
  untold(life: string, nowUs: number): Loss[] {
    const others = this.#lives.filter((one) => one !== null && one.life !== life && one.state !== 'told');
    return sumOfLosses(
      ...others.map((one) => [...(one as LifeAccount).untold, ...gapOf(one as LifeAccount, nowUs)]),
    );
  }

  /** Marks lives before `life` as told. To be called once their losses stand in the account of `life`. */
  settleOthers(life: string): void {
    for (const [place, one] of this.#lives.entries()) {
      if (one === null || one.life === life || one.state === 'told') continue;
      const told: LifeAccount = { ...one, number: one.number + 1, state: 'told' };
      writeSync(this.#fd, encodeCell(told), 0, CELL_BYTES, offsetOf(place, told.number));
      this.#lives[place] = told;
    }
    fsyncSync(this.#fd);
  }

  /**
   * Writes the account of this recording in its place. Writings do not queue: one that comes while another is
   * under way is left out, because the next one says all it would have said.
   * @returns false when somebody else has taken this life's losses over: another recording owns the capture
   * @throws Error of the file system
   */
  async write(account: Omit<LifeAccount, 'number'>, { whatever = false } = {}): Promise<boolean> {
    if (this.#writing && !whatever) return true;
    await this.#writing?.catch(() => undefined);
    if (this.#place < 0) this.#claim(account.life);
    else if (!this.#isOurs(account.life)) return false;
    this.#number += 1;
    const cell = encodeCell({ ...account, number: this.#number });
    this.#writing = this.#put(cell, offsetOf(this.#place, this.#number));
    try {
      await this.#writing;
    } finally {
      this.#writing = null;
    }
    return true;
  }

  /** The feed and the connection that a recorder was at work on when it ended; null for none. */
  readMark(): { slot: number; connection: number } | null {
    const mark = Buffer.alloc(8);
    readSync(this.#fd, mark, 0, 8, MARK_OFFSET);
    const slot = mark.readUInt32LE(0);
    return slot === 0 ? null : { slot: slot - 1, connection: mark.readUInt32LE(4) };
  }

  close(): void {
    closeSync(this.#fd);
  }

  async #put(cell: Buffer, offset: number): Promise<void> {
    await writeAt(this.#fd, cell, 0, CELL_BYTES, offset);
    await syncData(this.#fd);
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

  #isOurs(life: string): boolean {
    const bytes = Buffer.alloc(2 * CELL_BYTES);
    readSync(this.#fd, bytes, 0, bytes.length, offsetOf(this.#place, 0));
    const newest = newestOf(bytes, 0);
    return newest === null || (newest.life === life && newest.state !== 'told');
  }
}

function offsetOf(place: number, number: number): number {
  return (2 * place + (number % 2)) * CELL_BYTES;
}

function newestOf(bytes: Buffer, place: number): LifeAccount | null {
  const [even, odd] = [0, 1].map((turn) => {
    const offset = offsetOf(place, turn);
    return decodeCell(bytes.subarray(offset, offset + CELL_BYTES));
  });
  if (!even || !odd) return even ?? odd ?? null;
  return even.number > odd.number ? even : odd;
}

function gapOf(life: LifeAccount, nowUs: number): Loss[] {
  const { pending } = life;
  if (life.state !== 'open' || pending.bytes + pending.turns === 0) return [];
  return [
    { reason: 'crash_gap', exchanges: pending.turns, bytes: pending.bytes, fromUs: life.atUs, toUs: nowUs },
  ];
}
