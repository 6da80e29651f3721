/** Most that may be under way at once, over all senders of a run. */
export interface InFlightLimits {
  readonly maxRequests: number;
  /** Of request bodies that are not wholly written yet. */
  readonly maxBodyBytes: number;
}

const REQUESTS = 0;
const BODY_KIB = 1;
const WAITING = 2;
const WORDS = 3;
const KIB = 1_024;

/** What a request found: room, or which of the two limits was reached. */
export type Admission = 'admitted' | 'too_many' | 'too_heavy';

/**
 * What all senders of a run have under way, counted in memory they share: a cap holds for the whole run however
 * unevenly its sessions fall on them. Bodies count in whole KiB, so that 32 bits hold two TiB.
 */
export class InFlight {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #limits: InFlightLimits;

  constructor(memory: SharedArrayBuffer, limits: InFlightLimits) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
    this.#limits = limits;
  }

  static create(limits: InFlightLimits): InFlight {
    return new InFlight(new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT), limits);
  }

  get requests(): number {
    return Atomics.load(this.#words, REQUESTS);
  }

  /** Of them, those that wait for their recorded connection: the target has not seen them. */
  get waiting(): number {
    return Atomics.load(this.#words, WAITING);
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

  /** Compared and exchanged rather than added and taken back: nobody may be refused for a place that is free. */
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
