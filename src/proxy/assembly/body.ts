import type { Body } from '../../core/exchange.ts';
import type { AssemblyBudget } from '../../core/http1/budget.ts';
import { HASH_ROOM_BYTES, type KeyedHash, type RunningHash } from '../../core/keyed-hash.ts';
import { LIMITS } from '../../core/limits.ts';
import type { KnownBodies, KnownBody } from './known-bodies.ts';

/** Blocks of a body whose size is not known, or too large to be trusted, double between these. */
const FIRST_BLOCK_BYTES = 4 * 1024;
const LARGEST_BLOCK_BYTES = 256 * 1024;

/** A body up to here that is kept whole is hashed in one call when it ends; past it, as it comes. */
const HASHED_AT_END_BYTES = 1024 * 1024;

/** Numbers of chunk times that an open exchange is charged for anyway, and how many more are paid for at once. */
const FREE_TIMES = 32;
const TIMES_STEP = 1_024;

/** Never written to: most bodies come in one piece, and room for more would be most of what they take. */
const NO_TIMES: number[] = [];

const EMPTY = new Uint8Array(0);
const EMPTY_BUFFER = Buffer.alloc(0);

/** What is to be taken of a body. */
export interface BodyTaking {
  /** Most bytes kept; null keeps none and calls nothing truncated. */
  readonly capBytes: number | null;
  /** Null where the exchange will not be recorded. */
  readonly hash: KeyedHash | null;
  readonly budget: AssemblyBudget;
  readonly bodies: KnownBodies;
}

/**
 * One body as it comes by: counts and hashes all of it, keeps a bounded prefix, and notes when its chunks
 * arrived. Chunks are copied into few blocks, so that a body dripping in byte by byte costs what its size says.
 */
export class BodyCollector {
  readonly #taking: BodyTaking;
  /** The first has room for a hash in front of it, so that a body of one block is hashed where it lies. */
  readonly #blocks: Buffer[] = [];
  #roomy: Buffer = EMPTY_BUFFER;
  #times: number[] = NO_TIMES;
  #timesRoom = FREE_TIMES;
  #blockFill = 0;
  #reservedBytes = 0;
  #keptBytes = 0;
  #bytes = 0;
  #wireBytes = 0;
  #cut = false;
  #hash: RunningHash | null = null;
  /** What came in one piece, and before: it is neither copied nor hashed again. */
  #known: KnownBody | null = null;
  /** Of a body that came in one piece and is not kept. */
  #digest: Uint8Array | null = null;
  readonly #expectedBytes: number | null;
  readonly #originNs: number;
  /** Monotonic nanoseconds of the last byte that came, null before the first. */
  lastByteNs: number | null = null;

  /**
   * @param expectedBytes The announced length, null when there is none.
   * @param originNs The exchange's arrival, from which the chunks' offsets count.
   */
  constructor(taking: BodyTaking, expectedBytes: number | null, originNs: number) {
    this.#taking = taking;
    this.#expectedBytes = expectedBytes;
    this.#originNs = originNs;
  }

  /** The same body as it came before; null where it did not, or not in one piece. */
  get known(): KnownBody | null {
    return this.#known;
  }

  /** Bytes seen after transfer decoding. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes seen on the wire, chunk framing and trailers included. */
  get wireBytes(): number {
    return this.#wireBytes;
  }

  /** Flat pairs of offset in microseconds and wire bytes. */
  get times(): readonly number[] {
    return this.#times;
  }

