import type { Body } from '../../core/exchange.ts';
import type { KeyedHash, RunningHash } from '../../core/keyed-hash.ts';
import { LIMITS } from '../../core/limits.ts';
import type { AssemblyBudget } from '../../http1/budget.ts';
import type { Framing } from '../../http1/framing.ts';
import type { ScannedResponse } from '../../http1/heads.ts';
import type { BodyTaker } from '../../http1/message-reader.ts';
import { isEventStream, isJson, isJsonLines, type PayloadApi } from '../../inference/features.ts';
import { GrpcMessages } from '../../inference/grpc.ts';
import type { EventData } from '../../inference/stream-events.ts';
import type { AnswerForm, AnswerScan } from '../../inference/stream-timing.ts';

/** Entries of chunk times that the charge for an open exchange includes, and how many more are charged at once. */
const FREE_TIMES = 32;
const TIMES_STEP = 1_024;

/** Shared and never written to. Most bodies come in one piece, and a growing array would be most of their memory. */
const NO_TIMES: number[] = [];

const NOTHING = Buffer.alloc(0);

interface BodyTaking {
  /** Most bytes kept until the exchange is settled; null keeps none. */
  readonly capBytes: number | null;
  /** Null if the exchange will not be recorded. */
  readonly hash: KeyedHash | null;
  readonly budget: AssemblyBudget;
}

/** One body while it passes: counts and hashes all of it, keeps a limited prefix, and notes when its chunks arrived. */
export class BodyCollector implements BodyTaker {
  readonly #taking: BodyTaking;
  /** Null as long as nothing is kept. */
  #kept: KeptPrefix | null = null;
  #times: number[] = NO_TIMES;
  readonly #messages: MessageTimes | null;
  #timesRoom = FREE_TIMES;
  #reservedBytes = 0;
  #bytes = 0;
  #wireBytes = 0;
  #hash: RunningHash | null = null;
  /** The hash of a body that came in one piece. A running hash would cost twice as much. */
  #digest: Buffer | null = null;
  readonly #expectedBytes: number | null;
  readonly #originNs: number;
  /** Monotonic nanoseconds of the last byte that came, null before the first. */
  lastByteNs: number | null = null;
  /** When the first message of a gRPC call was complete; null before. */
  firstMessageNs: number | null = null;
  scan: AnswerScan | null = null;
  /** Searches an answer for an error that its status does not show. */
  errorScan: ErrorScan | null = null;
  /** Reads the values of a streamed answer that later requests may have. */
  links: Pick<EventData, 'write' | 'end'> | null = null;

