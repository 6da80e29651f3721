import type { DueTimes } from './pacer.ts';

const HANDED = 0;
const TAKEN = 1;
const END = 2;
const CHANGES = 3;
const SENDER_AWAKE = 4;
const DISPATCHED = 5;
const CONTROL_BYTES = 64;

const FINISHED = 1;
const STOPPED = 2;

/** What a sender tells the other threads. */
export interface SenderSignals {
  /** Whether it is turning by itself and needs no wake-up. */
  setSenderAwake(awake: boolean): void;
  /** Requests that left its queue so far. */
  setDispatched(count: number): void;
}

/**
 * The memory the three threads share: due offsets on their way from the main thread to the pacer, and the few
 * words by which they know of each other. One writer and one reader; counts wrap at 32 bits, only their
 * differences mean anything.
 *
 *     taken ──► [ due | due | due |     |     ] ◄── handed        capacity: a power of two
 */
export class DueRing implements DueTimes, SenderSignals {
  readonly memory: SharedArrayBuffer;
  readonly #control: Int32Array;
  readonly #dueOffsetNs: Float64Array;
  readonly #mask: number;

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory;
    this.#control = new Int32Array(memory, 0, CONTROL_BYTES / Int32Array.BYTES_PER_ELEMENT);
    this.#dueOffsetNs = new Float64Array(memory, CONTROL_BYTES);
    this.#mask = this.#dueOffsetNs.length - 1;
  }

  /** A ring for at least `requests` due times. */
  static create(requests: number): DueRing {
    const capacity = 2 ** Math.ceil(Math.log2(Math.max(2, requests)));
    return new DueRing(new SharedArrayBuffer(CONTROL_BYTES + capacity * Float64Array.BYTES_PER_ELEMENT));
  }

  /** Main: adds one due time; there must be room. Follow with `announce`. */
  push(dueOffsetNs: number): void {
    const handed = Atomics.load(this.#control, HANDED);
    this.#dueOffsetNs[handed & this.#mask] = dueOffsetNs;
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

  /** Pacer: the earliest due offset, null when none is there. */
  peekNs(): number | null {
    const taken = Atomics.load(this.#control, TAKEN);
    if (taken === Atomics.load(this.#control, HANDED)) return null;
    return this.#dueOffsetNs[taken & this.#mask] ?? null;
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

  /** Sender: whether it is turning by itself and needs no wake-up. */
  setSenderAwake(awake: boolean): void {
    Atomics.store(this.#control, SENDER_AWAKE, awake ? 1 : 0);
  }

  /** Pacer: see `setSenderAwake`. */
  get senderAwake(): boolean {
    return Atomics.load(this.#control, SENDER_AWAKE) === 1;
  }

  /** Sender: requests that left its queue, modulo 2³². */
  setDispatched(count: number): void {
    Atomics.store(this.#control, DISPATCHED, count | 0);
  }

  /** Main: how many of `handed` requests still wait at the sender. */
  waitingAtSender(handed: number): number {
    return (handed - Atomics.load(this.#control, DISPATCHED)) | 0;
  }

  #end(state: number): void {
    Atomics.store(this.#control, END, state);
    this.announce();
  }
}
