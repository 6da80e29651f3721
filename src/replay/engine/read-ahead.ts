import type { Clock } from '../../core/clock.ts';
import { ConnectionForecast } from './connections.ts';
import { type BatchKind, type PreparedRequest, packBatch, type SendBatch } from './messages.ts';
import type { DueRing, InFlight } from './shared-memory.ts';

/** Requests are passed to senders at most this long before they are due. */
const HORIZON_NS = 2_000_000_000;
/**
 * One call pulls requests for about this long. If both cores of a small host are busy, Linux lets a sender wait for
 * milliseconds, until this thread sleeps.
 */
const SLICE_NS = 500_000;
/** This far ahead, there is time to sleep between two slices. */
const AMPLE_NS = HORIZON_NS / 2;
/** The horizon with follow-ups. It is longer, because a fast target makes them due earlier than planned. */
const FOLLOW_UP_HORIZON_NS = 60_000_000_000;
/** Follow-ups in one batch. It is small, because a sender decodes them at once. */
const FOLLOW_UPS_AT_ONCE = 32;
const BATCH_REQUESTS = 256;
const BATCH_BYTES = 1024 * 1024;
/** Memory of a request at the sender besides its body: head strings and objects. */
const HEAD_BYTES = 2_048;

/** Refused follow-ups that are remembered. */
const REMEMBERED = 131_072;

interface ReadAheadBounds {
  readonly maxBytes: number;
  readonly maxRequests: number;
  /** Counts the follow-ups that wait at the senders; null if there are none. */
  readonly held: InFlight | null;
}

/** Receives the requests. */
interface ReadAheadSink {
  hand(kind: BatchKind, batch: SendBatch, sender: number): void;
  /** Called with a follow-up for which there is no room. */
  refuse(request: PreparedRequest): void;
}

/**
 * `more`: call again at once. `ample`: enough was read, sleep a little. `full`: wait until the senders have sent some.
 * `done`: all requests are passed on.
 */
type ReadAheadState = 'more' | 'ample' | 'full' | 'done';

/** Requests that were passed to one sender and are not dispatched yet. */
class Handed {
  readonly connections = new ConnectionForecast();
  count = 0;
  /** Bytes of each request; from `#oldest` on, the oldest first. */
  #sizes: number[] = [];
  #oldest = 0;

  get waiting(): number {
    return this.#sizes.length - this.#oldest;
  }

  add(bytes: number): void {
    this.count++;
    this.#sizes.push(bytes);
  }

  /** Forgets all except the last `waiting`. @returns the bytes of the forgotten ones */
  keepLast(waiting: number): number {
    let bytes = 0;
    while (this.waiting > waiting) bytes += this.#sizes[this.#oldest++] ?? 0;
    if (this.#oldest > 4_096) {
      this.#sizes = this.#sizes.slice(this.#oldest);
      this.#oldest = 0;
    }
    return bytes;
  }
}

/**
 * Pulls requests from the schedule and passes each to its sender well before it is due. The limits are for all senders
 * together.
 */
export class ReadAhead {
  readonly #requests: Iterator<PreparedRequest>;
  readonly #ring: DueRing;
  readonly #bounds: ReadAheadBounds;
  readonly #clock: Clock;
  readonly #sink: ReadAheadSink;
  #followUps = 0;
  /** Refused follow-ups, so that no request waits for one of them forever. */
  readonly #refused = new Set<number>();
  readonly #senders: readonly Handed[];
  #waiting = 0;
  #aheadBytes = 0;
  /** A pulled request that does not fit yet. */
  #next: PreparedRequest | null = null;
  #exhausted = false;

  constructor(
    requests: Iterator<PreparedRequest>,
    ring: DueRing,
    bounds: ReadAheadBounds,
    clock: Clock,
    sink: ReadAheadSink,
  ) {
    this.#requests = requests;
    this.#ring = ring;
    this.#bounds = bounds;
    this.#clock = clock;
    this.#sink = sink;
    this.#senders = Array.from({ length: ring.senders }, () => new Handed());
  }

  /** Number of requests passed on so far. */
  get handed(): number {
    return this.#senders.reduce((sum, { count }) => sum + count, this.#followUps);
  }

