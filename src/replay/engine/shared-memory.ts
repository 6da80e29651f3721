import { KIB } from '../../core/units.ts';

const HANDED = 0;
const TAKEN = 1;
const END = 2;
const CHANGES = 3;
const SENDERS = 4;
const CONTROL_BYTES = 64;

/** Words of each sender, which has its own cache line. */
const AWAKE = 0;
const DISPATCHED = 1;
const SENDER_BYTES = 64;
/** A due time and its sender. */
const DUE_BYTES = Float64Array.BYTES_PER_ELEMENT + Uint8Array.BYTES_PER_ELEMENT;
const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;

const FINISHED = 1;
const STOPPED = 2;

/** Signals of a sender to the other threads. */
export interface SenderSignals {
  /** Whether its loop is running and needs no wake-up. */
  setSenderAwake(awake: boolean): void;
  /** Requests that left its queue so far. */
  setDispatched(count: number): void;
}

/**
 * A ring of due offsets from the command thread to the pacer, each with the sender of its request, and a few words for
 * signals between threads. It has one writer and one reader. Counts wrap at 32 bits, so only their differences are
 * meaningful.
 *
 *     taken ──► [ due | due | due |     |     ] ◄── handed        capacity: a power of two
 */
export class DueRing {
  readonly memory: SharedArrayBuffer;
  readonly senders: number;
  readonly #control: Int32Array;
  readonly #signals: Int32Array;
  readonly #dueOffsetNs: Float64Array;
  readonly #dueSender: Uint8Array;
  readonly #mask: number;

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory;
    this.#control = new Int32Array(memory, 0, CONTROL_BYTES / WORD_BYTES);
    this.senders = this.#control[SENDERS] ?? 1;
    const duesAt = CONTROL_BYTES + this.senders * SENDER_BYTES;
    this.#signals = new Int32Array(memory, CONTROL_BYTES, (this.senders * SENDER_BYTES) / WORD_BYTES);
    const capacity = (memory.byteLength - duesAt) / DUE_BYTES;
    this.#dueOffsetNs = new Float64Array(memory, duesAt, capacity);
    this.#dueSender = new Uint8Array(memory, duesAt + capacity * Float64Array.BYTES_PER_ELEMENT);
    this.#mask = capacity - 1;
  }

  /** A ring for at least `requests` due times. @param senders 32 at most */
  static create(requests: number, senders = 1): DueRing {
    const capacity = 2 ** Math.ceil(Math.log2(Math.max(2, requests)));
    const memory = new SharedArrayBuffer(CONTROL_BYTES + senders * SENDER_BYTES + capacity * DUE_BYTES);
    new Int32Array(memory, 0, CONTROL_BYTES / WORD_BYTES)[SENDERS] = senders;
    return new DueRing(memory);
  }

  /** Command thread: adds one due time. There must be room. Call `announce` afterwards. */
  push(dueOffsetNs: number, sender = 0): void {
    const handed = Atomics.load(this.#control, HANDED);
    this.#dueOffsetNs[handed & this.#mask] = dueOffsetNs;
    this.#dueSender[handed & this.#mask] = sender;
    Atomics.store(this.#control, HANDED, (handed + 1) | 0);
  }

  /** Command thread: wakes a sleeping pacer to see the added due times. */
  announce(): void {
    Atomics.add(this.#control, CHANGES, 1);
    Atomics.notify(this.#control, CHANGES);
  }

  /** Command thread: how many more due times fit. */
  get free(): number {
    const used = (Atomics.load(this.#control, HANDED) - Atomics.load(this.#control, TAKEN)) | 0;
    return this.#mask + 1 - used;
  }

  /** Command thread: no more due times follow. The pacer ends when it has taken the rest. */
  finish(): void {
    this.#end(FINISHED);
  }

  /** Command thread: makes the pacer end now. */
  stop(): void {
    this.#end(STOPPED);
  }

  /** Pacer: whether no due times are left to wait for. */
  get ended(): boolean {
    const state = Atomics.load(this.#control, END);
    return state === STOPPED || (state === FINISHED && this.peekNs() === null);
  }

  /** Pacer: the earliest due offset. */
  peekNs(): number | null {
    const taken = Atomics.load(this.#control, TAKEN);
    if (Atomics.load(this.#control, HANDED) === taken) return null;
    return this.#dueOffsetNs[taken & this.#mask] ?? null;
  }

  /** Pacer: the sender of the earliest due offset. There must be one. */
  peekSender(): number {
    return this.#dueSender[Atomics.load(this.#control, TAKEN) & this.#mask] ?? 0;
  }

  /** Pacer: takes the earliest due offset. */
  shift(): void {
    Atomics.add(this.#control, TAKEN, 1);
  }

  /** Pacer: the count of changes to sleep on. A later change ends the sleep at once. */
  changes(): number {
    return Atomics.load(this.#control, CHANGES);
  }

  /** Pacer: blocks the thread until the count of changes differs, or for `waitMs` (may be Infinity). */
  sleep(changes: number, waitMs: number): void {
    Atomics.wait(this.#control, CHANGES, changes, waitMs);
  }

  /** The signals of one sender. */
  signalsOf(sender: number): SenderSignals {
    return {
      setSenderAwake: (awake) => Atomics.store(this.#signals, this.#at(sender, AWAKE), awake ? 1 : 0),
      setDispatched: (count) => Atomics.store(this.#signals, this.#at(sender, DISPATCHED), count | 0),
    };
  }

  /** Pacer: whether a sender's loop is running and needs no wake-up. */
  isAwake(sender: number): boolean {
    return Atomics.load(this.#signals, this.#at(sender, AWAKE)) === 1;
  }

  /** Command thread: how many of the `handed` requests of a sender still wait there. */
  waitingAt(sender: number, handed: number): number {
    return (handed - Atomics.load(this.#signals, this.#at(sender, DISPATCHED))) | 0;
  }

  #at(sender: number, word: number): number {
    return (sender * SENDER_BYTES) / WORD_BYTES + word;
  }

  #end(state: number): void {
    Atomics.store(this.#control, END, state);
    this.announce();
  }
}

/** Limits of requests in flight at once, over all senders of a run. */
export interface InFlightLimits {
  readonly maxRequests: number;
  /** Bytes of request bodies that are not completely written yet. */
  readonly maxBodyBytes: number;
}

/** Plain data with which threads count in the same memory. */
export interface InFlightSetup {
  readonly memory: SharedArrayBuffer;
  readonly limits: InFlightLimits;
}

const REQUESTS = 0;
const BODY_KIB = 1;
const WAITING = 2;
const SERVED = 3;
const WORDS = 4;

/** Whether there was room for a request, or which limit was reached. */
type Admission = 'admitted' | 'too_many' | 'too_heavy';

/**
 * Counts the requests in flight of all senders, in shared memory. So a cap holds for the whole run, even if sessions
 * are distributed unevenly. Bodies count in whole KiB, so 32 bits are enough for two TiB. Waiting follow-ups have
 * another counter of this kind.
 */
export class InFlight {
  readonly setup: InFlightSetup;
  readonly #words: Int32Array;
  readonly #limits: InFlightLimits;

  constructor(setup: InFlightSetup) {
    this.setup = setup;
    this.#words = new Int32Array(setup.memory);
    this.#limits = setup.limits;
  }

  static create(limits: InFlightLimits): InFlight {
    return new InFlight({ memory: new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT), limits });
  }

  get requests(): number {
    return Atomics.load(this.#words, REQUESTS);
  }

  /** The requests that wait for their recorded connection. The target has not seen them. */
  get waiting(): number {
    return Atomics.load(this.#words, WAITING);
  }

  /** Whether an answer that is no error has begun, in any phase. */
  get hasServed(): boolean {
    return Atomics.load(this.#words, SERVED) !== 0;
  }

  noteServed(): void {
    Atomics.store(this.#words, SERVED, 1);
  }

  /** A counted request begins to wait for its recorded connection. */
  beginWaiting(): void {
    Atomics.add(this.#words, WAITING, 1);
  }

  /** A request ends its wait: its connection is free, or it is given up. */
  endWaiting(): void {
    Atomics.sub(this.#words, WAITING, 1);
  }

  /** Counts a request if there is room. A body larger than the whole limit passes if there is no other. */
  enter(bodyBytes: number): Admission {
    if (!this.#take(REQUESTS, 1, this.#limits.maxRequests, false)) return 'too_many';
    const kib = kibOf(bodyBytes);
    if (kib === 0 || this.#take(BODY_KIB, kib, Math.floor(this.#limits.maxBodyBytes / KIB), true)) {
      return 'admitted';
    }
    this.leave();
    return 'too_heavy';
  }

  /** A request has ended. */
  leave(): void {
    Atomics.sub(this.#words, REQUESTS, 1);
  }

  /** The body of a request is written, or given up. */
  leaveBody(bodyBytes: number): void {
    Atomics.sub(this.#words, BODY_KIB, kibOf(bodyBytes));
  }

  /** Uses compare-and-exchange. Adding and undoing could make another sender see a full limit although it is not. */
  #take(word: number, amount: number, limit: number, alone: boolean): boolean {
    for (;;) {
      const taken = Atomics.load(this.#words, word);
      if (taken + amount > limit && !(alone && taken === 0)) return false;
      if (Atomics.compareExchange(this.#words, word, taken, taken + amount) === taken) return true;
    }
  }
}

function kibOf(bytes: number): number {
  return Math.ceil(bytes / KIB);
}
