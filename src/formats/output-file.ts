import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';

/** Bytes gathered before they are written. */
const BUFFER_BYTES = 256 * 1024;

/** A new file (0600) that is filled in one go; what is there already is never written to. */
export class OutputFile {
  readonly #descriptor: number;
  readonly #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #written = 0;
  #open = true;

  /** @throws what the file system throws; EEXIST where something is there */
  constructor(path: string) {
    this.#descriptor = openSync(path, 'wx', 0o600);
  }

  /** Bytes taken so far. */
  get bytes(): number {
    return this.#written + this.#pendingBytes;
  }

  write(piece: string | Uint8Array): void {
    const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece;
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes >= BUFFER_BYTES) this.#flush();
  }

  /** Writes what is left and makes it durable. */
  end(): void {
    this.#flush();
    fsyncSync(this.#descriptor);
    this.abandon();
  }

  /** Lets go of the file, however much of it was written. */
  abandon(): void {
    if (this.#open) closeSync(this.#descriptor);
    this.#open = false;
  }

  #flush(): void {
    const whole = Buffer.concat(this.#pending);
    this.#pending.length = 0;
    this.#pendingBytes = 0;
    for (let at = 0; at < whole.length; ) at += writeSync(this.#descriptor, whole, at);
    this.#written += whole.length;
  }
}
