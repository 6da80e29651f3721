import type { Body } from '../../core/exchange.ts';
import { HASH_ROOM_BYTES, type KeyedHash, type RunningHash } from '../../core/keyed-hash.ts';
import { LIMITS } from '../../core/limits.ts';
import type { AssemblyBudget } from '../../http1/budget.ts';
import { KeptPrefix } from './kept-prefix.ts';

/** A body up to here that is kept whole is hashed in one call when it ends; past it, as it comes. */
const HASHED_AT_END_BYTES = 1024 * 1024;

/** Numbers of chunk times that an open exchange is charged for anyway, and how many more are paid for at once. */
const FREE_TIMES = 32;
const TIMES_STEP = 1_024;

/** Never written to: most bodies come in one piece, and room for more would be most of what they take. */
const NO_TIMES: number[] = [];

const EMPTY = new Uint8Array(0);
const NOTHING = Buffer.alloc(0);

/** What is to be taken of a body. */
export interface BodyTaking {
  /** Most bytes kept until the exchange is settled; null keeps none. */
  readonly capBytes: number | null;
  /** Null where the exchange will not be recorded. */
  readonly hash: KeyedHash | null;
  readonly budget: AssemblyBudget;
}

/** One body as it comes by: counts and hashes all of it, keeps a bounded prefix, and notes when its chunks arrived. */
export class BodyCollector {
  readonly #taking: BodyTaking;
  /** Null as long as nothing is kept. */
  #kept: KeptPrefix | null = null;
  #times: number[] = NO_TIMES;
  #timesRoom = FREE_TIMES;
  #reservedBytes = 0;
  #bytes = 0;
  #wireBytes = 0;
  #hash: RunningHash | null = null;
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
    const { capBytes, hash, budget } = this.#taking;
    const keptBefore = this.#kept?.bytes ?? 0;
    this.#bytes += bytes.length;
    if (capBytes !== null) {
      this.#kept ??= new KeptPrefix(capBytes, this.#expectedBytes, budget);
      this.#kept.add(bytes);
    }
    if (hash !== null) this.#hashOn(hash, bytes, keptBefore);
  }

  /**
   * @param whole False when the connection ended before the body did.
   * @param storedBytes Most of it that is stored: what is kept may be more, for its facts. Null stores none of it.
   */
  finish(whole: boolean, storedBytes: number | null): Body {
    const { capBytes } = this.#taking;
    const roomy = capBytes === null ? null : (this.#kept?.joined() ?? EMPTY);
    const hash = this.#hashed(roomy);
    const bytes = this.#bytes;
    if (capBytes === null || storedBytes === null) return { bytes, kept: null, truncated: !whole, hash };
    const kept = roomy?.subarray(HASH_ROOM_BYTES) ?? EMPTY;
    // A copy: what was kept for facts alone would live as long as what is stored.
    const stored = kept.length > storedBytes ? Buffer.from(kept.subarray(0, storedBytes)) : kept;
    return { bytes, kept: stored, truncated: !whole || stored.length < bytes, hash };
  }

  /** The beginning of what is kept, so many bytes at most: a view where one block has it. */
  beginning(mostBytes: number): Buffer {
    if (this.#taking.capBytes === null) return NOTHING;
    return this.#kept?.beginning(mostBytes) ?? NOTHING;
  }

  /** Lets go of what is kept: it turned out, once all of it was there, that it will not be recorded. */
  forget(): void {
    this.release();
    this.#kept = null;
  }

  /** Gives the budget back. Whoever was handed the finished body answers for its memory from here. */
  release(): void {
    this.#kept?.release();
    this.#taking.budget.release(this.#reservedBytes);
    this.#reservedBytes = 0;
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

  #hashed(roomy: Uint8Array | null): Uint8Array | null {
    if (this.#hash !== null) return this.#hash.digest();
    if (this.#digest !== null || this.#taking.hash === null || this.#bytes === 0) return this.#digest;
    return roomy === null ? null : this.#taking.hash.ofRoomy(roomy);
  }

  /** Feeds the hash, or leaves it to the end while all that came is kept. */
  #hashOn(hash: KeyedHash, bytes: Buffer, keptBefore: number): void {
    if (this.#hash === null) {
      if (this.#kept?.bytes === this.#bytes && this.#bytes <= HASHED_AT_END_BYTES) return;
      if (this.#bytes === bytes.length && this.#bytes === this.#expectedBytes) {
        this.#digest = hash.ofBody(bytes);
        return;
      }
      this.#hash = hash.start();
      this.#kept?.hashInto(this.#hash, keptBefore);
    }
    this.#hash.update(bytes);
  }
}