  /**
   * @param expectedBytes The announced length, null if absent.
   * @param originNs The exchange's arrival, from which the chunks' offsets count.
   * @param messagesAt Set for a gRPC call: whether its messages get the times of their first or last bytes.
   */
  constructor(
    taking: BodyTaking,
    expectedBytes: number | null,
    originNs: number,
    messagesAt: MessagesAt | null = null,
  ) {
    this.#messages = messagesAt === null ? null : new MessageTimes(messagesAt);
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

  /** Whole messages of a gRPC call; null for another exchange, and for a body that is no row of messages. */
  messageCount(whole: boolean): number | null {
    return this.#messages?.count(whole) ?? null;
  }

  /** Flat pairs of offset in microseconds and wire bytes. */
  get times(): readonly number[] {
    return this.#times;
  }

  /** Notes that `wireBytes` of the body came now. Past the limit, they are added to the last noted time. */
  arrived(atNs: number, wireBytes: number): void {
    const offsetUs = Math.round((atNs - this.#originNs) / 1_000);
    this.scan?.arrived(atNs);
    this.lastByteNs = atNs;
    this.#wireBytes += wireBytes;
    if (this.#messages !== null) this.#noteMessages(this.#messages, offsetUs, atNs);
    else this.#noteTime(offsetUs, wireBytes, this.#times.at(-2) === offsetUs);
  }

  #noteMessages(messages: MessageTimes, offsetUs: number, atNs: number): void {
    const { continued, noted } = messages.take();
    if (continued > 0) this.#noteTime(offsetUs, continued, true);
    for (const bytes of noted) this.#noteTime(offsetUs, bytes, false);
    if (messages.ended > 0) this.firstMessageNs ??= atNs;
  }

  #noteTime(offsetUs: number, bytes: number, continues: boolean): void {
    const last = this.#times.length - 1;
    if (last < 0) this.#times = [offsetUs, bytes];
    else if (continues || !this.#hasRoomForTime()) this.#times[last] = (this.#times[last] ?? 0) + bytes;
    else this.#times.push(offsetUs, bytes);
  }

  /** Takes decoded bytes. They are copied or dropped; the buffer is not kept. */
  write(bytes: Buffer): void {
    const { capBytes, hash, budget } = this.#taking;
    this.#bytes += bytes.length;
    this.scan?.write(bytes);
    this.errorScan?.write(bytes);
    this.links?.write(bytes);
    this.#messages?.write(bytes);
    if (capBytes !== null) {
      this.#kept ??= new KeptPrefix(capBytes, this.#expectedBytes, budget);
      this.#kept.add(bytes);
    }
    if (hash === null) return;
    if (bytes.length === this.#expectedBytes) this.#digest = hash.ofBody(bytes);
    else {
      this.#hash ??= hash.start();
      this.#hash.update(bytes);
    }
  }

  /**
   * @param whole False when the connection ended before the body did.
   * @param storedBytes Most bytes that are stored. More may be kept, to read facts. Null stores none.
   */
  finish(whole: boolean, storedBytes: number | null): Body {
    const bytes = this.#bytes;
    const hash = this.#hash?.digest() ?? this.#digest;
    if (this.#taking.capBytes === null || storedBytes === null)
      return { bytes, kept: null, truncated: !whole, hash };
    const kept = this.#kept?.joined() ?? NOTHING;
    // A copy. Otherwise bytes that were kept only for facts would live as long as the stored ones.
    const stored = kept.length > storedBytes ? Buffer.from(kept.subarray(0, storedBytes)) : kept;
    return { bytes, kept: stored, truncated: !whole || stored.length < bytes, hash };
  }

  /** The beginning of the kept bytes, at most `mostBytes`; a view if one block contains it. */
  beginning(mostBytes: number): Buffer {
    return this.#kept?.beginning(mostBytes) ?? NOTHING;
  }

  /** Drops the kept bytes. Only the complete body showed that it will not be recorded. */
  forget(): void {
    this.release();
    this.#kept = null;
  }

  /** Returns the budget. From here on, the receiver of the finished body accounts for its memory. */
  release(): void {
    this.#kept?.release();
    this.#taking.budget.release(this.#reservedBytes);
    this.#reservedBytes = 0;
  }

  /** Whether another pair may be noted within the limit. Beyond the first few, pairs are charged to the budget. */
  #hasRoomForTime(): boolean {
    const length = this.#times.length;
    if (length >= 2 * LIMITS.chunkTimesPerBody) return false;
    if (length < this.#timesRoom) return true;
    if (!this.#taking.budget.reserve(8 * TIMES_STEP)) return false;
    this.#reservedBytes += 8 * TIMES_STEP;
    this.#timesRoom += TIMES_STEP;
    return true;
  }
}

/** Searches what passes for an error; the result is null if it cannot be known. */
interface ErrorScan {
  write(bytes: Buffer): void;
  finish(): boolean | null;
}

/** Which byte of a message its time is that of: a sender paces the first one, a reader waits for the last. */
type MessagesAt = 'first_byte' | 'last_byte';

/** The messages of a gRPC body while it passes: how many bytes each has, and since when it is to be noted. */
class MessageTimes {
  readonly #messages = new GrpcMessages((bytes, begins, ends) => this.#piece(bytes, begins, ends));
  readonly #at: MessagesAt;
  /** Bytes of a message whose end has not come. */
  #openBytes = 0;
  /** Bytes of a message that was noted before, then sizes of those to be noted now. */
  #continued = 0;
  #noted: number[] = [];

  constructor(at: MessagesAt) {
    this.#at = at;
  }

  /** Whole messages. */
  get ended(): number {
    return this.#messages.ended;
  }

  write(bytes: Buffer): void {
    this.#messages.write(bytes);
  }

  /** Bytes since the last call: those of a message that is noted, and those of each message to note. */
  take(): { readonly continued: number; readonly noted: readonly number[] } {
    const taken = { continued: this.#continued, noted: this.#noted };
    this.#continued = 0;
    if (this.#noted.length > 0) this.#noted = [];
    return taken;
  }

  /** @param whole whether the body is complete */
  count(whole: boolean): number | null {
    const { broken, inside, ended } = this.#messages;
    return broken || (whole && inside) ? null : ended;
  }

  #piece(bytes: number, begins: boolean, ends: boolean): void {
    if (this.#at === 'last_byte') {
      this.#openBytes += bytes;
      if (!ends) return;
      this.#noted.push(this.#openBytes);
      this.#openBytes = 0;
    } else if (begins) this.#noted.push(bytes);
    else if (this.#noted.length > 0) this.#noted[this.#noted.length - 1] = (this.#noted.at(-1) ?? 0) + bytes;
    else this.#continued += bytes;
  }
}

/** Blocks of a body without an announced length, or with a large one, double between these. */
const FIRST_BLOCK_BYTES = 4 * 1024;
const LARGEST_BLOCK_BYTES = 256 * 1024;

/**
 * The beginning of a body, up to a cap and as far as the budget allows. It is copied into a few blocks. To grow one
 * buffer instead would copy the body again, and need twice the memory meanwhile. For a small announced length, one
 * block is allocated. A large announced length may be false, so its memory is reserved only as bytes arrive.
 */
export class KeptPrefix {
  readonly #capBytes: number;
  readonly #expectedBytes: number;
  readonly #budget: AssemblyBudget;
  #blocks: Buffer[] = [];
  /** Bytes of the last block that are in use. */
  #fill = 0;
  #reservedBytes = 0;
  bytes = 0;
  /** The body was longer than may be kept. */
  cut = false;

  /** @param expectedBytes the announced length, null if absent */
  constructor(capBytes: number, expectedBytes: number | null, budget: AssemblyBudget) {
    this.#capBytes = capBytes;
    this.#expectedBytes = Math.min(capBytes, expectedBytes ?? 0);
    this.#budget = budget;
  }

  add(bytes: Buffer): void {
    if (this.cut) return;
    const allowed = Math.min(bytes.length, this.#capBytes - this.bytes);
    let from = 0;
    while (from < allowed) {
      const block = this.#blockFor(allowed - from);
      if (block === null) break;
      const copied = bytes.copy(block, this.#fill, from, allowed);
      this.#fill += copied;
      this.bytes += copied;
      from += copied;
    }
    this.cut = from < bytes.length;
  }

  /** At most this many bytes from the beginning; a view if the first block contains them. */
  beginning(mostBytes: number): Buffer {
    const bytes = Math.min(mostBytes, this.bytes);
    const first = this.#blocks[0] ?? NOTHING;
    return first.length >= bytes ? first.subarray(0, bytes) : Buffer.concat(this.#blocks, bytes);
  }

  /** All kept bytes in one block of exactly their size, because unused room would live as long as the body. */
  joined(): Buffer {
    const [first = NOTHING] = this.#blocks;
    if (first.length !== this.bytes) this.#blocks = [Buffer.concat(this.#blocks, this.bytes)];
    return this.#blocks[0] ?? NOTHING;
  }

  release(): void {
    this.#budget.release(this.#reservedBytes);
    this.#reservedBytes = 0;
  }

  /** The last block, or a new one if it is full. Null if the budget has no room for one. */
  #blockFor(neededBytes: number): Buffer | null {
    const last = this.#blocks.at(-1);
    if (last !== undefined && this.#fill < last.length) return last;
    const bytes = this.#nextBlockBytes(neededBytes, last?.length ?? FIRST_BLOCK_BYTES / 2);
    if (!this.#budget.reserve(bytes)) return null;
    this.#reservedBytes += bytes;
    this.#fill = 0;
    const block = Buffer.allocUnsafe(bytes);
    this.#blocks.push(block);
    return block;
  }

  #nextBlockBytes(neededBytes: number, lastBytes: number): number {
    const expected = this.#expectedBytes - this.bytes;
    if (expected > 0 && expected <= LARGEST_BLOCK_BYTES) return expected;
    const room = this.#capBytes - this.bytes;
    return Math.min(room, Math.max(neededBytes, Math.min(2 * lastBytes, LARGEST_BLOCK_BYTES)));
  }
}

/** The form of a response by its Content-Type; null for any other type. */
export type AnswerType = AnswerForm | null;

export function answerType(contentType: string | null): AnswerType {
  if (isEventStream(contentType)) return 'events';
  if (isJsonLines(contentType)) return 'lines';
  return isJson(contentType) ? 'document' : null;
}

/**
 * The form in which a response is scanned; null for one without token counts.
 * @param asksStream whether the request wants a stream; called only if that decides
 */
export function answerForm(
  type: AnswerType,
  framing: Framing,
  api: PayloadApi | null,
  asksStream: () => boolean,
): AnswerForm | null {
  if (type === 'events' || type === 'lines') return type;
  if (api === null || api === 'v1' || api === 'v2' || type !== 'document') return null;
  // Some servers stream JSON lines but declare them as JSON.
  return framing.kind !== 'length' && asksStream() ? 'lines' : 'document';
}

/** Whether a response is worth scanning: a 2xx with a body whose end is known. */
export function isReadable({ status }: ScannedResponse, framing: Framing): boolean {
  if (status < 200 || status > 299) return false;
  return framing.kind === 'length' || framing.kind === 'chunked' || framing.kind === 'until_close';
}
