import { openSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const MARK_FILE = 'recorder.mark';
const MARK_BYTES = 4;
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

  /** In a capture. Null where it cannot be had: a recorder does its work without leaving word of it. */
  static open(directory: string): WorkMark | null {
    try {
      return new WorkMark(openSync(join(directory, MARK_FILE), 'w', 0o600));
    } catch {
      // A failing disk must not keep a recorder from its work over a precaution.
      return null;
    }
  }

  set(connection: number): void {
    this.#bytes.writeUInt32LE(connection, 0);
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
      writeSync(this.#fd, bytes, 0, MARK_BYTES, 0);
    } catch {
      // The capture's own writes meet a failing disk as well, and report it.
      this.#retired = true;
    }
  }
}

/** The connection that a recorder was at work on when it ended; null for none. */
export async function readMark(directory: string): Promise<number | null> {
  try {
    const mark = await readFile(join(directory, MARK_FILE));
    const connection = mark.length < MARK_BYTES ? 0 : mark.readUInt32LE(0);
    return connection === 0 ? null : connection;
  } catch {
    return null;
  }
}
