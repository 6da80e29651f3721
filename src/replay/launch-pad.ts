/** Requests that one sender has laid out at most; a power of two. */
export const LAUNCH_SLOTS = 32;
/** Only what is due within this time is laid out, nanoseconds: its connection may carry nothing else until then. */
export const LAUNCH_HORIZON_NS = 250_000_000;
/** The longest request that is laid out, head and body. */
export const LAUNCH_BYTES = 80 * 1024;

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
/** Each sender's words, and each slot's, in lines of the cache of their own. */
const LINE_BYTES = 64;
const PASSED = 0;
const MORE = 1;

/** What has become of a request, and in the same word which one it is: a slot is used again. */
const STATE = 0;
const FD = 1;
const BYTES = 2;
const BODY_BYTES = 3;
const TELLS = 4;
const WRITTEN = 5;
const IN_FLIGHT = 6;
/** In doubles of the line. */
const AT = 4;
const INODE = 5;

const EMPTY = 0;
const READY = 1;
const CLAIMED = 2;
const LAUNCHED = 3;
const TOO_MANY = 4;
const TOO_HEAVY = 5;
const FAILED = 6;
const LEFT = 7;
const STATE_MASK = 7;

/** How often a slot that is being launched is looked at, milliseconds; its launcher says when it is done. */
const LOOK_MS = 1;

/** An open file of the process, by a number that may be another's soon, and by one that will not. */
export interface Descriptor {
  readonly fd: number;
  readonly inode: number;
}

/** A request that is laid out. */
export interface LaunchPlan extends Descriptor {
  /** Of the slot, that are to be written. */
  readonly bytes: number;
  /** Of its body, as it counts under way. */
  readonly bodyBytes: number;
  /** Its sender has something to do as soon as it is written. */
  readonly tells: boolean;
}

/** A request that had its turn: it was sent, or there was no room for it under way. */
export type LaunchTurn =
  | {
      readonly kind: 'launched';
      /** When its first byte was about to be written, monotonic nanoseconds. */
      readonly atNs: number;
      readonly writtenBytes: number;
      /** Requests under way then, this one included. */
      readonly inFlight: number;
    }
  | { readonly kind: 'too_many' | 'too_heavy'; readonly atNs: number };

/** What became of it; its sender has it again where its connection took nothing, or it was not tried. */
export type LaunchEnd = LaunchTurn | { readonly kind: 'failed' } | { readonly kind: 'left' };

/**
 * Memory in which senders lay out their next requests, each with the connection it goes over, for the pacer to
 * write at its instant: of two threads that would have to wake for a send, the one is enough that waits for it.
 * Requests of a sender are numbered in the order of their instants, counting those that are not laid out; numbers
 * wrap at 32 bits. Each is launched or taken back: whoever exchanges its state first has it. What is given back holds
 * up those behind it until its sender takes note of that, having taken them back before.
 */
export class LaunchPad {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  /** Of each slot: a view that was made for each request would be felt. */
  readonly #bytes: readonly Buffer[];
  readonly #slotsAt: number;

