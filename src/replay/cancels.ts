import { NumberMap } from '../core/number-map.ts';
import type { PendingSend } from './pending-send.ts';

/** The longest a timer can wait; nobody is that patient. */
const LONGEST_MS = 2 ** 31 - 1;

/** Requests in flight whose recorded clients left, each until its own has. */
export class Cancels {
  readonly #afterHearing: (callback: () => void, ms: number) => void;
  /** By number: a timer that outlives its request must not keep it, and its answer, in memory. */
  readonly #waiting = new NumberMap<PendingSend>();
  #next = 0;

  /** @param afterHearing an answer that came before its client left must have been read by then */
  constructor(afterHearing: (callback: () => void, ms: number) => void) {
    this.#afterHearing = afterHearing;
  }

  /** To be called when it was sent; `afterNs` is from then on. */
  add(pending: PendingSend, afterNs: number): void {
    const ms = Math.ceil(afterNs / 1e6);
    if (ms > LONGEST_MS) return;
    const number = this.#next++;
    this.#waiting.set(number, pending);
    pending.cancelNumber = number;
    this.#afterHearing(() => this.#leave(number), ms);
  }

  /** It is over, before its client left or by that. */
  forget(pending: PendingSend): void {
    if (pending.cancelNumber === null) return;
    this.#waiting.delete(pending.cancelNumber);
    pending.cancelNumber = null;
  }

  #leave(number: number): void {
    this.#waiting.get(number)?.handle?.abort('cancelled');
  }
}
