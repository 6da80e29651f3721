import type { DueTimes } from './pacer.ts';
import { BatchReader, type OutgoingRequest, type SendBatch } from './send-batch.ts';

/**
 * Requests that wait at the sender, in order. The one at the front is always decoded already, and those that are
 * laid out are, so that nothing is left to do when their instant comes. Bounded by the read-ahead that feeds it.
 */
export class RequestQueue implements DueTimes {
  readonly #startNs: number;
  readonly #onSpent: (packed: ArrayBuffer) => void;
  readonly #batches: BatchReader[] = [];
  /** Decoded, from the front on. */
  readonly #decoded: OutgoingRequest[] = [];
  #taken: OutgoingRequest | null = null;

  /**
   * @param startNs the monotonic instant of offset 0
   * @param onSpent told of the memory of each batch that is read to its end
   */
  constructor(startNs: number, onSpent: (packed: ArrayBuffer) => void) {
    this.#startNs = startNs;
    this.#onSpent = onSpent;
  }

  /** Adds a batch; returns how many of its requests from `fromOffsetNs` on are due already, having come too late. */
  add(batch: SendBatch, nowNs: number, fromOffsetNs = 0): number {
    const reader = new BatchReader(batch);
    const late = reader.countDueBy(nowNs - this.#startNs, fromOffsetNs);
    this.#batches.push(reader);
    this.prepare();
    return late;
  }

  peekNs(): number | null {
    const front = this.#decoded[0];
    return front === undefined ? null : this.#startNs + front.intendedOffsetNs;
  }

  shift(): void {
    this.#taken = this.#decoded.shift() ?? null;
  }

  /** The request that `shift` removed. Leaves the front undecoded until `prepare`. */
  takeShifted(): OutgoingRequest | null {
    const taken = this.#taken;
    this.#taken = null;
    return taken;
  }

  /** Decodes the next request; call after a send, while there is time. */
  prepare(): void {
    if (this.#decoded.length === 0) this.#decode();
  }

  /** The request that so many are in front of; null where there are not so many. */
  at(place: number): OutgoingRequest | null {
    while (this.#decoded.length <= place && this.#decode());
    return this.#decoded[place] ?? null;
  }

  #decode(): boolean {
    const reader = this.#batches[0];
    if (!reader) return false;
    this.#decoded.push(reader.read());
    if (!reader.done) return true;
    this.#batches.shift();
    this.#onSpent(reader.packed);
    return true;
  }
}
