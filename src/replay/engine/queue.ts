import type { Clock } from '../../core/clock.ts';
import { FollowUps } from './follow-ups.ts';
import { BatchReader, type PreparedRequest, type SendBatch, type SendResult } from './messages.ts';
import type { DueTimes } from './pacer.ts';

/** How long before an instant the sender wakes by its own timer, because timers are about 0.7 ms late. */
const TIMER_NS = 1_000_000;

/**
 * The requests of a sender: those with planned instants, in order, and follow-ups whose instants it computes itself.
 * The first planned request is always decoded, so that nothing is left to do at its instant. The read-ahead limits the
 * size.
 */
export class SendQueue implements DueTimes {
  readonly #startNs: number;
  readonly #batches: BatchReader[] = [];
  readonly #followUps: FollowUps;
  #front: PreparedRequest | null = null;
  #taken: PreparedRequest | null = null;
  /** Index of the last planned request that was taken. Planned requests come in the order of their indexes. */
  #lastTakenIndex = -1;
  /** The latest planned instant of a follow-up. */
  #lastFollowUpNs = Number.NEGATIVE_INFINITY;
  #overtimeSinceNs: number | null = null;

  /** @param startNs the monotonic instant of offset 0 */
  constructor(startNs: number) {
    this.#startNs = startNs;
    this.#followUps = new FollowUps(startNs);
  }

  /** The number of waiting follow-ups, and of those that came after their instant. */
  get followUps(): Pick<FollowUps, 'size' | 'heldBack'> {
    return this.#followUps;
  }

  /** Whether the next instant belongs to a follow-up, which the pacer does not know. */
  get nextIsOwn(): boolean {
    const own = this.#followUps.peekNs();
    return own !== null && own < (this.#plannedNs ?? Number.POSITIVE_INFINITY);
  }

  /** How long before the next instant to wait awake, nanoseconds: longer with a timer, which is less exact. */
  awakeNs(pacedNs: number): number {
    return this.nextIsOwn ? TIMER_NS : pacedNs;
  }

  /** Adds a batch. @returns how many of its requests from `fromOffsetNs` on are overdue, because they came too late */
  add(batch: SendBatch, nowNs: number, fromOffsetNs = 0): number {
    const reader = new BatchReader(batch);
    this.#batches.push(reader);
    this.prepare();
    return reader.countDueBy(nowNs - this.#startNs, fromOffsetNs);
  }

  /** Adds a batch of follow-ups. It must be small, because it is decoded at once. */
  hold(batch: SendBatch, nowNs: number): void {
    const reader = new BatchReader(batch);
    while (!reader.done) {
      const request = reader.read();
      this.#lastFollowUpNs = Math.max(this.#lastFollowUpNs, this.#startNs + request.intendedOffsetNs);
      this.#followUps.hold(request, nowNs, (request.follows?.after ?? -1) > this.#lastTakenIndex);
    }
  }

  /** Whether no planned request waits here. */
  get isEmpty(): boolean {
    return this.#front === null;
  }

  peekNs(): number | null {
    const planned = this.#plannedNs;
    const own = this.#followUps.peekNs();
    if (planned === null || own === null) return planned ?? own;
    return Math.min(planned, own);
  }

  /** Removes the next request. The one after it is decoded later, by `prepare`. */
  shift(): void {
    if (this.nextIsOwn) {
      this.#taken = this.#followUps.shift();
      return;
    }
    this.#taken = this.#front;
    this.#front = null;
    this.#lastTakenIndex = this.#taken?.index ?? this.#lastTakenIndex;
  }

  /** Returns the request that `shift` removed. */
  takeShifted(): PreparedRequest | null {
    const taken = this.#taken;
    this.#taken = null;
    return taken;
  }

  /** Decodes the next request. Call it after a send, when there is time. */
  prepare(): void {
    const reader = this.#batches[0];
    if (this.#front !== null || reader === undefined) return;
    this.#front = reader.read();
    if (reader.done) this.#batches.shift();
  }

  /** Notes that a request was sent or refused. */
  sent({ follows, index, intendedOffsetNs }: PreparedRequest): void {
    if (follows !== undefined) this.#followUps.sent(index, this.#startNs + intendedOffsetNs);
  }

  /** Notes that a request has ended, with any result. @returns whether this decides another request's instant */
  ended({ index, lastByteOffsetNs }: SendResult, clock: Pick<Clock, 'nowNs'>): boolean {
    const atNs = lastByteOffsetNs === null ? clock.nowNs() : this.#startNs + lastByteOffsetNs;
    return this.#followUps.ended(index, atNs);
  }

  /**
   * Removes and returns the follow-ups that were not sent within a deadline after the end of the plan. The plan ends
   * with the last planned instant of all requests, follow-ups included.
   */
  takeOvertime(nowNs: number, deadlineNs: number): PreparedRequest[] {
    if (!this.isEmpty) return [];
    this.#overtimeSinceNs ??= Math.max(nowNs, this.#lastFollowUpNs);
    return nowNs - this.#overtimeSinceNs < deadlineNs ? [] : this.#followUps.takeAll();
  }

  get #plannedNs(): number | null {
    return this.#front === null ? null : this.#startNs + this.#front.intendedOffsetNs;
  }
}