  /** Notes that `wireBytes` of the body came now. Past the limit they count for the last time noted. */
  arrived(atNs: number, wireBytes: number): void {
    const offsetUs = Math.round((atNs - this.#originNs) / 1_000);
    this.lastByteNs = atNs;
    this.#wireBytes += wireBytes;
    const last = this.#times.length - 1;
    if (last > 0 && (this.#times[last - 1] === offsetUs || !this.#hasRoomForTime())) {
      this.#times[last] = (this.#times[last] ?? 0) + wireBytes;
    } else if (last < 0) this.#times = [offsetUs, wireBytes];
    else this.#times.push(offsetUs, wireBytes);
  }

  /** Takes decoded bytes; they are copied or forgotten, never held. */
  write(bytes: Buffer): void {
    if (this.#isKnown(bytes)) return;
    const keptBefore = this.#keptBytes;
    this.#bytes += bytes.length;
    if (this.#taking.capBytes !== null && !this.#cut) this.#keepOf(bytes, this.#taking.capBytes);
    if (this.#taking.hash !== null) this.#hashOn(this.#taking.hash, bytes, keptBefore);
  }

  /** @param whole False when the connection ended before the body did. */
  finish(whole: boolean): Body {
    if (this.#known !== null) {
      const { bytes, hash } = this.#known;
      const kept = this.#taking.capBytes === null ? null : bytes;
      return { bytes: this.#bytes, kept, truncated: !whole, hash };
    }
    const roomy = this.#taking.capBytes === null ? null : this.#joined();
    const kept = roomy === null ? null : roomy.length === 0 ? EMPTY : roomy.subarray(HASH_ROOM_BYTES);
    return { bytes: this.#bytes, kept, truncated: this.#cut || !whole, hash: this.#hashed(roomy) };
  }

  /** The beginning of what is kept, so many bytes at most: a view where one block has it. */
  beginning(mostBytes: number): Buffer {
    const bytes = Math.min(mostBytes, this.#keptBytes);
    const first = this.#known?.bytes ?? this.#blocks[0] ?? EMPTY_BUFFER;
    return first.length >= bytes ? first.subarray(0, bytes) : Buffer.concat(this.#blocks, bytes);
  }

  /** Lets go of what is kept: it turned out, once all of it was there, that it will not be recorded. */
  forget(): void {
    this.release();
    this.#known = null;
    this.#blocks.length = 0;
    this.#roomy = EMPTY_BUFFER;
    this.#keptBytes = 0;
  }

  /** Gives the budget back. Whoever was handed the finished body answers for its memory from here. */
  release(): void {
    this.#taking.budget.release(this.#reservedBytes);
    this.#reservedBytes = 0;
  }

  /** Takes a body that came in one piece where it is known. It is paid for like any other. */
  #isKnown(bytes: Buffer): boolean {
    const { capBytes, hash, budget, bodies } = this.#taking;
    if (this.#bytes > 0 || bytes.length !== this.#expectedBytes || hash === null) return false;
    const keptBytes = capBytes === null ? 0 : bytes.length;
    if (keptBytes > (capBytes ?? 0) || !budget.hasRoom(keptBytes)) return false;
    this.#known = bodies.find(bytes);
    if (this.#known === null) return false;
    budget.reserve(keptBytes);
    this.#reservedBytes += keptBytes;
    this.#keptBytes = keptBytes;
    this.#bytes = bytes.length;
    return true;
  }

  /** Whether another pair may be noted: within the limit, and paid for beyond the first few. */
  #hasRoomForTime(): boolean {
    const length = this.#times.length;
    if (length >= 2 * LIMITS.chunkTimesPerBody) return false;
    if (length < this.#timesRoom) return true;
    if (!this.#taking.budget.reserve(8 * TIMES_STEP)) return false;
    this.#reservedBytes += 8 * TIMES_STEP;
    this.#timesRoom += TIMES_STEP;
    return true;
  }

  #hashed(roomy: Buffer | null): Uint8Array | null {
    if (this.#hash !== null) return this.#hash.digest();
    if (this.#digest !== null || this.#taking.hash === null || this.#bytes === 0) return this.#digest;
    return roomy === null ? null : this.#taking.hash.ofRoomy(roomy);
  }

  /** Feeds the hash, or leaves it to the end while all that came is kept. */
  #hashOn(hash: KeyedHash, bytes: Buffer, keptBefore: number): void {
    if (this.#hash === null) {
      if (this.#keptBytes === this.#bytes && this.#bytes <= HASHED_AT_END_BYTES) return;
      if (this.#bytes === bytes.length && this.#bytes === this.#expectedBytes) {
        this.#digest = hash.ofBody(bytes);
        return;
      }
      this.#hash = hash.start();
      let left = keptBefore;
      for (const block of this.#blocks) {
        if (left > 0) this.#hash.update(block.subarray(0, left));
        left -= Math.min(left, block.length);
      }
    }
    this.#hash.update(bytes);
  }

  #keepOf(bytes: Buffer, capBytes: number): void {
    const room = capBytes - this.#keptBytes;
    this.#keep(bytes.length <= room ? bytes : bytes.subarray(0, room));
    if (bytes.length > room) this.#cut = true;
  }

  #keep(bytes: Buffer): void {
    let from = 0;
    while (from < bytes.length) {
      let block = this.#blocks.at(-1);
      if (block === undefined || this.#blockFill === block.length) {
        block = this.#addBlock(bytes.length - from);
        if (block === undefined) return;
      }
      const end = Math.min(bytes.length, from + block.length - this.#blockFill);
      block.set(bytes.subarray(from, end), this.#blockFill);
      this.#blockFill += end - from;
      this.#keptBytes += end - from;
      from = end;
    }
  }

  #addBlock(neededBytes: number): Buffer | undefined {
    const size = this.#nextBlockBytes(neededBytes);
    if (!this.#taking.budget.reserve(size)) {
      this.#cut = true;
      return undefined;
    }
    this.#reservedBytes += size;
    const first = this.#blocks.length === 0;
    if (first) this.#roomy = Buffer.allocUnsafe(HASH_ROOM_BYTES + size);
    const block = first ? this.#roomy.subarray(HASH_ROOM_BYTES) : Buffer.allocUnsafe(size);
    this.#blocks.push(block);
    this.#blockFill = 0;
    return block;
  }

  /** An announced small length is taken at its word: one block, no joining. */
  #nextBlockBytes(neededBytes: number): number {
    const room = (this.#taking.capBytes ?? 0) - this.#keptBytes;
    const expected = Math.min(room, (this.#expectedBytes ?? room) - this.#keptBytes);
    if (this.#expectedBytes !== null && expected <= LARGEST_BLOCK_BYTES) return expected;
    const doubled = this.#blocks.length === 0 ? FIRST_BLOCK_BYTES : 2 * (this.#blocks.at(-1)?.length ?? 0);
    return Math.min(room, Math.max(neededBytes, Math.min(doubled, LARGEST_BLOCK_BYTES)));
  }

  /** All that was kept, with room for a hash in front; empty when nothing was. */
  #joined(): Buffer {
    const [first, ...more] = this.#blocks;
    if (first === undefined || (more.length === 0 && this.#keptBytes === first.length)) return this.#roomy;
    // A copy: the unused rest of the last block would live as long as the body.
    const joined = Buffer.allocUnsafe(HASH_ROOM_BYTES + this.#keptBytes);
    let at = HASH_ROOM_BYTES;
    for (const block of this.#blocks) at += block.copy(joined, at, 0, joined.length - at);
    return joined;
  }
}
