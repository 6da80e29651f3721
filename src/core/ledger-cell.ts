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
  /** Losses that no segment of the capture is known to hold. */
  readonly untold: readonly Loss[];
}

/** Where the accounts of a capture's recordings lie in its directory. */
export const LEDGER_FILE = 'ledger.bin';

/** One page of a file system: it is written whole or, where it tears, the checksum says so. */
export const CELL_BYTES = 4_096;
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

function checksumOf(cell: Buffer, length: number): number {
  return crc32(cell.subarray(8, HEADER_BYTES + length));
}
