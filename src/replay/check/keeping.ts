import type { AnswerHead } from '../answer-reader.ts';
import type { KeptAnswer } from './answer-to-check.ts';

/** Most that is kept of answers: of one, and of all together until they were compared. */
export interface KeepingLimits {
  readonly maxAnswerBytes: number;
  readonly maxBytes: number;
}

/** Plain data for whoever keeps: the senders; the count is in memory they share with who compares. */
export interface KeepingSetup {
  readonly memory: SharedArrayBuffer;
  readonly limits: KeepingLimits;
}

const KIB = 1_024;
const FIRST_ROOM_BYTES = 4 * KIB;

/** Bytes of answers that are held anywhere, in whole KiB. */
export class KeepingBudget {
  readonly setup: KeepingSetup;
  readonly #words: Int32Array;

  constructor(setup: KeepingSetup) {
    this.setup = setup;
    this.#words = new Int32Array(setup.memory);
  }

  static create(limits: KeepingLimits): KeepingBudget {
    return new KeepingBudget({ memory: new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT), limits });
  }

  get heldBytes(): number {
    return Atomics.load(this.#words, 0) * KIB;
  }

  /** Whether there was room for so many bytes more, a whole number of KiB. */
  take(bytes: number): boolean {
    const kib = bytes / KIB;
    const limit = Math.floor(this.setup.limits.maxBytes / KIB);
    if (Atomics.add(this.#words, 0, kib) + kib <= limit) return true;
    Atomics.sub(this.#words, 0, kib);
    return false;
  }

  give(bytes: number): void {
    Atomics.sub(this.#words, 0, bytes / KIB);
  }
}

/** Copies one answer as it comes by. All it ever does is to append, within the limits. */
export class AnswerCopy {
  readonly #budget: KeepingBudget;
  readonly #head: AnswerHead;
  #room: Uint8Array = EMPTY;
  #length = 0;
  #dropped: KeptAnswer['dropped'] = null;

  constructor(budget: KeepingBudget, head: AnswerHead) {
    this.#budget = budget;
    this.#head = head;
  }

  write(bytes: Uint8Array): void {
    if (this.#dropped !== null) return;
    const length = this.#length + bytes.length;
    if (length > this.#room.length && !this.#grow(length)) return;
    this.#room.set(bytes, this.#length);
    this.#length = length;
  }

  /** Gives it up: nothing of it will be compared. */
  drop(): void {
    this.#budget.give(this.#room.length);
    this.#room = EMPTY;
    this.#length = 0;
  }

  finish(index: number): KeptAnswer {
    const { contentType, contentEncoding, inferenceHeaderLength } = this.#head;
    return {
      index,
      bytes: this.#dropped === null ? this.#room.subarray(0, this.#length) : null,
      dropped: this.#dropped,
      heldBytes: this.#room.length,
      contentType,
      contentEncoding,
      inferenceHeaderLength: inferenceHeaderLength ?? null,
    };
  }

  #grow(length: number): boolean {
    const { maxAnswerBytes } = this.#budget.setup.limits;
    if (length > maxAnswerBytes) return this.#giveUp('answer_too_large');
    const stated = Number(this.#head.contentLength ?? 0);
    if (stated > maxAnswerBytes) return this.#giveUp('answer_too_large');
    // An answer that says its length is given its room once: growing costs more than all its copying.
    const wanted = stated > length ? stated : Math.max(length, 2 * this.#room.length, FIRST_ROOM_BYTES);
    const room = wholeKib(stated === length ? length : Math.min(wanted, Math.max(length, maxAnswerBytes)));
    if (!this.#budget.take(room - this.#room.length)) return this.#giveUp('backlog');
    // Memory of its own, because it moves to another thread; no cheaper where it is not zeroed.
    const grown = new Uint8Array(room);
    if (this.#length > 0) grown.set(this.#room.subarray(0, this.#length));
    this.#room = grown;
    return true;
  }

  #giveUp(why: NonNullable<KeptAnswer['dropped']>): false {
    this.drop();
    this.#dropped = why;
    return false;
  }
}

const EMPTY = new Uint8Array(0);

function wholeKib(bytes: number): number {
  return Math.ceil(bytes / KIB) * KIB;
}
