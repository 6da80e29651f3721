import { type DueRing, heldKib } from './due-ring.ts';

/** What may wait for another request, over all senders. */
export interface HeldBounds {
  readonly maxRequests: number;
  readonly maxBytes: number;
}

/** Room for follow-ups that wait at the senders: taken when one is handed over, free again when its turn came. */
export class HeldBudget {
  readonly #ring: DueRing;
  readonly #bounds: HeldBounds;
  #count = 0;
  #kib = 0;

  constructor(ring: DueRing, bounds: HeldBounds) {
    this.#ring = ring;
    this.#bounds = bounds;
  }

  /** Follow-ups handed over so far. */
  get handed(): number {
    return this.#count;
  }

  /** Takes room for a body of so many bytes, if there is any; one larger than all of it passes alone. */
  take(bodyBytes: number): boolean {
    const released = this.#ring.released();
    const waiting = (this.#count - released.count) | 0;
    const waitingKib = (this.#kib - released.kib) | 0;
    const kib = heldKib(bodyBytes);
    const fits = waiting < this.#bounds.maxRequests && (waitingKib + kib) * 1_024 <= this.#bounds.maxBytes;
    if (waiting > 0 && !fits) return false;
    this.#count++;
    this.#kib += kib;
    return true;
  }
}
