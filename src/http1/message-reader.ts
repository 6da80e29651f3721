import type { AssemblyBudget } from './budget.ts';
import { ChunkedReader, type DecodedBytes } from './chunked.ts';
import type { Framing } from './framing.ts';
import { HeadReader } from './heads.ts';

/** Receives one body: its decoded bytes, and the time and size of each arrival. */
export interface BodyTaker extends DecodedBytes {
  arrived(atNs: number, wireBytes: number): void;
}

/** The owner's decision after a complete head. `body` null skips the body. */
export interface MessagePlan {
  readonly framing: Framing;
  readonly body: BodyTaker | null;
}

const DISCARD: BodyTaker = { write: () => undefined, arrived: () => undefined };

interface MessageReaderOptions {
  readonly budget: AssemblyBudget;
  readonly isStartLine: (line: string) => boolean;
  /**
   * Called with each complete head, a view that is valid during the call, and the time of its first byte.
   * Null stops reading the stream.
   */
  readonly onHead: (head: Buffer, firstByteNs: number, atNs: number) => MessagePlan | null;
}

/**
 * Splits the bytes of one direction into HTTP/1.1 messages, one message per call. Never throws. If it cannot
 * read the bytes reliably, reading stops for good (-1), until `reset`.
 */
export class MessageReader {
  readonly #options: MessageReaderOptions;
  readonly #head: HeadReader;
  #firstByteNs: number | null = null;
  #plan: MessagePlan | null = null;
  #remainingBytes = 0;
  #chunked: ChunkedReader | null = null;
  /** Whether the last `read` reached the end of a message. */
  ended = false;

  constructor(options: MessageReaderOptions) {
    this.#options = options;
    this.#head = new HeadReader(options.budget, options.isStartLine);
  }

  /** Whether reading stopped because the shared budget was used up, not because of the bytes. */
  get starved(): boolean {
    return this.#head.refusal === 'budget' || this.#chunked?.refusal === 'budget';
  }

  /** Trailer lines of the message that just ended: a view until the next `read`. */
  get trailers(): Buffer | null {
    return this.#chunked?.trailers() ?? null;
  }

  /**
   * Reads from `from` to at most the end of one message, then sets `ended`. Returns the position after what
   * was read, or -1 if the stream cannot be read any further.
   */
  read(bytes: Buffer, from: number, atNs: number): number {
    if (this.ended) this.#next();
    if (this.#plan !== null) return this.#readBody(this.#plan, bytes, from, atNs);
    const start = this.#head.skip(bytes, from);
    if (start === bytes.length) return start;
    this.#firstByteNs ??= atNs;
    const at = this.#head.take(bytes, start);
    if (at < 0 || this.#head.head === null) return at;
    this.#plan = this.#options.onHead(this.#head.head, this.#firstByteNs, atNs);
    this.#head.clear();
    if (this.#plan === null) return -1;
    this.#begin(this.#plan.framing);
    return this.#readBody(this.#plan, bytes, at, atNs);
  }

  /** The peer half-closed. True if that ends the current message. */
  endOfStream(): boolean {
    if (this.#plan?.framing.kind !== 'until_close') return false;
    this.ended = true;
    return true;
  }

  /** Discards a partly read message, returns its budget and starts again. */
  reset(): void {
    this.#head.clear();
    this.#head.refusal = null;
    this.#next();
  }

  #next(): void {
    this.#chunked?.clear();
    this.#chunked = null;
    this.#plan = null;
    this.#firstByteNs = null;
    this.ended = false;
  }

  #begin(framing: Framing): void {
    if (framing.kind === 'length') this.#remainingBytes = framing.bytes;
    if (framing.kind === 'chunked') this.#chunked = new ChunkedReader(this.#options.budget);
  }

  #readBody(plan: MessagePlan, bytes: Buffer, from: number, atNs: number): number {
    const body = plan.body ?? DISCARD;
    let at = from;
    switch (plan.framing.kind) {
      case 'length':
        at = Math.min(bytes.length, from + this.#remainingBytes);
        this.#remainingBytes -= at - from;
        if (at > from) body.write(bytes.subarray(from, at));
        this.ended = this.#remainingBytes === 0;
        break;
      case 'chunked':
        at = this.#chunked?.read(bytes, from, body) ?? -1;
        this.ended = this.#chunked?.done ?? false;
        break;
      case 'until_close':
        at = bytes.length;
        if (at > from) body.write(bytes.subarray(from, at));
        break;
      default:
        this.ended = true;
    }
    if (at > from) body.arrived(atNs, at - from);
    return at;
  }
}
