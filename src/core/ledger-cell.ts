import { crc32 } from 'node:zlib';
import type { Loss } from './accounting.ts';
import type { StatusTally } from './status.ts';

/** The account of one life of a recording as its ledger holds it. Times are epoch microseconds. */
export interface LifeAccount {
  readonly life: string;
  /** Counts the writings of this life; of two valid cells the greater one holds. */
  readonly number: number;
  /** `open`: running, or killed. `ended`: stopped in good order. `told`: a later life has taken over its losses. */
  readonly state: 'open' | 'ended' | 'told';
  readonly startedUs: number;
  readonly atUs: number;
  readonly seen: StatusTally;
  readonly recorded: StatusTally;
  readonly lost: Readonly<Record<string, StatusTally>>;
  readonly omitted: Readonly<Record<string, StatusTally>>;
  readonly pending: StatusTally;
  /** All that its forwarders saw until then is in this account. Without it: until `atUs`, or a moment before. */
  readonly knownUntilUs?: number;
  /** Its forwarders have ended: nothing passes that it does not count. What is pending may be committed yet. */
  readonly complete?: boolean;
  /** So many exchanges the recorder had said it committed. */
  readonly exchanges?: number;
  /** Losses that no segment of the capture is known to hold. */
  readonly untold: readonly Loss[];
  /** Of one that was killed: when a later recording found that. */
  readonly foundUs?: number;
}

/** A recording that was killed: what passed after its last account nobody counted. Times are epoch microseconds. */
export interface KilledLife {
  readonly life: string;
  readonly startedUs: number;
  readonly knownUntilUs: number;
  /** When a later recording found that; null while none has. */
  readonly foundUs: number | null;
}

/** Where the accounts of a capture's recordings lie in its directory. */
export const LEDGER_FILE = 'ledger.bin';

/** One page of a file system: it is written whole or, where it tears, the checksum says so. */
export const CELL_BYTES = 4_096;
/** Its whole size, for good. */
export const LEDGER_BYTES = 1024 * 1024;
/** Each life has two cells and writes them in turn, so that the one before is whole while the other is written. */
const LIVES = Math.floor((LEDGER_BYTES / CELL_BYTES - 1) / 2);
const HEADER_BYTES = 16;
const MAGIC = 0x314c5052;

/** `RPL1`, CRC-32 of what follows it, length of the text, four zero bytes, the account as JSON; rest zero. */
export function encodeCell(account: LifeAccount): Buffer {
  const cell = Buffer.alloc(CELL_BYTES);
  const length = cell.write(JSON.stringify(account), HEADER_BYTES, 'utf8');
  cell.writeUInt32LE(MAGIC, 0);
  cell.writeUInt32LE(length, 8);
  cell.writeUInt32LE(checksumOf(cell, length), 4);
  return cell;
}

/** Null for a cell that was never written, or not to its end. */
export function decodeCell(cell: Buffer): LifeAccount | null {
  if (cell.length < CELL_BYTES || cell.readUInt32LE(0) !== MAGIC) return null;
  const length = cell.readUInt32LE(8);
  if (length > CELL_BYTES - HEADER_BYTES || cell.readUInt32LE(4) !== checksumOf(cell, length)) return null;
  return JSON.parse(cell.toString('utf8', HEADER_BYTES, HEADER_BYTES + length)) as LifeAccount;
}

/** The newest account of each life in the bytes of a ledger, by its place in the ring. */
export function livesIn(bytes: Buffer): (LifeAccount | null)[] {
  return Array.from({ length: LIVES }, (_, place) => newestOf(bytes, place));
}

/** Where the writing of that number belongs of the life in a place. */
export function cellOffsetOf(place: number, number: number): number {
  return (2 * place + (number % 2)) * CELL_BYTES;
}

/** The newer of the two cells of a place, where `bytes` begin with place 0. */
export function newestOf(bytes: Buffer, place: number): LifeAccount | null {
  const [even, odd] = [0, 1].map((turn) => {
    const offset = cellOffsetOf(place, turn);
    return decodeCell(bytes.subarray(offset, offset + CELL_BYTES));
  });
  if (!even || !odd) return even ?? odd ?? null;
  return even.number > odd.number ? even : odd;
}

/**
 * Null where it ended, or runs, as far as its account says, or where nobody can have seen more than that says. One
 * that is `open` runs, or was killed.
 */
export function killedLifeOf(account: LifeAccount): KilledLife | null {
  const { life, startedUs, atUs, knownUntilUs = atUs, foundUs = null, state, complete = false } = account;
  const isKilled = foundUs !== null || (state === 'open' && !complete);
  return isKilled ? { life, startedUs, knownUntilUs, foundUs } : null;
}

/**
 * What a life that was killed leaves lost: what it had pending by its last account, less what was committed after
 * that; its bytes by the share that is lost of its turns.
 * @param committed exchanges of its segments that arrived until then; null where nobody knows
 */
export function pendingLossOf(account: LifeAccount, committed: number | null, toUs: number): Loss[] {
  const { pending, exchanges, atUs, knownUntilUs = atUs } = account;
  const late = committed === null || exchanges === undefined ? 0 : Math.max(0, committed - exchanges);
  const turns = Math.max(0, pending.turns - late);
  const bytes = pending.turns === 0 ? pending.bytes : Math.round((pending.bytes * turns) / pending.turns);
  if (account.state !== 'open' || bytes + turns === 0) return [];
  return [{ reason: 'crash_gap', exchanges: turns, bytes, fromUs: knownUntilUs, toUs }];
}

function checksumOf(cell: Buffer, length: number): number {
  return crc32(cell.subarray(8, HEADER_BYTES + length));
}
