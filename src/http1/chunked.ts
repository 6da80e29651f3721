import { ASCII } from '../core/ascii.ts';
import { LIMITS } from '../core/limits.ts';
import type { AssemblyBudget } from './budget.ts';
import { GrowingBytes, type Refusal } from './budget.ts';
import { scanFields } from './heads.ts';

const { TAB, LF, CR, SPACE, SEMICOLON } = ASCII;

/** The largest size that stays exact in a double after one more hexadecimal digit. */
const SIZE_BEFORE_DIGIT = 2 ** 48;

type State =
  | 'size'
  | 'after_size'
  | 'extension'
  | 'size_end'
  | 'data'
  | 'data_cr'
  | 'data_lf'
  | 'trailers'
  | 'done';

/** Receives the decoded bytes; the view is valid only during the call. */
export interface DecodedBytes {
  write(bytes: Buffer): void;
}

/**
 * Decodes a chunked body (RFC 9112 section 7.1). Line ends must be CRLF, because recipients differ on a bare
 * LF or CR. Lines are bounded and extensions are skipped. A size that is not hexadecimal stops the reading.
 */
export class ChunkedReader {
  #state: State = 'size';
  #size = 0;
  #digits = 0;
  #lineBytes = 0;
  #trailerLineBytes = 0;
  #previous = 0;
  readonly #trailers: GrowingBytes;
  /** Set when `read` returned -1. */
  refusal: Refusal | 'chunk' | null = null;

  constructor(budget: AssemblyBudget) {
    this.#trailers = new GrowingBytes(LIMITS.trailerBytes, budget);
  }

  get done(): boolean {
    return this.#state === 'done';
  }

  /** Trailer lines with their line ends once done; null if there are none. A view until `clear`. */
  trailers(): Buffer | null {
    // The last two bytes are the blank line.
    return this.#trailers.length > 2 ? this.#trailers.view().subarray(0, -2) : null;
  }

  clear(): void {
    this.#trailers.clear();
  }

  /** Reads from `from`. Returns the position after what it read (`bytes.length` unless done), or -1. */
  read(bytes: Buffer, from: number, decoded: DecodedBytes): number {
    let at = from;
    while (at < bytes.length && this.#state !== 'done') {
      if (this.#state === 'data') at = this.#readData(bytes, at, decoded);
      else if (this.#state === 'trailers') at = this.#readTrailers(bytes, at);
      else if (this.#readFramingByte(bytes[at] ?? 0)) at += 1;
      else at = this.#refuse('chunk');
      if (at < 0) return -1;
    }
    return at;
  }

  #readData(bytes: Buffer, at: number, decoded: DecodedBytes): number {
    const end = Math.min(bytes.length, at + this.#size);
    decoded.write(bytes.subarray(at, end));
    this.#size -= end - at;
    if (this.#size === 0) this.#state = 'data_cr';
    return end;
  }

  /** Reads one byte of a size line or of the line end after a chunk; false if it is invalid. */
  #readFramingByte(byte: number): boolean {
    switch (this.#state) {
      case 'data_cr':
        this.#state = 'data_lf';
        return byte === CR;
      case 'data_lf':
        this.#state = 'size';
        return byte === LF;
      case 'size_end':
        return byte === LF && this.#startChunk();
      default:
        this.#lineBytes += 1;
        return this.#lineBytes <= LIMITS.chunkLineBytes && this.#readSizeLineByte(byte);
    }
  }

  #readSizeLineByte(byte: number): boolean {
    if (this.#state === 'size') {
      const digit = hexDigit(byte);
      if (digit >= 0) return this.#addDigit(digit);
      if (this.#digits === 0) return false;
      this.#state = 'after_size';
    }
    if (byte === CR) {
      this.#state = 'size_end';
      return true;
    }
    if (this.#state === 'after_size') {
      if (byte === SEMICOLON) this.#state = 'extension';
      return byte === SEMICOLON || byte === SPACE || byte === TAB;
    }
    return byte >= SPACE || byte === TAB;
  }

  #addDigit(digit: number): boolean {
    if (this.#size >= SIZE_BEFORE_DIGIT) return false;
    this.#size = this.#size * 16 + digit;
    this.#digits += 1;
    return true;
  }

  #startChunk(): boolean {
    this.#state = this.#size === 0 ? 'trailers' : 'data';
    this.#digits = 0;
    this.#lineBytes = 0;
    return true;
  }

  #readTrailers(bytes: Buffer, from: number): number {
    for (let at = from; at < bytes.length; at += 1) {
      const byte = bytes[at] ?? 0;
      this.#trailerLineBytes += 1;
      if (byte === LF) {
        if (this.#previous !== CR) return this.#refuse('chunk');
        if (this.#trailerLineBytes === 2) return this.#endTrailers(bytes, from, at + 1);
        this.#trailerLineBytes = 0;
      }
      this.#previous = byte;
    }
    const refusal = this.#trailers.append(bytes, from, bytes.length);
    return refusal === null ? bytes.length : this.#refuse(refusal);
  }

  #endTrailers(bytes: Buffer, from: number, end: number): number {
    const refusal = this.#trailers.append(bytes, from, end);
    if (refusal !== null) return this.#refuse(refusal);
    if (this.#trailers.length > 2 && scanFields(this.#trailers.view().toString('latin1'), 0, true) === null) {
      return this.#refuse('chunk');
    }
    this.#state = 'done';
    return end;
  }

  #refuse(refusal: Refusal | 'chunk'): number {
    this.refusal = refusal;
    return -1;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
