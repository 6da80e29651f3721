import type { DueTimes } from './pacer.ts';
import { BatchReader, type OutgoingRequest, type SendBatch } from './send-batch.ts';

/**
 * Requests that wait at the sender, in order. The one at the front is always decoded already, so that nothing is left
 * to do when its instant comes. Bounded by the read-ahead that feeds it.
 */
export class RequestQueue implements DueTimes {
  readonly #startNs: number;
  readonly #batches: BatchReader[] = [];
  #front: OutgoingRequest | null = null;
  #taken: OutgoingRequest | null = null;

  /** @param startNs the monotonic instant of offset 0 */
  constructor(startNs: number) {
    this.#startNs = startNs;
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
    return this.#front === null ? null : this.#startNs + this.#front.intendedOffsetNs;
  }

  shift(): void {
    this.#taken = this.#front;
    this.#front = null;
  }

  /** The request that `shift` removed. Leaves the front undecoded until `prepare`. */
  takeShifted(): OutgoingRequest | null {
    const taken = this.#taken;
    this.#taken = null;
    return taken;
  }

  /** Decodes the next request; call after a send, while there is time. */
  prepare(): void {
    const reader = this.#batches[0];
    if (this.#front !== null || reader === undefined) return;
    this.#front = reader.read();
    if (reader.done) this.#batches.shift();
  }
}