  /** Passes on the requests that fit. @param nowOffsetNs the run's present offset @throws errors of the iterator */
  fill(nowOffsetNs: number): ReadAheadState {
    this.#forgetDispatched();
    const untilNs = this.#clock.nowNs() + SLICE_NS;
    let lastOffsetNs = nowOffsetNs;
    do {
      const batch = this.#nextBatch(nowOffsetNs, untilNs);
      if (batch.length === 0) return this.#exhausted ? 'done' : 'full';
      this.#handOver(batch);
      lastOffsetNs = batch.at(-1)?.intendedOffsetNs ?? lastOffsetNs;
    } while (this.#clock.nowNs() < untilNs);
    return lastOffsetNs - nowOffsetNs < AMPLE_NS ? 'more' : 'ample';
  }

  #nextBatch(nowOffsetNs: number, untilNs: number): PreparedRequest[] {
    const horizonNs = nowOffsetNs + (this.#bounds.held === null ? HORIZON_NS : FOLLOW_UP_HORIZON_NS);
    const batch: PreparedRequest[] = [];
    let bytes = 0;
    while (batch.length < BATCH_REQUESTS && bytes < BATCH_BYTES && batch.length < this.#ring.free) {
      const request = this.#peek();
      if (request === null || request.intendedOffsetNs > horizonNs) break;
      const fits = isFollowUp(request)
        ? this.#takesFollowUp(request, nowOffsetNs)
        : this.#takesPlanned(request);
      if (fits === 'not_yet') break;
      this.#next = null;
      if (fits === 'never') continue;
      batch.push(request);
      bytes += sizeOf(request);
      // Checked after each request, because pulling one may have taken long.
      if (this.#clock.nowNs() >= untilNs) break;
    }
    return batch;
  }

  #takesPlanned(request: PreparedRequest): 'yes' | 'not_yet' {
    if (!this.#fits(request)) return 'not_yet';
    this.#senders[this.#senderOf(request)]?.add(sizeOf(request));
    this.#waiting++;
    this.#aheadBytes += sizeOf(request);
    return 'yes';
  }

  /** Refuses a follow-up if there is no room shortly before its planned instant, so that other requests do not wait. */
  #takesFollowUp(request: PreparedRequest, nowOffsetNs: number): 'yes' | 'not_yet' | 'never' {
    if (this.#bounds.held?.enter(request.body?.length ?? 0) === 'admitted') {
      this.#followUps++;
      return 'yes';
    }
    if (request.intendedOffsetNs > nowOffsetNs + HORIZON_NS) return 'not_yet';
    this.#noteRefused(request.index);
    this.#sink.refuse(request);
    return 'never';
  }

  #handOver(batch: readonly PreparedRequest[]): void {
    // Senders get requests before the pacer, so that no sender is woken for a request that it does not have.
    const planned = batch.filter((request) => !isFollowUp(request));
    this.#handAs('batch', planned, BATCH_REQUESTS);
    this.#handAs('followUps', batch.filter(isFollowUp), FOLLOW_UPS_AT_ONCE);
    for (const request of planned) this.#ring.push(request.intendedOffsetNs, this.#senderOf(request));
    this.#ring.announce();
  }

  #handAs(kind: BatchKind, requests: readonly PreparedRequest[], atOnce: number): void {
    for (const [sender, part] of Map.groupBy(requests, (request) => this.#senderOf(request))) {
      for (let at = 0; at < part.length; at += atOnce) {
        const some = part.slice(at, at + atOnce);
        const open = some.map((request) => this.#senders[sender]?.connections.add(request) ?? 0);
        this.#sink.hand(kind, packBatch(some, Math.max(...open)), sender);
      }
    }
  }

  /** The sender of a request. Requests of one session have the same sender, so they keep their order. */
  #senderOf({ index, stripe }: PreparedRequest): number {
    return (stripe ?? index) % this.#senders.length;
  }

  #peek(): PreparedRequest | null {
    if (this.#next === null && !this.#exhausted) {
      const next = this.#requests.next();
      if (next.done) this.#exhausted = true;
      else this.#next = this.#withoutRefused(next.value);
    }
    return this.#next;
  }

  /** Remembers a refused request. The oldest are forgotten; they may never have a follow-up. */
  #noteRefused(index: number): void {
    const [oldest] = this.#refused.size >= REMEMBERED ? this.#refused : [];
    if (oldest !== undefined) this.#refused.delete(oldest);
    this.#refused.add(index);
  }

  /** The request. If the previous one of its session was refused, it is sent at its planned instant instead. */
  #withoutRefused(request: PreparedRequest): PreparedRequest {
    const { follows } = request;
    return follows != null && this.#refused.delete(follows.after) ? { ...request, follows: null } : request;
  }

  /** A request larger than the whole budget passes alone. */
  #fits(request: PreparedRequest): boolean {
    if (this.#waiting === 0) return true;
    return (
      this.#waiting < this.#bounds.maxRequests && this.#aheadBytes + sizeOf(request) <= this.#bounds.maxBytes
    );
  }

  #forgetDispatched(): void {
    for (const [sender, handed] of this.#senders.entries()) {
      const waitingBefore = handed.waiting;
      this.#aheadBytes -= handed.keepLast(this.#ring.waitingAt(sender, handed.count));
      this.#waiting -= waitingBefore - handed.waiting;
    }
  }
}

function sizeOf({ body }: PreparedRequest): number {
  return HEAD_BYTES + (body?.length ?? 0);
}

function isFollowUp({ follows }: PreparedRequest): boolean {
  return follows !== undefined && follows !== null;
}
