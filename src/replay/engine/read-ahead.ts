import type { Clock } from '../../core/clock.ts';
import { type BatchKind, type PreparedRequest, packBatch, type SendBatch } from './messages.ts';
import type { DueRing, InFlight } from './shared-memory.ts';

/** Requests are handed over at most this long before they are due. */
const HORIZON_NS = 2_000_000_000;
/**
 * One call pulls for about this long. A thread that sends may have to wait for the processor until this one sleeps:
 * where both cores of a small host are taken, Linux lets it wait for milliseconds.
 */
const SLICE_NS = 500_000;
/** As far ahead there is time to sleep between two slices. */
const AMPLE_NS = HORIZON_NS / 2;
/** With follow-ups, which a fast target brings forward, as far as the bounds allow, and no farther than this. */
const FOLLOW_UP_HORIZON_NS = 60_000_000_000;
/** A sender decodes follow-ups as they come. */
const FOLLOW_UPS_AT_ONCE = 32;
const BATCH_REQUESTS = 256;
const BATCH_BYTES = 1024 * 1024;
/** What a request takes at the sender beside its body: head strings and their objects. */
const HEAD_BYTES = 2_048;

/** Refused follow-ups that are remembered. */
const REMEMBERED = 131_072;

interface ReadAheadBounds {
  readonly maxBytes: number;
  readonly maxRequests: number;
  /** Counts the follow-ups that wait at the senders; null where nothing follows anything. */
  readonly held: InFlight | null;
}

/** Where requests go from here. */
interface ReadAheadSink {
  hand(kind: BatchKind, batch: SendBatch, sender: number): void;
  /** A follow-up for which there is no room. */
  refuse(request: PreparedRequest): void;
}

/**
 * `more`: call again at once; `ample`: enough was read for now, sleep a little; `full`: wait until the sender has got
 * on; `done`: everything is handed over.
 */
type ReadAheadState = 'more' | 'ample' | 'full' | 'done';

/** Requests of one sender, handed over and not yet dispatched. */
class Handed {
  count = 0;
  /** Bytes of each, oldest first from `#oldest` on. */
  #sizes: number[] = [];
  #oldest = 0;

  get waiting(): number {
    return this.#sizes.length - this.#oldest;
  }

  add(bytes: number): void {
    this.count++;
    this.#sizes.push(bytes);
  }

  /** Forgets all but the last `waiting`; returns their bytes. */
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
 * Pulls requests from the schedule and hands each to its sender well ahead of its time, never more than the
 * bounds, which hold for all senders together.
 */
export class ReadAhead {
  readonly #requests: Iterator<PreparedRequest>;
  readonly #ring: DueRing;
  readonly #bounds: ReadAheadBounds;
  readonly #clock: Clock;
  readonly #sink: ReadAheadSink;
  #followUps = 0;
  /** Follow-ups that were refused: what would wait for one of them must not wait for ever. */
  readonly #refused = new Set<number>();
  readonly #senders: readonly Handed[];
  #waiting = 0;
  #aheadBytes = 0;
  /** Pulled, and not fitting yet. */
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

  /** Requests handed over so far. */
  get handed(): number {
    return this.#senders.reduce((sum, { count }) => sum + count, this.#followUps);
  }

  /** Hands over what fits; `nowOffsetNs` is the run's present offset. Throws what the iterator throws. */
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
      // What is pulled may have waited for others to send.
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

  /** One for which there is no room by the time it was planned for is refused: others must not wait for it. */
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
    // The senders first: a wake-up for a request it does not have is a wake-up lost.
    const planned = batch.filter((request) => !isFollowUp(request));
    this.#handAs('batch', planned, BATCH_REQUESTS);
    this.#handAs('followUps', batch.filter(isFollowUp), FOLLOW_UPS_AT_ONCE);
    for (const request of planned) this.#ring.push(request.intendedOffsetNs, this.#senderOf(request));
    this.#ring.announce();
  }

  #handAs(kind: BatchKind, requests: readonly PreparedRequest[], atOnce: number): void {
    for (const [sender, part] of Map.groupBy(requests, (request) => this.#senderOf(request))) {
      for (let at = 0; at < part.length; at += atOnce)
        this.#sink.hand(kind, packBatch(part.slice(at, at + atOnce)), sender);
    }
  }

  /** The sender of a request: by what it belongs to, so that this keeps its order. */
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

  /** The oldest are forgotten: their own follow-up has not come, or never will. */
  #noteRefused(index: number): void {
    const [oldest] = this.#refused.size >= REMEMBERED ? this.#refused : [];
    if (oldest !== undefined) this.#refused.delete(oldest);
    this.#refused.add(index);
  }

  /** The request; begun anew at its planned instant where the one before it in its session was refused. */
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
