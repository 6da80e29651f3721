import type { Body } from '../../core/exchange.ts';
import { HASH_ROOM_BYTES, type KeyedHash, type RunningHash } from '../../core/keyed-hash.ts';
import { LIMITS } from '../../core/limits.ts';
import type { AssemblyBudget } from '../../http1/budget.ts';
import type { Framing } from '../../http1/framing.ts';
import type { ScannedResponse } from '../../http1/heads.ts';
import type { BodyTaker } from '../../http1/message-reader.ts';
import { isEventStream, isJson, isJsonLines, isPlain, type PayloadApi } from '../../inference/features.ts';
import { type AnswerForm, AnswerScan } from '../../inference/stream-timing.ts';

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
interface BodyTaking {
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
   * @param expectedBytes The announced length, null if absent.
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

  /** Gives the budget back. From here on, the receiver of the finished body accounts for its memory. */
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

/** Blocks of what has no announced length, or not much of it yet, double between these. */
const FIRST_BLOCK_BYTES = 4 * 1024;
const LARGEST_BLOCK_BYTES = 256 * 1024;
/** When so much has come of an announced length, and this share of it, it is believed. */
const BELIEVED_BYTES = 256 * 1024;
const BELIEVED_SHARE = 1 / 8;
/** Of what lies in one block from then on, so much is paid for at once. */
const PAID_BYTES = 256 * 1024;

const EMPTY_BUFFER = Buffer.alloc(0);

/**
 * The beginning of a body, up to a cap and to what the budget has room for. Chunks are copied into few blocks, so
 * that a body dripping in byte by byte costs what its size says. An announced length is believed when it is small,
 * or when so much has come that it is no mere claim: from then on all lies in one block and need not be joined, and
 * it is paid for as it fills, because the kernel gives memory as it is written. What is asked of the kernel is so
 * never more than eight times what is paid for.
 */
export class KeptPrefix {
  readonly #capBytes: number;
  readonly #expectedBytes: number | null;
  readonly #budget: AssemblyBudget;
  /** The first has room for a hash in front of it, so that a body of one block is hashed where it lies. */
  #blocks: Buffer[] = [];
  #roomy: Buffer = EMPTY_BUFFER;
  /** Of the last block. */
  #fill = 0;
  /** How far the last block is paid for. */
  #paid = 0;
  #reservedBytes = 0;
  #bytes = 0;
  #cut = false;

