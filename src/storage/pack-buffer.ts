const FIRST_BYTES = 64 * 1024;
/** Larger than this it is not kept for the next: one body of many MiB must not stay in memory for good. */
const KEPT_BYTES = 4 * 1024 * 1024;

const NIL = 0xc0;
const BIN8 = 0xc4;
const FLOAT64 = 0xcb;
const UINT8 = 0xcc;
const STR8 = 0xd9;
const ARRAY16 = 0xdc;
const LEAST_ARRAY = 0x90;

/**
 * Writes MessagePack, no more of it than a capture holds: arrays, byte strings, texts, numbers and nil. Into one
 * buffer that is used again, because thousands of exchanges a second are packed here, and a general packer that
 * looks at the type of everything takes five times as long. Whatever reads MessagePack reads it.
 */
export class PackBuffer {
  #bytes: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #length = 0;

  /** Begins anew. */
  clear(): void {
    this.#length = 0;
    if (this.#bytes.length > KEPT_BYTES) this.#bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  }

  /** What was written: a view, good until the next `clear`. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** A copy of what was written. */
  copy(): Buffer {
    return Buffer.from(this.view());
  }

  nil(): void {
    this.#room(1);
    this.#bytes[this.#length++] = NIL;
  }

  /** Begins an array of so many elements, which are to follow. */
  array(elements: number): void {
    this.#room(5);
    if (elements < 16) this.#bytes[this.#length++] = LEAST_ARRAY | elements;
    else this.#sized(ARRAY16 - 1, elements, 2);
  }

  binary(bytes: Uint8Array): void {
    this.#room(5 + bytes.length);
    this.#sized(BIN8, bytes.length, 1);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  text(text: string): void {
    if (text.length < 32 && this.#shortAscii(text)) return;
    const length = Buffer.byteLength(text);
    this.#room(5 + length);
    if (length < 32) this.#bytes[this.#length++] = 0xa0 | length;
    else this.#sized(STR8, length, 1);
    this.#bytes.write(text, this.#length);
    this.#length += length;
  }

  /** Names of headers, mostly: a call of the encoder takes longer than their characters. False: it is not ASCII. */
  #shortAscii(text: string): boolean {
    this.#room(1 + text.length);
    const bytes = this.#bytes;
    const start = this.#length + 1;
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (code > 0x7f) return false;
      bytes[start + at] = code;
    }
    bytes[this.#length] = 0xa0 | text.length;
    this.#length = start + text.length;
    return true;
  }

  /** Whole numbers up to 32 bits take one to five bytes, others nine. */
  number(value: number): void {
    this.#room(9);
    if (value >= 0 && value < 0x80 && Number.isInteger(value)) this.#bytes[this.#length++] = value;
    else if (value >= 0x80 && value <= 0xffff_ffff && Number.isInteger(value)) this.#sized(UINT8, value, 1);
    else {
      this.#bytes[this.#length++] = FLOAT64;
      this.#length = this.#bytes.writeDoubleBE(value, this.#length);
    }
  }

  numbers(values: readonly number[]): void {
    this.array(values.length);
    for (const value of values) this.number(value);
  }

  /** A type byte and a number of 1, 2 or 4 bytes; the types of the three lie side by side. */
  #sized(type: number, value: number, leastBytes: 1 | 2): void {
    const bytes = this.#bytes;
    let at = this.#length;
    if (value <= 0xff && leastBytes === 1) {
      bytes[at++] = type;
    } else if (value <= 0xffff) {
      bytes[at++] = type + 1;
      bytes[at++] = value >>> 8;
    } else {
      bytes[at++] = type + 2;
      bytes[at++] = value >>> 24;
      bytes[at++] = value >>> 16;
      bytes[at++] = value >>> 8;
    }
    bytes[at++] = value;
    this.#length = at;
  }

  #room(needed: number): void {
    const end = this.#length + needed;
    if (end <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(end, 2 * this.#bytes.length));
    grown.set(this.view());
    this.#bytes = grown;
  }
}
