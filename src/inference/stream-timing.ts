import { bringsContent, EventData, type StreamForm } from './stream-events.ts';
import { laterUsage, MESSAGE_START, NO_USAGE, type TokenUsage, usageIn } from './token-usage.ts';

/** What an answer is looked at as: a stream for its first token and its counts, one document for its counts. */
export type AnswerForm = StreamForm | 'document';

/** Counts stand at the end of an answer, or at the beginning of a document whose server sorts its members so. */
const TAIL_BYTES = 4 * 1024;
const FIRST_ROOM_BYTES = 1024;
/** A stream that brought so much without content is not looked through any further. */
const SEARCHED_BYTES = 256 * 1024;

/**
 * One answer as it comes by: when its first content came, and what it says of tokens. Keeps only its last bytes,
 * since most recordings keep no response bodies. Call `write` with what came, then `arrived` with when.
 */
export class AnswerScan {
  readonly #events: EventData | null;
  /** Whether the answer comes piece by piece. */
  readonly streams: boolean;
  #searchedBytes = 0;
  #found = false;
  #lastNs = 0;
  #early: TokenUsage = NO_USAGE;
  /** Whether it began with an event that counts what is not there yet. */
  #startsMessage = false;
  /** What is kept is all that came. */
  #isOfBeginning = true;
  #tail: Buffer = EMPTY;
  #fill = 0;
  /** Monotonic nanoseconds at which the first content came; null while none has. */
  firstTokenNs: number | null = null;

  constructor(form: AnswerForm) {
    this.streams = form !== 'document';
    this.#events = form === 'document' ? null : new EventData(form, (data, name) => this.#event(data, name));
  }

  /** Most bytes that a scan of this form holds. */
  static heldBytes(form: AnswerForm): number {
    return form === 'document' ? TAIL_BYTES : 2 * TAIL_BYTES + EventData.heldBytes;
  }

  /** Takes decoded bytes; they are copied or forgotten, never held. */
  write(bytes: Buffer): void {
    if (this.#events !== null && !this.#found && this.#searchedBytes < SEARCHED_BYTES) {
      this.#searchedBytes += bytes.length;
      this.#events.write(bytes);
    }
    this.#keepEnd(bytes);
  }

  arrived(atNs: number): void {
    this.#lastNs = atNs;
    if (this.#found) this.firstTokenNs ??= atNs;
  }

  /** To be called once, when the answer is over. */
  finish(): TokenUsage {
    if (!this.#found && this.#events !== null) {
      this.#events.end();
      this.arrived(this.#lastNs);
    }
    const tail = this.#tail.subarray(0, this.#fill);
    // Its first line may be the rest of the event that was read already, which no longer says what it is.
    return laterUsage(this.#early, usageIn(this.#startsMessage ? afterLine(tail) : tail));
  }

  #event(data: string, name: string): void {
    if (this.#found) return;
    this.#startsMessage ||= data.includes(MESSAGE_START);
    // Anthropic's first event counts the prompt.
    if (data.includes('"usage"')) this.#early = laterUsage(this.#early, usageIn(Buffer.from(data)));
    this.#found = bringsContent(data, name);
  }

  #keepEnd(bytes: Buffer): void {
    if (!this.streams && this.#isOfBeginning && this.#fill + bytes.length > TAIL_BYTES)
      this.#readBeginning(bytes.subarray(0, TAIL_BYTES));
    const end = bytes.length > TAIL_BYTES ? bytes.subarray(bytes.length - TAIL_BYTES) : bytes;
    if (this.#fill + end.length > this.#tail.length) this.#makeRoom(end.length);
    this.#tail.set(end, this.#fill);
    this.#fill += end.length;
  }

  /** Nothing of a document was let go yet, and some of it will be. */
  #readBeginning(rest: Buffer): void {
    this.#isOfBeginning = false;
    this.#early = usageIn(Buffer.concat([this.#tail.subarray(0, this.#fill), rest]));
  }

  /** A stream fills room for two tails, and then keeps the last, so that few bytes are moved twice. */
  #makeRoom(bytes: number): void {
    const grow = this.#tail.length < 2 * TAIL_BYTES;
    const needed = Math.max(FIRST_ROOM_BYTES, this.#fill + bytes);
    const kept = Math.min(this.#fill, TAIL_BYTES);
    const from = this.#fill - kept;
    if (!grow) this.#tail.copyWithin(0, from, this.#fill);
    else {
      const room = Buffer.allocUnsafe(this.#fill === 0 ? needed : 2 * TAIL_BYTES);
      room.set(this.#tail.subarray(from, this.#fill));
      this.#tail = room;
    }
    this.#fill = kept;
  }
}

const EMPTY = Buffer.alloc(0);

function afterLine(text: Buffer): Buffer {
  const end = text.findIndex((byte) => byte === 0x0a || byte === 0x0d);
  return end < 0 ? EMPTY : text.subarray(end);
}
