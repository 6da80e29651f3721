import type { Clock } from '../core/clock.ts';
import { LAUNCH_HORIZON_NS, LAUNCH_SLOTS, type LaunchEnd, type LaunchPad } from './launch-pad.ts';
import type { OutgoingRequest } from './send-batch.ts';
import type { LaidOut, Transport } from './transport.ts';

/** What has not left so long after it should have, its sender sends: whoever keeps the time got no processor. */
const GRACE_NS = 50_000;

/** Of what is due later than soon no more than so many keep a connection each. */
const LAID_OUT_EARLY = 8;
/** What comes in this time at thousands a second is all laid out, so that a sender at work delays none of it. */
const SOON_NS = 4_000_000;

/** A request that has left, or cannot. */
export interface Launch {
  /** Of the request. */
  readonly index: number;
  readonly laidOut: LaidOut;
  readonly end: LaunchEnd;
  /** What of it was not written; null where all was. A copy. */
  readonly rest: Buffer | null;
}

/** The pad, and whose part of it is meant. */
export interface SenderPad {
  readonly pad: LaunchPad;
  readonly sender: number;
}

/** What launches are made of. */
export interface LaunchesParts extends SenderPad {
  readonly transport: Transport;
  readonly clock: Clock;
  /** The run's zero, monotonic. */
  readonly startNs: number;
  /** The planned request that so many are in front of; null where there are not so many. */
  readonly plannedAt: (place: number) => OutgoingRequest | null;
  /** The first of them has left, or cannot: from here on it is its sender's to go on with. */
  readonly onLaunch: (launch: Launch) => void;
  /** The first should have left, and is its sender's again. */
  readonly onOverdue: () => void;
}

interface Place {
  readonly order: number;
  /** Of the request in the schedule, and its instant, monotonic. */
  readonly index: number;
  readonly dueNs: number;
  readonly laidOut: LaidOut;
}

/**
 * The next requests of a sender, laid out for the pacer: always the first of those that it has, with none between
 * them that is not, so that they leave in their order whoever sends them.
 */
export class Launches {
  readonly #parts: LaunchesParts;
  readonly #places: Place[] = [];
  /** Of the first request that the sender has: how many it had before. */
  #order = 0;

  constructor(parts: LaunchesParts) {
    this.#parts = parts;
  }

  /** How many are laid out. */
  get size(): number {
    return this.#places.length;
  }

  /** Lays out requests, as far as there is room, until one is the sender's own. */
  layOut(): void {
    const { pad, sender, plannedAt } = this.#parts;
    let more = true;
    while (more) {
      const request = plannedAt(this.#places.length);
      if (request !== null && !this.#hasRoomFor(request)) break;
      more = request !== null && this.#layOutNext(request);
    }
    pad.setMore(sender, more);
  }

  /** Tells of those that have left, and has those back that should have. */
  settle(): void {
    this.#tell();
    const first = this.#places[0];
    if (first === undefined || this.#parts.clock.nowNs() - first.dueNs <= GRACE_NS) return;
    this.withdraw();
    this.#parts.onOverdue();
  }

  /** Takes all back that have not left, and tells of those that have. */
  withdraw(): void {
    this.#withdrawFrom(0);
    this.#tell();
  }

  /** The sender sends its first request itself: it is not laid out. */
  skip(): void {
    this.#order = (this.#order + 1) | 0;
  }

  #hasRoomFor({ intendedOffsetNs }: OutgoingRequest): boolean {
    if (this.#places.length < LAID_OUT_EARLY) return true;
    const { clock, startNs } = this.#parts;
    return this.#places.length < LAUNCH_SLOTS && startNs + intendedOffsetNs - clock.nowNs() <= SOON_NS;
  }

  #layOutNext(request: OutgoingRequest): boolean {
    const { pad, sender, transport, clock, startNs } = this.#parts;
    const dueNs = startNs + request.intendedOffsetNs;
    const waitNs = dueNs - clock.nowNs();
    if (waitNs <= 0 || waitNs > LAUNCH_HORIZON_NS || request.lane !== null) return false;
    const order = (this.#order + this.#places.length) | 0;
    if (pad.hasPassed(sender, order)) return false;
    const into = pad.bytesOf(sender, order);
    const laidOut = transport.layOut?.(request, into, () => this.#needed(laidOut)) ?? null;
    if (laidOut === null) return false;
    const { descriptor, bytes } = laidOut;
    const tells = request.chained || request.answer.cancelAfterNs !== null;
    if (!pad.layOut(sender, order, { ...descriptor, bytes, bodyBytes: request.body?.length ?? 0, tells })) {
      laidOut.withdraw();
      return false;
    }
    this.#places.push({ order, index: request.index, dueNs, laidOut });
    return true;
  }

  /** The first, if it has left or cannot. */
  #take(): Launch | null {
    const { pad, sender } = this.#parts;
    const place = this.#places[0];
    if (place === undefined) return null;
    const { order, index, laidOut } = place;
    const end = pad.endOf(sender, order);
    if (end === null) return null;
    const isGivenBack = end.kind === 'failed' || end.kind === 'left';
    // It comes first again, and those behind it after it: none of them leaves while it stands in the pad.
    if (isGivenBack) this.#withdrawFrom(1);
    pad.clear(sender, order);
    this.#places.shift();
    if (isGivenBack) return { index, laidOut, end, rest: null };
    this.skip();
    const isShort = end.kind === 'launched' && end.writtenBytes < laidOut.bytes;
    const rest = isShort ? pad.bytesOf(sender, order).subarray(end.writtenBytes, laidOut.bytes) : null;
    return { index, laidOut, end, rest: rest === null ? null : Buffer.from(rest) };
  }

  #tell(): void {
    for (let launch = this.#take(); launch !== null; launch = this.#take()) this.#parts.onLaunch(launch);
  }

  #withdrawFrom(at: number): void {
    const { pad, sender } = this.#parts;
    for (let last = this.#places.length - 1; last >= at; last -= 1) {
      const { order, laidOut } = this.#places[last] as Place;
      if (!pad.takeBack(sender, order)) {
        // They leave in their order, so that those before it have left as well.
        pad.awaitEnd(sender, order);
        return;
      }
      this.#places.pop();
      laidOut.withdraw();
    }
  }

  /** A connection has to know whether its request has left. */
  #needed(laidOut: LaidOut | null): void {
    this.#tell();
    const at = this.#places.findIndex((place) => place.laidOut === laidOut);
    if (at < 0) return;
    this.#withdrawFrom(at);
    this.#tell();
  }
}
