import type { AnswerHead } from '../answers/read-answer.ts';
import { type AnswerArena, type HeldAnswer, SLAB_BYTES } from './messages.ts';

/** Copies one answer as it comes by. All it ever does is to append, within the limits. */
export class AnswerCopy {
  readonly #arena: AnswerArena;
  readonly #head: AnswerHead;
  #slabs: number[] = [];
  #length = 0;
  #dropped: HeldAnswer['dropped'] = null;

  constructor(arena: AnswerArena, head: AnswerHead) {
    this.#arena = arena;
    this.#head = head;
  }

  write(bytes: Uint8Array): void {
    if (this.#dropped !== null) return;
    const { maxAnswerBytes } = this.#arena.setup;
    if (
      this.#length + bytes.length > maxAnswerBytes ||
      Number(this.#head.contentLength ?? 0) > maxAnswerBytes
    ) {
      this.#giveUp('answer_too_large');
      return;
    }
    for (let from = 0; from < bytes.length; ) {
      const at = this.#length % SLAB_BYTES;
      if (at === 0 && !this.#takeSlab()) return;
      const part = bytes.subarray(from, from + SLAB_BYTES - at);
      this.#arena.write(this.#slabs.at(-1) ?? 0, at, part);
      this.#length += part.length;
      from += part.length;
    }
  }

  /** Gives it up: nothing of it will be compared. */
  drop(): void {
    this.#arena.free(this.#slabs);
    this.#slabs = [];
    this.#length = 0;
  }

  finish(index: number): HeldAnswer {
    const { contentType, contentEncoding, inferenceHeaderLength = null } = this.#head;
    const head = { contentType, contentEncoding, inferenceHeaderLength };
    return { index, slabs: this.#slabs, length: this.#length, dropped: this.#dropped, ...head };
  }

  #takeSlab(): boolean {
    // Behind the one before: those in front of it were looked at already.
    const slab = this.#arena.take(this.#slabs.at(-1) ?? 0);
    if (slab < 0) {
      this.#giveUp('backlog');
      return false;
    }
    this.#slabs.push(slab);
    return true;
  }

  #giveUp(why: NonNullable<HeldAnswer['dropped']>): void {
    this.drop();
    this.#dropped = why;
  }
}
