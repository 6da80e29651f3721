const NIL = 0xc0;
const NO_TEXTS: readonly string[] = [];
const NO_NUMBERS: readonly number[] = [];

/** Bytes of the length that follows the type of a byte string, a text or an array. */
const BINARY_WIDTHS: ReadonlyMap<number, number> = new Map([
  [0xc4, 1],
  [0xc5, 2],
  [0xc6, 4],
]);
const TEXT_WIDTHS: ReadonlyMap<number, number> = new Map([
  [0xd9, 1],
  [0xda, 2],
  [0xdb, 4],
]);
const ARRAY_WIDTHS: ReadonlyMap<number, number> = new Map([
  [0xdc, 2],
  [0xdd, 4],
]);
/** How the types of numbers are read, and in how many bytes. */
const NUMBERS: ReadonlyMap<number, readonly [bytes: number, read: (raw: Buffer, at: number) => number]> =
  new Map([
    [0xca, [4, (raw, at) => raw.readFloatBE(at)]],
    [0xcb, [8, (raw, at) => raw.readDoubleBE(at)]],
    [0xcc, [1, (raw, at) => raw.readUInt8(at)]],
    [0xcd, [2, (raw, at) => raw.readUInt16BE(at)]],
    [0xce, [4, (raw, at) => raw.readUInt32BE(at)]],
    [0xcf, [8, (raw, at) => Number(raw.readBigUInt64BE(at))]],
    [0xd0, [1, (raw, at) => raw.readInt8(at)]],
    [0xd1, [2, (raw, at) => raw.readInt16BE(at)]],
    [0xd2, [4, (raw, at) => raw.readInt32BE(at)]],
    [0xd3, [8, (raw, at) => Number(raw.readBigInt64BE(at))]],
  ]);

/** What was to be read is not there. */
export class PackError extends Error {}

/**
 * Reads what `PackBuffer` writes, front to back and only as far as it is asked: of an exchange that is sent again
 * its answer, with a time for each of its pieces, need not be looked at. Nothing is read past the end, and no room
 * is made for more than the bytes can hold.
 */
export class PackReader {
  readonly #raw: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#raw = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Where the next item begins. */
  get at(): number {
    return this.#at;
  }

  /** Goes past nil; false where something else stands. */
  nil(): boolean {
    if (this.#raw[this.#at] !== NIL) return false;
    this.#at += 1;
    return true;
  }

  /** Goes into an array. @returns its number of elements */
  array(): number {
    const type = this.#type();
    const length = type >> 4 === 0x9 ? type & 0xf : this.#length(ARRAY_WIDTHS.get(type));
    // Each element takes a byte at least.
    if (length > this.#raw.length - this.#at) throw new PackError('an array is cut off');
    return length;
  }

  /** A view over the bytes. */
  binary(): Buffer {
    return this.#raw.subarray(this.passBinary(), this.#at);
  }

  /** Goes past a byte string. @returns where it begins; it ends where the next item begins */
  passBinary(): number {
    return this.#take(this.#length(BINARY_WIDTHS.get(this.#type())));
  }

  text(): string {
    const type = this.#type();
    const length = type >> 5 === 0x5 ? type & 0x1f : this.#length(TEXT_WIDTHS.get(type));
    return this.#raw.toString('utf8', this.#take(length), this.#at);
  }

  number(): number {
    const type = this.#type();
    if (type < 0x80) return type;
    if (type >= 0xe0) return type - 0x100;
    const number = NUMBERS.get(type);
    if (number === undefined) throw new PackError('there is no number');
    const [bytes, read] = number;
    return read(this.#raw, this.#take(bytes));
  }

  texts(): readonly string[] {
    const length = this.array();
    return length === 0 ? NO_TEXTS : Array.from({ length }, () => this.text());
  }

  numbers(): readonly number[] {
    const length = this.array();
    return length === 0 ? NO_NUMBERS : Array.from({ length }, () => this.number());
  }

  /** @throws PackError where something is left */
  end(): void {
    if (this.#at !== this.#raw.length) throw new PackError('something follows');
  }

  #type(): number {
    return this.#raw[this.#take(1)] as number;
  }

  /** @param width of the number that says it; undefined for a type that has none */
  #length(width: number | undefined): number {
    if (width === undefined) throw new PackError('something else stands there');
    return this.#raw.readUIntBE(this.#take(width), width);
  }

  /** Goes past so many bytes. @returns where they begin */
  #take(bytes: number): number {
    const begin = this.#at;
    if (begin + bytes > this.#raw.length) throw new PackError('it is cut off');
    this.#at = begin + bytes;
    return begin;
  }
}
