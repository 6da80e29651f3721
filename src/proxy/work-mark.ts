import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { LEDGER_FILE } from '../core/ledger-cell.ts';
import { MARK_OFFSET } from './ledger-file.ts';

const MARK_BYTES = 8;
const NONE = Buffer.alloc(MARK_BYTES);

/**
 * Says on disk which connection a recorder is at work on, so that whoever finds it dead knows what it died of. It
 * costs two writes a frame, into the page cache; a recorder keeps it only when the one before died.
 */
export class WorkMark {
  readonly #fd: number;
  readonly #bytes = Buffer.alloc(MARK_BYTES);
  #retired = false;

  private constructor(fd: number) {
    this.#fd = fd;
    this.clear();
  }

  /** In the ledger of a capture. Null without one: a recorder does its work without leaving word of it. */
  static open(directory: string): WorkMark | null {
    try {
      return new WorkMark(openSync(join(directory, LEDGER_FILE), 'r+'));
    } catch {
      // The ledger is the supervisor's; what keeps it from being there is in the log already.
      return null;
    }
  }

  set(slot: number, connection: number): void {
    this.#bytes.writeUInt32LE(slot + 1, 0);
    this.#bytes.writeUInt32LE(connection, 4);
    this.#write(this.#bytes);
  }

  clear(): void {
    this.#write(NONE);
  }

  /** Nothing has happened for long enough: the mark is empty from now on, and costs nothing. */
  retire(): void {
    this.clear();
    this.#retired = true;
  }

  #write(bytes: Buffer): void {
    if (this.#retired) return;
    try {
      writeSync(this.#fd, bytes, 0, MARK_BYTES, MARK_OFFSET);
    } catch {
      // A failing disk must not end a recorder over a precaution; the capture's own writes meet it and report it.
      this.#retired = true;
    }
  }
}
