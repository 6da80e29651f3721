/** Sends remembered out of order before the oldest unfinished one is given up: 32 MiB. */
const MAX_WAITING = 2 ** 22;
const INITIAL_WAITING = 1_024;

/** Held in place of a send that was refused or never left: it has no instant, yet it holds its place. */
const NOT_SENT = -1;
const UNKNOWN = Number.NaN;

/**
 * Puts finished sends back into the order of the schedule, which is the order they left in: they are reported
 * as they end, and one slow answer may end minutes after its successors. Memory is eight bytes for each send
 * between the oldest unfinished and the newest finished one; past four million the oldest is given up and
 * counted.
 */
export class SendOrder {
  readonly #release: (actualOffsetNs: number) => void;
  readonly #limit: number;
  #ring = new Float64Array(INITIAL_WAITING).fill(UNKNOWN);
  #next = 0;
  #end = 0;
  #last = 0;
  #givenUp = 0;
  #disordered = 0;

  /** `release` gets the instants of the sends, never decreasing. */
  constructor(release: (actualOffsetNs: number) => void, limit: number = MAX_WAITING) {
    this.#release = release;
    this.#limit = limit;
  }

  /** Sends whose end was not waited for; their instants are missing from the order. */
  get givenUp(): number {
    return this.#givenUp;
  }

  /** Sends that left before one that stands earlier in the schedule; taken as leaving together with it. */
  get disordered(): number {
    return this.#disordered;
  }

  /** Takes a finished send by its place in the schedule; null for one that never left. */
  add(index: number, actualOffsetNs: number | null): void {
    // Already given up: counted when that happened.
    if (index < this.#next) return;
    while (index - this.#next >= this.#limit) this.#giveUpOldest();
    this.#makeRoomFor(index);
    this.#ring[index % this.#ring.length] = actualOffsetNs ?? NOT_SENT;
    this.#end = Math.max(this.#end, index + 1);
    this.#releaseReady();
  }

  /** At the end of the run: releases what waits behind sends that were never reported. */
  flush(): void {
    while (this.#next < this.#end) {
      this.#releaseReady();
      if (this.#next < this.#end) this.#next += 1;
    }
  }

  #releaseReady(): void {
    while (this.#next < this.#end) {
      const at = this.#next % this.#ring.length;
      const instant = this.#ring[at]!;
      if (Number.isNaN(instant)) return;
      this.#ring[at] = UNKNOWN;
      this.#next += 1;
      if (instant === NOT_SENT) continue;
      if (instant < this.#last) this.#disordered += 1;
      this.#last = Math.max(this.#last, instant);
      this.#release(this.#last);
    }
  }

  #giveUpOldest(): void {
    this.#givenUp += 1;
    this.#next += 1;
    this.#end = Math.max(this.#end, this.#next);
    this.#releaseReady();
  }

  #makeRoomFor(index: number): void {
    const needed = index - this.#next + 1;
    if (needed <= this.#ring.length) return;
    let size = this.#ring.length;
    while (size < needed) size *= 2;
    const larger = new Float64Array(size).fill(UNKNOWN);
    for (let place = this.#next; place < this.#end; place++) {
      larger[place % size] = this.#ring[place % this.#ring.length]!;
    }
    this.#ring = larger;
  }
}