  /** @param senders as many as it was made for */
  constructor(memory: SharedArrayBuffer, senders: number) {
    this.memory = memory;
    this.#slotsAt = senders * LINE_BYTES;
    const bytesAt = this.#slotsAt + senders * LAUNCH_SLOTS * LINE_BYTES;
    this.#words = new Int32Array(memory, 0, bytesAt / WORD_BYTES);
    this.#doubles = new Float64Array(memory, 0, bytesAt / Float64Array.BYTES_PER_ELEMENT);
    this.#bytes = Array.from({ length: senders * LAUNCH_SLOTS }, (_, slot) =>
      Buffer.from(memory, bytesAt + slot * LAUNCH_BYTES, LAUNCH_BYTES),
    );
  }

  static create(senders: number): LaunchPad {
    const perSender = LINE_BYTES + LAUNCH_SLOTS * (LINE_BYTES + LAUNCH_BYTES);
    return new LaunchPad(new SharedArrayBuffer(senders * perSender), senders);
  }

  /** Sender: where the bytes of a request are to be put before it is laid out. Its slot must be empty. */
  bytesOf(sender: number, order: number): Buffer {
    return this.#bytes[this.#slot(sender, order)] as Buffer;
  }

  /** Sender: lays a request out. False where its instant had passed by: it is the sender's own then. */
  layOut(sender: number, order: number, { fd, inode, bytes, bodyBytes, tells }: LaunchPlan): boolean {
    const at = this.#wordsAt(sender, order);
    this.#words[at + FD] = fd;
    this.#doubles[at / 2 + INODE] = inode;
    this.#words[at + BYTES] = bytes;
    this.#words[at + BODY_BYTES] = bodyBytes;
    this.#words[at + TELLS] = tells ? 1 : 0;
    Atomics.store(this.#words, at + STATE, wordOf(READY, order));
    // Whoever keeps the time says first that an instant passes and looks then; this looks last: one sees the other.
    return !this.hasPassed(sender, order) || !this.takeBack(sender, order);
  }

  /** Sender: takes a request back. False where it is being launched, or was. */
  takeBack(sender: number, order: number): boolean {
    return this.#exchange(sender, order, READY, EMPTY);
  }

  /** Sender: what became of a request that was laid out; null while it waits. */
  endOf(sender: number, order: number): LaunchEnd | null {
    const at = this.#wordsAt(sender, order);
    const state = Atomics.load(this.#words, at + STATE) & STATE_MASK;
    return state === READY || state === CLAIMED ? null : this.#endOf(state, at);
  }

  /** Sender: has taken note of what became of a request; its slot is empty from then on. */
  clear(sender: number, order: number): void {
    Atomics.store(this.#words, this.#wordsAt(sender, order) + STATE, EMPTY);
  }

  /** Pacer: whether its sender has a request again and has not taken note of it: nothing that follows may go before it. */
  isGivenBack(sender: number, order: number): boolean {
    const word = Atomics.load(this.#words, this.#wordsAt(sender, order) + STATE);
    return word === wordOf(FAILED, order) || word === wordOf(LEFT, order);
  }

  /** Sender: sleeps while a request is being launched, which takes some microseconds of whoever does it. */
  awaitEnd(sender: number, order: number): void {
    const at = this.#wordsAt(sender, order) + STATE;
    const claimed = wordOf(CLAIMED, order);
    while (Atomics.load(this.#words, at) === claimed) Atomics.wait(this.#words, at, claimed, LOOK_MS);
  }

  /** Sender: whether it would lay out more, had it room for that. */
  setMore(sender: number, more: boolean): void {
    Atomics.store(this.#words, this.#senderAt(sender) + MORE, more ? 1 : 0);
  }

  /** Pacer: see `setMore`. */
  hasMore(sender: number): boolean {
    return Atomics.load(this.#words, this.#senderAt(sender) + MORE) === 1;
  }

  /** Whether the instant of a request was passed by: who keeps the time has left it to its sender, or tries it. */
  hasPassed(sender: number, order: number): boolean {
    return ((Atomics.load(this.#words, this.#senderAt(sender) + PASSED) - order) | 0) > 0;
  }

  /** Pacer: this instant passes. */
  pass(sender: number, order: number): void {
    Atomics.store(this.#words, this.#senderAt(sender) + PASSED, (order + 1) | 0);
  }

  /** Pacer: whether a request is laid out. */
  isReady(sender: number, order: number): boolean {
    return Atomics.load(this.#words, this.#wordsAt(sender, order) + STATE) === wordOf(READY, order);
  }

  /** Pacer: takes a request to launch it; null where its sender took it back. One of the ends below must follow. */
  claim(sender: number, order: number): LaunchPlan | null {
    if (!this.#exchange(sender, order, READY, CLAIMED)) return null;
    const at = this.#wordsAt(sender, order);
    return {
      fd: this.#words[at + FD] as number,
      inode: this.#doubles[at / 2 + INODE] as number,
      bytes: this.#words[at + BYTES] as number,
      bodyBytes: this.#words[at + BODY_BYTES] as number,
      tells: this.#words[at + TELLS] === 1,
    };
  }

  /** Pacer: says what became of what it claimed. */
  end(sender: number, order: number, end: LaunchEnd): void {
    const at = this.#wordsAt(sender, order);
    if ('atNs' in end) this.#doubles[at / 2 + AT] = end.atNs;
    if (end.kind === 'launched') {
      this.#words[at + WRITTEN] = end.writtenBytes;
      this.#words[at + IN_FLIGHT] = end.inFlight;
    }
    Atomics.store(this.#words, at + STATE, wordOf(STATE_OF[end.kind], order));
    Atomics.notify(this.#words, at + STATE);
  }

  #endOf(state: number, at: number): LaunchEnd {
    const atNs = this.#doubles[at / 2 + AT] as number;
    if (state === LAUNCHED) {
      const [writtenBytes, inFlight] = [this.#words[at + WRITTEN], this.#words[at + IN_FLIGHT]] as [
        number,
        number,
      ];
      return { kind: 'launched', atNs, writtenBytes, inFlight };
    }
    if (state === TOO_MANY || state === TOO_HEAVY) {
      return { kind: state === TOO_MANY ? 'too_many' : 'too_heavy', atNs };
    }
    return { kind: state === LEFT ? 'left' : 'failed' };
  }

  #exchange(sender: number, order: number, from: number, to: number): boolean {
    const expected = wordOf(from, order);
    const word = to === EMPTY ? EMPTY : wordOf(to, order);
    const at = this.#wordsAt(sender, order) + STATE;
    return Atomics.compareExchange(this.#words, at, expected, word) === expected;
  }

  #slot(sender: number, order: number): number {
    return sender * LAUNCH_SLOTS + (order & (LAUNCH_SLOTS - 1));
  }

  #wordsAt(sender: number, order: number): number {
    return (this.#slotsAt + this.#slot(sender, order) * LINE_BYTES) / WORD_BYTES;
  }

  #senderAt(sender: number): number {
    return (sender * LINE_BYTES) / WORD_BYTES;
  }
}

/** No more states than slots: what the number of the slot says of an order leaves the bits for one. */
function wordOf(state: number, order: number): number {
  return (order & -LAUNCH_SLOTS) | state;
}

const STATE_OF: Readonly<Record<LaunchEnd['kind'], number>> = {
  launched: LAUNCHED,
  too_many: TOO_MANY,
  too_heavy: TOO_HEAVY,
  failed: FAILED,
  left: LEFT,
};