  /** @param expectedBytes the announced length, null if absent */
  constructor(capBytes: number, expectedBytes: number | null, budget: AssemblyBudget) {
    this.#capBytes = capBytes;
    this.#expectedBytes = expectedBytes;
    this.#budget = budget;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** There was more than may be kept. */
  get cut(): boolean {
    return this.#cut;
  }

  /** Copies what may be kept of it. */
  add(bytes: Buffer): void {
    if (this.#cut) return;
    const room = this.#capBytes - this.#bytes;
    this.#copy(bytes.length <= room ? bytes : bytes.subarray(0, room));
    if (bytes.length > room) this.#cut = true;
  }

  /** So many bytes at most: a view where one block has them. */
  beginning(mostBytes: number): Buffer {
    const bytes = Math.min(mostBytes, this.#bytes);
    const first = this.#blocks[0] ?? EMPTY_BUFFER;
    return first.length >= bytes ? first.subarray(0, bytes) : Buffer.concat(this.#blocks, bytes);
  }

  /** Hashes the first so many bytes. */
  hashInto(hash: RunningHash, bytes: number): void {
    let left = bytes;
    for (const block of this.#blocks) {
      if (left > 0) hash.update(block.subarray(0, left));
      left -= Math.min(left, block.length);
    }
  }

  /** All of it, with room for a hash in front; empty when there is nothing. */
  joined(): Buffer {
    const [first, ...more] = this.#blocks;
    if (first === undefined || (more.length === 0 && this.#bytes === first.length)) return this.#roomy;
    // A copy: the unused rest of the last block would live as long as the body.
    this.#moveTo(this.#bytes);
    return this.#roomy;
  }

  /** Gives the budget back. */
  release(): void {
    this.#budget.release(this.#reservedBytes);
    this.#reservedBytes = 0;
  }

  #copy(bytes: Buffer): void {
    let from = 0;
    while (from < bytes.length) {
      if (this.#fill === this.#paid && !this.#makeRoom(bytes.length - from)) {
        this.#cut = true;
        return;
      }
      const end = Math.min(bytes.length, from + this.#paid - this.#fill);
      this.#blocks.at(-1)?.set(bytes.subarray(from, end), this.#fill);
      this.#fill += end - from;
      this.#bytes += end - from;
      from = end;
    }
  }

  #makeRoom(neededBytes: number): boolean {
    const wholeBytes = Math.min(this.#capBytes, this.#expectedBytes ?? 0);
    const enoughBytes = Math.max(BELIEVED_BYTES, BELIEVED_SHARE * wholeBytes);
    const believed = this.#bytes >= enoughBytes && wholeBytes > this.#bytes;
    const bytes = believed
      ? Math.min(PAID_BYTES, wholeBytes - this.#bytes)
      : this.#nextBlockBytes(neededBytes);
    if (!this.#budget.reserve(bytes)) return false;
    this.#reservedBytes += bytes;
    if (!believed) this.#addBlock(bytes);
    else if (this.#blocks[0]?.length !== wholeBytes) this.#moveTo(wholeBytes);
    this.#paid = this.#fill + bytes;
    return true;
  }

  #addBlock(bytes: number): void {
    const first = this.#blocks.length === 0;
    if (first) this.#roomy = Buffer.allocUnsafe(HASH_ROOM_BYTES + bytes);
    this.#blocks.push(first ? this.#roomy.subarray(HASH_ROOM_BYTES) : Buffer.allocUnsafe(bytes));
    this.#fill = 0;
  }

  /** An announced small length is taken at its word: one block, no joining. */
  #nextBlockBytes(neededBytes: number): number {
    const room = this.#capBytes - this.#bytes;
    const expected = Math.min(room, (this.#expectedBytes ?? room) - this.#bytes);
    if (this.#expectedBytes !== null && expected > 0 && expected <= LARGEST_BLOCK_BYTES) return expected;
    const doubled = this.#blocks.length === 0 ? FIRST_BLOCK_BYTES : 2 * (this.#blocks.at(-1)?.length ?? 0);
    return Math.min(room, Math.max(neededBytes, Math.min(doubled, LARGEST_BLOCK_BYTES)));
  }

  /** Puts everything into one block of this size. */
  #moveTo(blockBytes: number): void {
    const roomy = Buffer.allocUnsafe(HASH_ROOM_BYTES + blockBytes);
    let at = HASH_ROOM_BYTES;
    for (const block of this.#blocks) at += block.copy(roomy, at, 0, HASH_ROOM_BYTES + this.#bytes - at);
    this.#roomy = roomy;
    this.#blocks = [roomy.subarray(HASH_ROOM_BYTES)];
    this.#fill = this.#bytes;
  }
}

/** What a response says that it is; null for anything else. */
export type AnswerType = AnswerForm | null;

export function answerType(contentType: string | null): AnswerType {
  if (isEventStream(contentType)) return 'events';
  if (isJsonLines(contentType)) return 'lines';
  return isJson(contentType) ? 'document' : null;
}

/** Takes a response's body, and looks at it on the way. */
export class WatchedBody implements BodyTaker {
  readonly #body: BodyCollector;
  readonly scan: AnswerScan;

  constructor(body: BodyCollector, form: AnswerForm) {
    this.#body = body;
    this.scan = new AnswerScan(form);
  }

  write(bytes: Buffer): void {
    this.#body.write(bytes);
    this.scan.write(bytes);
  }

  arrived(atNs: number, wireBytes: number): void {
    this.#body.arrived(atNs, wireBytes);
    this.scan.arrived(atNs);
  }
}

/**
 * What a response is to be looked at as; null for one that says nothing of tokens.
 * @param asksStream whether the request wants a stream, asked only where that decides
 */
export function answerForm(
  type: AnswerType,
  framing: Framing,
  api: PayloadApi | null,
  asksStream: () => boolean,
): AnswerForm | null {
  if (type === 'events' || type === 'lines') return type;
  if (api === null || api === 'v1' || api === 'v2' || type !== 'document') return null;
  // Some servers stream JSON lines and call them JSON.
  return framing.kind !== 'length' && asksStream() ? 'lines' : 'document';
}

/** Whether a response of this form is worth looking at: an answer, with a body that can be read as it passes. */
export function isReadable({ status, fields }: ScannedResponse, framing: Framing): boolean {
  if (status < 200 || status > 299 || !isPlain(fields.contentEncoding)) return false;
  return framing.kind === 'length' || framing.kind === 'chunked' || framing.kind === 'until_close';
}
