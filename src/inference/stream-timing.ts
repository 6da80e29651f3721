import type { FinishReason } from '../core/exchange.ts';
import { finishReasonIn } from './finish-reason.ts';
import {
  bringsContent,
  ERROR_EVENT,
  EventData,
  eventTellsOfError,
  type StreamForm,
} from './stream-events.ts';
import { laterUsage, MESSAGE_START, NO_USAGE, type TokenUsage, usageIn } from './token-usage.ts';

/** How to read an answer: a stream for first token and counts, a document only for counts. */
export type AnswerForm = StreamForm | 'document';

/** Counts are at the end of an answer, or at the start of a document with sorted members. */
const TAIL_BYTES = 4 * 1024;
const FIRST_ROOM_BYTES = 1024;
/** The search for content in a stream stops after this many bytes. */
const SEARCHED_BYTES = 256 * 1024;

/**
 * Scans one answer while it passes, for the time of its first content and for its token counts. Keeps only its last
 * bytes, because most recordings store no response bodies. Call `write` with the bytes, then `arrived` with the time.
 */
export class AnswerScan {
  readonly #form: AnswerForm;
  readonly #events: EventData | null;
  readonly streams: boolean;
  #searchedBytes = 0;
  #found = false;
  #lastNs = 0;
  #early: TokenUsage = NO_USAGE;
  /** Whether it began with an event whose output count is a placeholder. */
  #startsMessage = false;
  /** Whether everything so far is still kept. */
  #isOfBeginning = true;
  #tail: Buffer = EMPTY;
  #fill = 0;
  /**
   * Whether an event of a stream reported an error. Only events up to the first content, and the last ones, are
   * checked.
   */
  tellsError = false;
  /** Known after `finish`. */
  finishReason: FinishReason | null = null;
  /** Monotonic nanoseconds of the first content; null before it. */
  firstTokenNs: number | null = null;

  constructor(form: AnswerForm) {
    this.#form = form;
    this.streams = form !== 'document';
    this.#events = form === 'document' ? null : new EventData(form, (data, name) => this.#event(data, name));
  }

  /** Upper bound of the memory of a scan of this form. */
  static heldBytes(form: AnswerForm): number {
    return form === 'document' ? TAIL_BYTES : 2 * TAIL_BYTES + EventData.heldBytes;
  }

  /** Takes decoded bytes. They are copied or dropped; the buffer is not kept. */
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

  /** Call once at the end of the answer. */
  finish(): TokenUsage {
    if (!this.#found && this.#events !== null) {
      this.#events.end();
      this.arrived(this.#lastNs);
    }
    const tail = this.#tail.subarray(0, this.#fill);
    if (this.#form !== 'document' && this.#found && tail.includes(ERROR_EVENT))
      this.#readLast(this.#form, tail);
    this.finishReason = finishReasonIn(tail);
    // The first line may be the rest of an event that was already read and can no longer be identified.
    return laterUsage(this.#early, usageIn(this.#startsMessage ? afterLine(tail) : tail));
  }

  /** Reads the last events of a stream. Each may report that the stream failed. */
  #readLast(form: StreamForm, tail: Buffer): void {
    const last = new EventData(form, (data, name) => {
      this.tellsError ||= eventTellsOfError(data, name);
    });
    last.write(afterLine(tail));
    last.end();
  }

  #event(data: string, name: string): void {
    if (this.#found) return;
    this.tellsError ||= eventTellsOfError(data, name);
    this.#startsMessage ||= data.includes(MESSAGE_START);
    // Anthropic's first event has the prompt count.
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

  /** Reads a document's start before part of it is dropped. */
  #readBeginning(rest: Buffer): void {
    this.#isOfBeginning = false;
    this.#early = usageIn(Buffer.concat([this.#tail.subarray(0, this.#fill), rest]));
  }

  /** A stream buffers up to two tails and then keeps the last one, so few bytes move twice. */
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
