import { KIB } from '../../core/units.ts';

const HANDED = 0;
const TAKEN = 1;
const END = 2;
const CHANGES = 3;
const SENDERS = 4;
const CONTROL_BYTES = 64;

/** Words of each sender, on a cache line of its own. */
const AWAKE = 0;
const DISPATCHED = 1;
const SENDER_BYTES = 64;
/** A due time and its sender. */
const DUE_BYTES = Float64Array.BYTES_PER_ELEMENT + Uint8Array.BYTES_PER_ELEMENT;
const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;

const FINISHED = 1;
const STOPPED = 2;

/** What a sender tells the other threads. */
export interface SenderSignals {
  /** Whether its loop is running and needs no wake-up. */
  setSenderAwake(awake: boolean): void;
  /** Requests that left its queue so far. */
  setDispatched(count: number): void;
}

/**
 * Due offsets on their way from the command thread to the pacer, each with the sender that has its request, and a few
 * words by which the threads signal each other. One writer and one reader. Counts wrap at 32 bits: only their
 * differences mean anything.
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

  /** Main: adds one due time; there must be room. Follow with `announce`. */
  push(dueOffsetNs: number, sender = 0): void {
    const handed = Atomics.load(this.#control, HANDED);
    this.#dueOffsetNs[handed & this.#mask] = dueOffsetNs;
    this.#dueSender[handed & this.#mask] = sender;
    Atomics.store(this.#control, HANDED, (handed + 1) | 0);
  }

  /** Main: lets a sleeping pacer see what was added. */
  announce(): void {
    Atomics.add(this.#control, CHANGES, 1);
    Atomics.notify(this.#control, CHANGES);
  }

  /** Main: how many more due times fit. */
  get free(): number {
    const used = (Atomics.load(this.#control, HANDED) - Atomics.load(this.#control, TAKEN)) | 0;
    return this.#mask + 1 - used;
  }

  /** Main: nothing more will come; the pacer ends when it has taken the rest. */
  finish(): void {
    this.#end(FINISHED);
  }

  /** Main: the pacer ends now. */
  stop(): void {
    this.#end(STOPPED);
  }

  /** Pacer: nothing is left to wait for. */
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

  /** Pacer: the sender of the earliest; there must be one. */
  peekSender(): number {
    return this.#dueSender[Atomics.load(this.#control, TAKEN) & this.#mask] ?? 0;
  }

  /** Pacer: takes it. */
  shift(): void {
    Atomics.add(this.#control, TAKEN, 1);
  }

  /** Pacer: a mark to sleep on; a change made after it was taken ends the sleep at once. */
  changes(): number {
    return Atomics.load(this.#control, CHANGES);
  }

  /** Pacer: blocks the thread until something changed since `changes`, or for `waitMs` (Infinity allowed). */
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

  /** Main: how many of the `handed` requests of a sender still wait there. */
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

/** Most that may be under way at once, over all senders of a run. */
export interface InFlightLimits {
  readonly maxRequests: number;
  /** Of request bodies that are not wholly written yet. */
  readonly maxBodyBytes: number;
}

/** Plain data, by which threads count in the same memory. */
export interface InFlightSetup {
  readonly memory: SharedArrayBuffer;
  readonly limits: InFlightLimits;
}

const REQUESTS = 0;
const BODY_KIB = 1;
const WAITING = 2;
const SERVED = 3;
const WORDS = 4;

/** What a request found: room, or which of the two limits was reached. */
type Admission = 'admitted' | 'too_many' | 'too_heavy';

/**
 * Counts what all senders have under way, in shared memory, so that a cap holds for the whole run however unevenly
 * sessions fall on senders. Bodies count in whole KiB, so that 32 bits hold two TiB. Follow-ups that wait at the
 * senders are counted by another one.
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

  /** Of them, those that wait for their recorded connection: the target has not seen them. */
  get waiting(): number {
    return Atomics.load(this.#words, WAITING);
  }

  /** Whether an answer other than a refusal or an error has begun, in whatever phase. */
  get hasServed(): boolean {
    return Atomics.load(this.#words, SERVED) !== 0;
  }

  noteServed(): void {
    Atomics.store(this.#words, SERVED, 1);
  }

  /** One that has a place begins to wait for its recorded connection. */
  beginWaiting(): void {
    Atomics.add(this.#words, WAITING, 1);
  }

  /** Its connection is free, or it is given up. */
  endWaiting(): void {
    Atomics.sub(this.#words, WAITING, 1);
  }

  /** Takes a place, if there is one. A body larger than the whole limit passes when no other is under way. */
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

  /** Its body is written, or given up. */
  leaveBody(bodyBytes: number): void {
    Atomics.sub(this.#words, BODY_KIB, kibOf(bodyBytes));
  }

  /** By compare-and-exchange: adding and taking back could refuse another sender a place that is free. */
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
