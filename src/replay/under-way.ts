import { type Entry, LinkedList } from '../core/linked-list.ts';
import type { PendingSend } from './pending-send.ts';
import type { SendEnd } from './send-error.ts';

/** Requests that were sent and are not over, in the order of their sends. */
export class UnderWay {
  readonly #sends = new LinkedList<PendingSend>();

  get size(): number {
    return this.#sends.size;
  }

  /** @param nowNs by the loop's time */
  add(pending: PendingSend, nowNs: number): void {
    pending.underWay = { entry: this.#sends.push(pending), sinceNs: nowNs };
  }

  /** @returns whether it was under way */
  remove(pending: PendingSend): boolean {
    const { underWay } = pending;
    pending.underWay = null;
    return underWay !== null && this.#sends.remove(underWay.entry);
  }

  /** Ends those that have been under way for so long at an instant of the loop's time. */
  abortOverdue(atNs: number, limitNs: number, end: SendEnd): void {
    const overdue: PendingSend[] = [];
    for (let entry: Entry<PendingSend> | null = this.#sends.first; entry !== null; entry = entry.next) {
      const { item } = entry;
      if (atNs - (item.underWay?.sinceNs ?? atNs) < limitNs) break;
      overdue.push(item);
    }
    for (const pending of overdue) pending.handle?.abort(end);
  }

  abortAll(end: SendEnd): void {
    for (const pending of this.#sends.items()) pending.handle?.abort(end);
  }
}
