import type { AssemblyBudget } from './budget.ts';
import { ChunkedReader, type DecodedBytes } from './chunked.ts';
import type { Framing } from './framing.ts';
import { HeadReader } from './heads.ts';

/** Takes one body: its decoded bytes, and when how much of it came over the wire. */
export interface BodyTaker extends DecodedBytes {
  arrived(atNs: number, wireBytes: number): void;
}

/** What the owner of a reader decides when a head is complete. `body` null passes the body over. */
export interface MessagePlan {
  readonly framing: Framing;
  readonly body: BodyTaker | null;
}

const DISCARD: BodyTaker = { write: () => undefined, arrived: () => undefined };

interface MessageReaderOptions {
  readonly budget: AssemblyBudget;
  readonly isStartLine: (line: string) => boolean;
  /**
   * Called with each complete head, which is a view valid during the call, and the time of its first byte.
   * Null gives the stream up.
   */
  readonly onHead: (head: Buffer, firstByteNs: number, atNs: number) => MessagePlan | null;
}

/**
 * The bytes of one direction into HTTP/1.1 messages, one message a call. Never throws: what it cannot read
 * with certainty ends the reading for good (-1), until `reset`.
 */
export class MessageReader {
  readonly #options: MessageReaderOptions;
  readonly #head: HeadReader;
  #firstByteNs: number | null = null;
  #plan: MessagePlan | null = null;
  #remainingBytes = 0;
  #chunked: ChunkedReader | null = null;
  /** Whether the last `read` came to the end of a message. */
  ended = false;

  constructor(options: MessageReaderOptions) {
    this.#options = options;
    this.#head = new HeadReader(options.budget, options.isStartLine);
  }

  /** Whether a message has begun and not ended. */
  get inside(): boolean {
    return this.#plan !== null || this.#firstByteNs !== null;
  }

  /** Whether reading stopped because the shared budget was spent, rather than for what the bytes were. */
  get starved(): boolean {
    return this.#head.refusal === 'budget' || this.#chunked?.refusal === 'budget';
  }

  /** Trailer lines of the message that just ended: a view until the next `read`. */
  get trailers(): Buffer | null {
    return this.#chunked?.trailers() ?? null;
  }

  /**
   * Reads on from `from`, at most to the end of one message (`ended` then says so). Answers the position after
   * what was read, or -1 when the stream cannot be read any further.
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

  /** The peer half-closed. True when that is the end of the message being read. */
  endOfStream(): boolean {
    if (this.#plan?.framing.kind !== 'until_close') return false;
    this.ended = true;
    return true;
  }

  /** Forgets whatever was half read, giving its budget back, and begins anew. */
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
