import type { Clock } from '../../core/clock.ts';
import { FollowUps } from './follow-ups.ts';
import { BatchReader, type PreparedRequest, type SendBatch, type SendResult } from './messages.ts';
import type { DueTimes } from './pacer.ts';

/** How much earlier than its instant the sender is to be awake: its timers are late by some 0.7 ms. */
const TIMER_NS = 1_000_000;

/**
 * What a sender has to send: requests whose instants were planned, in order, and follow-ups whose instants it finds
 * itself. The planned one at the front is always decoded already, so that nothing is left to do when its instant
 * comes. Bounded by the read-ahead that feeds it.
 */
export class SendQueue implements DueTimes {
  readonly #startNs: number;
  readonly #batches: BatchReader[] = [];
  readonly #followUps: FollowUps;
  #front: PreparedRequest | null = null;
  #taken: PreparedRequest | null = null;
  /** Planned requests come in the order of their indexes. */
  #lastTakenIndex = -1;
  /** The latest instant that a follow-up was planned for. */
  #lastFollowUpNs = Number.NEGATIVE_INFINITY;
  #overtimeSinceNs: number | null = null;

  /** @param startNs the monotonic instant of offset 0 */
  constructor(startNs: number) {
    this.#startNs = startNs;
    this.#followUps = new FollowUps(startNs);
  }

  /** Follow-ups that wait here, and those that came too late for their instant. */
  get followUps(): Pick<FollowUps, 'size' | 'heldBack'> {
    return this.#followUps;
  }

  /** Whether the next instant is one that no pacer knows of. */
  get nextIsOwn(): boolean {
    const own = this.#followUps.peekNs();
    return own !== null && own < (this.#plannedNs ?? Number.POSITIVE_INFINITY);
  }

  /** How close to the next instant it is waited for awake, nanoseconds: a timer is not as exact as the pacer. */
  awakeNs(pacedNs: number): number {
    return this.nextIsOwn ? TIMER_NS : pacedNs;
  }

  /** Adds a batch; returns how many of its requests from `fromOffsetNs` on are due already, having come too late. */
  add(batch: SendBatch, nowNs: number, fromOffsetNs = 0): number {
    const reader = new BatchReader(batch);
    this.#batches.push(reader);
    this.prepare();
    return reader.countDueBy(nowNs - this.#startNs, fromOffsetNs);
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
    return this.#front === null;
  }

  peekNs(): number | null {
    const planned = this.#plannedNs;
    const own = this.#followUps.peekNs();
    if (planned === null || own === null) return planned ?? own;
    return Math.min(planned, own);
  }

  /** Leaves the front undecoded until `prepare`. */
  shift(): void {
    if (this.nextIsOwn) {
      this.#taken = this.#followUps.shift();
      return;
    }
    this.#taken = this.#front;
    this.#front = null;
    this.#lastTakenIndex = this.#taken?.index ?? this.#lastTakenIndex;
  }

  /** The request that `shift` removed. */
  takeShifted(): PreparedRequest | null {
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

  /** Its turn came. */
  sent({ follows, index, intendedOffsetNs }: PreparedRequest): void {
    if (follows !== undefined) this.#followUps.sent(index, this.#startNs + intendedOffsetNs);
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
  takeOvertime(nowNs: number, deadlineNs: number): PreparedRequest[] {
    if (!this.isEmpty) return [];
    this.#overtimeSinceNs ??= Math.max(nowNs, this.#lastFollowUpNs);
    return nowNs - this.#overtimeSinceNs < deadlineNs ? [] : this.#followUps.takeAll();
  }

  get #plannedNs(): number | null {
    return this.#front === null ? null : this.#startNs + this.#front.intendedOffsetNs;
  }
}
