import type { AnswerCheck, SendAnswer } from '../../core/run.ts';

/** What the head of an answer says of its body, as sent. */
export interface AnswerForm {
  readonly contentType: string | null;
  readonly contentEncoding: string | null;
  /** `Inference-Header-Content-Length`. */
  readonly inferenceHeaderLength: string | null;
}

/** What a sender kept of an answer, in slabs that stay taken until it was compared. */
export interface HeldAnswer extends AnswerForm {
  readonly index: number;
  readonly slabs: readonly number[];
  /** Bytes of its body, content coding left. */
  readonly length: number;
  /** Why there is nothing of it: it alone was too large, or all that were held together. */
  readonly dropped: 'answer_too_large' | 'backlog' | null;
}

/** A whole answer. */
export interface KeptAnswer extends AnswerForm {
  readonly bytes: Uint8Array;
}

/** An answer on its way to be compared. Its status was found to be the recorded one. */
export interface AnswerToCheck<Kept = HeldAnswer> {
  readonly index: number;
  /** The recorded exchange. */
  readonly segment: string;
  readonly exchangeId: number;
  readonly route: string | null;
  /** Whether the recorded one came piece by piece. */
  readonly streamed: boolean;
  /** What was read of it as it came; of a stream they stand for its bytes, and `kept` is null. */
  readonly facts: Pick<SendAnswer, 'contentEvents' | 'outputTokens' | 'finish' | 'finishes'> | null;
  readonly kept: Kept | null;
}

/** To the checker: answers of one batch, in no order that matters. */
export interface ToChecker {
  readonly answers: readonly AnswerToCheck[];
}

export interface CheckedAnswer {
  readonly index: number;
  readonly check: AnswerCheck;
}

/** From the checker: of the same answers what they came to. */
export interface FromChecker {
  readonly checked: readonly CheckedAnswer[];
}

/** Plain data: memory that senders, the thread that reads and the checker share. */
export interface ArenaSetup {
  readonly bytes: SharedArrayBuffer;
  /** For each slab whether it is taken. */
  readonly taken: SharedArrayBuffer;
  readonly maxAnswerBytes: number;
}

/** A kept answer of the size that most have is one or two of them. */
export const SLAB_BYTES = 16 * 1_024;

/**
 * Where answers lie until they were compared: slabs of one memory, made once. An answer with memory of its own would
 * be moved between threads more cheaply, and count for the collector of each: a heap is collected in full for some
 * thousand of them, which is lag.
 */
export class AnswerArena {
  readonly setup: ArenaSetup;
  readonly #bytes: Uint8Array;
  readonly #taken: Int32Array;

  constructor(setup: ArenaSetup) {
    this.setup = setup;
    this.#bytes = new Uint8Array(setup.bytes);
    this.#taken = new Int32Array(setup.taken);
  }

  /** @param maxBytes of all answers together; memory is the system's until it is first written to */
  static create(maxBytes: number, maxAnswerBytes: number): AnswerArena {
    const slabs = Math.floor(maxBytes / SLAB_BYTES);
    return new AnswerArena({
      bytes: new SharedArrayBuffer(slabs * SLAB_BYTES),
      taken: new SharedArrayBuffer(slabs * Int32Array.BYTES_PER_ELEMENT),
      maxAnswerBytes,
    });
  }

  /** Slabs that are taken. */
  get held(): number {
    let held = 0;
    for (let slab = 0; slab < this.#taken.length; slab += 1) held += Atomics.load(this.#taken, slab);
    return held;
  }

  /** A free slab, looked for from here on and then from the first, which is then taken; -1 if no slab is free. */
  take(from = 0): number {
    const slab = this.#takeBetween(from, this.#taken.length);
    return slab < 0 && from > 0 ? this.#takeBetween(0, from) : slab;
  }

  #takeBetween(from: number, to: number): number {
    for (let slab = from; slab < to; slab += 1) {
      if (Atomics.load(this.#taken, slab) === 0 && Atomics.compareExchange(this.#taken, slab, 0, 1) === 0)
        return slab;
    }
    return -1;
  }

  free(slabs: readonly number[]): void {
    for (const slab of slabs) Atomics.store(this.#taken, slab, 0);
  }

  write(slab: number, at: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, slab * SLAB_BYTES + at);
  }

  /** What lies in slabs, in memory of its own. */
  read(slabs: readonly number[], length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    for (const [place, slab] of slabs.entries()) {
      const from = slab * SLAB_BYTES;
      const part = Math.min(SLAB_BYTES, length - place * SLAB_BYTES);
      bytes.set(this.#bytes.subarray(from, from + part), place * SLAB_BYTES);
    }
    return bytes;
  }
}
