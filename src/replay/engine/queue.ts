import type { Clock } from '../../core/clock.ts';
import { FollowUps } from './follow-ups.ts';
import { BatchReader, type OutgoingRequest, type SendBatch, type SendResult } from './messages.ts';
import type { DueTimes } from './pacer.ts';

/** How much earlier than its instant the sender is to be awake: its timers are late by some 0.7 ms. */
const TIMER_NS = 1_000_000;

/** What a sender has to send: requests whose instants were planned, and follow-ups whose instants it finds itself. */
export class SendQueue implements DueTimes {
  readonly #startNs: number;
  readonly #planned: RequestQueue;
  readonly #followUps: FollowUps;
  #takenFollowUp: OutgoingRequest | null = null;
  /** Planned requests come in the order of their indexes. */
  #lastTakenIndex = -1;
  /** The latest instant that a follow-up was planned for. */
  #lastFollowUpNs = Number.NEGATIVE_INFINITY;
  #overtimeSinceNs: number | null = null;

  /** @param startNs the monotonic instant of offset 0 */
  constructor(startNs: number) {
    this.#startNs = startNs;
    this.#planned = new RequestQueue(startNs);
    this.#followUps = new FollowUps(startNs);
  }

  /** Follow-ups that wait here, and those that came too late for their instant. */
  get followUps(): Pick<FollowUps, 'size' | 'heldBack'> {
    return this.#followUps;
  }

  /** Whether the next instant is one that no pacer knows of. */
  get nextIsOwn(): boolean {
    const own = this.#followUps.peekNs();
    return own !== null && own < (this.#planned.peekNs() ?? Number.POSITIVE_INFINITY);
  }

  /** How close to the next instant it is waited for awake, nanoseconds: a timer is not as exact as the pacer. */
  awakeNs(pacedNs: number): number {
    return this.nextIsOwn ? TIMER_NS : pacedNs;
  }

  /** See RequestQueue. */
  add(batch: SendBatch, nowNs: number, fromOffsetNs = 0): number {
    return this.#planned.add(batch, nowNs, fromOffsetNs);
  }

  /** Takes a batch of follow-ups; small ones only, since they are decoded at once. */
  hold(batch: SendBatch, nowNs: number): void {
    const reader = new BatchReader(batch);
    while (!reader.done) {
      const request = reader.read();
      this.#lastFollowUpNs = Math.max(this.#lastFollowUpNs, this.#startNs + request.intendedOffsetNs);
      this.#followUps.hold(request, nowNs, (request.follows?.after ?? -1) > this.#lastTakenIndex);
    }
  }

  /** Nothing of what was planned waits here. */
  get isEmpty(): boolean {
    return this.#planned.peekNs() === null;
  }

  peekNs(): number | null {
    const planned = this.#planned.peekNs();
    const own = this.#followUps.peekNs();
    if (planned === null || own === null) return planned ?? own;
    return Math.min(planned, own);
  }

  shift(): void {
    if (this.nextIsOwn) this.#takenFollowUp = this.#followUps.shift();
    else this.#planned.shift();
  }

  /** The request that `shift` removed; see RequestQueue. */
  takeShifted(): OutgoingRequest | null {
    const taken = this.#takenFollowUp;
    this.#takenFollowUp = null;
    if (taken !== null) return taken;
    const planned = this.#planned.takeShifted();
    if (planned !== null) this.#lastTakenIndex = planned.index;
    return planned;
  }

  prepare(): void {
    this.#planned.prepare();
  }

  /** Its turn came. */
  sent({ chained, index, intendedOffsetNs }: OutgoingRequest): void {
    if (chained) this.#followUps.sent(index, this.#startNs + intendedOffsetNs);
  }

  /** A request is over, however. @returns whether the instant of another is known by that */
  ended({ index, lastByteOffsetNs }: SendResult, clock: Pick<Clock, 'nowNs'>): boolean {
    const atNs = lastByteOffsetNs === null ? clock.nowNs() : this.#startNs + lastByteOffsetNs;
    return this.#followUps.ended(index, atNs);
  }

  /**
   * Takes the follow-ups whose turn did not come within so long after the end of the plan: their own planned instants
   * are part of it, and the last one may lie far behind that of the last request that waits for none.
   */
  takeOvertime(nowNs: number, deadlineNs: number): OutgoingRequest[] {
    if (this.#planned.peekNs() !== null) return [];
    this.#overtimeSinceNs ??= Math.max(nowNs, this.#lastFollowUpNs);
    return nowNs - this.#overtimeSinceNs < deadlineNs ? [] : this.#followUps.takeAll();
  }
}

/**
 * Requests that wait at the sender, in order. The one at the front is always decoded already, so that nothing is left
 * to do when its instant comes. Bounded by the read-ahead that feeds it.
 */
class RequestQueue implements DueTimes {
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
