import type { CheckedSend, SendAnswer } from '../../core/run.ts';
import type { AnswerHead } from '../answers/read-answer.ts';

/** What a sender kept of an answer. Its bytes count as held until it was compared. */
export interface KeptAnswer {
  /** What the head says of the body, as sent. */
  readonly contentType: string | null;
  readonly contentEncoding: string | null;
  readonly inferenceHeaderLength: string | null;
  /** The whole body, content coding left. */
  readonly bytes: Uint8Array;
  /** Why there is nothing of it: it alone was too large, or all that were held together. */
  readonly dropped?: 'answer_too_large' | 'backlog' | null;
}

/** What a stream is compared by. */
export type StreamFacts = Pick<SendAnswer, 'contentEvents' | 'outputTokens' | 'finish' | 'finishes'>;

export function factsOf({ contentEvents, outputTokens, finish, finishes = null }: StreamFacts): StreamFacts {
  return { contentEvents, outputTokens, finish, finishes };
}

/** An answer on its way to be compared. Its status was found to be the recorded one. */
export interface AnswerToCheck {
  readonly index: number;
  /** The recorded exchange. */
  readonly segment: string;
  readonly exchangeId: number;
  readonly route: string | null;
  /** Whether the recorded one came piece by piece. */
  readonly streamed: boolean;
  /** What was read of it as it came; of a stream they stand for its bytes, and `kept` is null. */
  readonly facts: StreamFacts | null;
  readonly kept: KeptAnswer | null;
}

/** What the checker says of one of the answers it was handed. */
export type CheckedAnswer = Pick<CheckedSend, 'index' | 'check'>;

/** How much of answers may be held. Plain data: senders and the thread that reads count in the same memory. */
export interface KeepingSetup {
  /** Bytes that are held, 32 bits. */
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

  /** @param maxBytes of all answers together */
  static create(maxBytes: number, maxAnswerBytes: number): KeepingBudget {
    const taken = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
    return new KeepingBudget({ taken, maxBytes, maxAnswerBytes });
  }

  /** Bytes that are taken. */
  get held(): number {
    return Atomics.load(this.#taken, 0);
  }

  /** Takes so many bytes, if there is room. */
  take(bytes: number): boolean {
    if (Atomics.add(this.#taken, 0, bytes) + bytes <= this.setup.maxBytes) return true;
    this.free(bytes);
    return false;
  }

  free(bytes: number): void {
    Atomics.sub(this.#taken, 0, bytes);
  }
}

/** Copies one answer as it comes by. All it ever does is to append, within the limits. */
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
      // Copied, because a piece is a view over what was read from the socket.
      this.#pieces.push(Buffer.from(bytes));
      this.#length += bytes.length;
    }
  }

  /** Gives it up: nothing of it will be compared. */
  drop(): void {
    this.#budget.free(this.#length);
    this.#pieces = [];
    this.#length = 0;
  }

  finish(): KeptAnswer {
    const { contentType, contentEncoding, inferenceHeaderLength = null } = this.#head;
    const bytes = Buffer.concat(this.#pieces);
    return { contentType, contentEncoding, inferenceHeaderLength, bytes, dropped: this.#dropped };
  }

  #giveUp(why: NonNullable<KeptAnswer['dropped']>): void {
    this.drop();
    this.#dropped = why;
  }
}
