import type { CheckedSend, SendAnswer } from '../../core/run.ts';
import type { AnswerHead } from '../answers/read-answer.ts';

/** An answer that a sender kept. Its bytes count as held until it is compared. */
export interface KeptAnswer {
  /** Headers that describe the body, as sent. */
  readonly contentType: string | null;
  /** Of an answer to a gRPC call, that of its messages. */
  readonly contentEncoding: string | null;
  readonly inferenceHeaderLength: string | null;
  /** The complete body, with its content coding. */
  readonly bytes: Uint8Array;
  /** Why the body was not kept: it was too large, or all held answers together were. */
  readonly dropped?: 'answer_too_large' | 'backlog' | null;
}

/** The facts by which streams are compared. */
export type StreamFacts = Pick<SendAnswer, 'contentEvents' | 'outputTokens' | 'finish' | 'finishes'>;

export function factsOf({ contentEvents, outputTokens, finish, finishes = null }: StreamFacts): StreamFacts {
  return { contentEvents, outputTokens, finish, finishes };
}

/** An answer for the checker. Its status already equals the recorded one. */
export interface AnswerToCheck {
  readonly index: number;
  /** The recorded exchange. */
  readonly segment: string;
  readonly exchangeId: number;
  readonly route: string | null;
  /** Whether the recorded answer was a stream. */
  readonly streamed: boolean;
  /** Facts read from the live answer. For a stream they replace its bytes, and `kept` is null. */
  readonly facts: StreamFacts | null;
  readonly kept: KeptAnswer | null;
}

/** The checker's result for one answer. */
export type CheckedAnswer = Pick<CheckedSend, 'index' | 'check'>;

/** Limits of held answers. Plain data: the senders and the command thread count in the same memory. */
export interface KeepingSetup {
  /** The count of held bytes, 32 bits. */
  readonly taken: SharedArrayBuffer;
  readonly maxBytes: number;
  readonly maxAnswerBytes: number;
}

/** Counts the bytes of answers that wait to be compared, over all threads of a run. */
export class KeepingBudget {
  readonly setup: KeepingSetup;
  readonly #taken: Int32Array;

  constructor(setup: KeepingSetup) {
    this.setup = setup;
    this.#taken = new Int32Array(setup.taken);
  }

  /** @param maxBytes most bytes of all answers together */
  static create(maxBytes: number, maxAnswerBytes: number): KeepingBudget {
    const taken = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
    return new KeepingBudget({ taken, maxBytes, maxAnswerBytes });
  }

  /** Bytes that are taken. */
  get held(): number {
    return Atomics.load(this.#taken, 0);
  }

  /** Reserves bytes, if there is room. */
  take(bytes: number): boolean {
    if (Atomics.add(this.#taken, 0, bytes) + bytes <= this.setup.maxBytes) return true;
    this.free(bytes);
    return false;
  }

  free(bytes: number): void {
    Atomics.sub(this.#taken, 0, bytes);
  }
}

/** Copies one answer while it arrives, within the limits. */
export class AnswerCopy {
  readonly #budget: KeepingBudget;
  readonly #head: AnswerHead;
  #pieces: Buffer[] = [];
  #length = 0;
  #dropped: NonNullable<KeptAnswer['dropped']> | null = null;

  constructor(budget: KeepingBudget, head: AnswerHead) {
    this.#budget = budget;
    this.#head = head;
  }

  write(bytes: Uint8Array): void {
    if (this.#dropped !== null) return;
    const { maxAnswerBytes } = this.#budget.setup;
    const stated = Number(this.#head.contentLength ?? 0);
    if (Math.max(stated, this.#length + bytes.length) > maxAnswerBytes) this.#giveUp('answer_too_large');
    else if (!this.#budget.take(bytes.length)) this.#giveUp('backlog');
    else {
      // Copied, because the bytes are a view of the socket's read buffer.
      this.#pieces.push(Buffer.from(bytes));
      this.#length += bytes.length;
    }
  }

  /** Drops the copy: the answer will not be compared. */
  drop(): void {
    this.#budget.free(this.#length);
    this.#pieces = [];
    this.#length = 0;
  }

  finish(): KeptAnswer {
    const { contentType, inferenceHeaderLength = null } = this.#head;
    const contentEncoding = this.#head.grpcEncoding ?? this.#head.contentEncoding;
    const bytes = Buffer.concat(this.#pieces);
    return { contentType, contentEncoding, inferenceHeaderLength, bytes, dropped: this.#dropped };
  }

  #giveUp(why: NonNullable<KeptAnswer['dropped']>): void {
    this.drop();
    this.#dropped = why;
  }
}
