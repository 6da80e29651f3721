import TinyQueue from 'tinyqueue';
import type { PreparedRequest } from './messages.ts';

/** Ended requests that are remembered for a later follow-up, which may never come. About 20 MB. */
const REMEMBERED = 131_072;

/** A request of a session that has not ended, and the follow-up that waits for it. */
interface Underway {
  /** Its monotonic instant; null until it is sent. */
  intendedNs: number | null;
  follower: PreparedRequest | null;
  /** Whether its follow-up needed only its send time and has got it. */
  followed: boolean;
}

interface Ended {
  readonly intendedNs: number;
  readonly endNs: number;
}

/**
 * Follow-ups that wait at a sender. Each waits until the previous request of its session is sent, or has ended; then
 * its instant is known. A session stays on one sender, so no other thread is involved. The size is limited by what is
 * passed to the sender. Instants are monotonic nanoseconds.
 */
export class FollowUps {
  readonly #startNs: number;
  readonly #underway = new Map<number, Underway>();
  /** Ended requests, the oldest first. */
  readonly #ended = new Map<number, Ended>();
  /** An iterator that continues where it was. All entries that it passed are forgotten. */
  readonly #oldestEnded = this.#ended.keys();
  /** Follow-ups whose instant is known. */
  readonly #resolved = new TinyQueue<PreparedRequest>([], inOrder);
  #unresolved = 0;
  /** Follow-ups sent late, because they came to this sender after their instant. */
  heldBack = 0;

  constructor(startNs: number) {
    this.#startNs = startNs;
  }

  /** Number of waiting follow-ups, with known and unknown instants. */
  get size(): number {
    return this.#unresolved + this.#resolved.length;
  }

  /**
   * Adds a follow-up.
   * @param isToCome whether the request that it follows still waits for its planned instant
   */
  hold(request: PreparedRequest, nowNs: number, isToCome: boolean): void {
    const { follows } = request;
    if (follows == null) throw new Error(`request ${request.index} follows none`);
    this.#begun(request.index);
    const ended = this.#takeEnded(follows.after);
    if (ended !== null) {
      this.#resolveLate(
        request,
        (follows.from === 'end' ? ended.endNs : ended.intendedNs) + follows.delayNs,
        nowNs,
      );
      return;
    }
    let before = this.#underway.get(follows.after);
    if (before === undefined && !isToCome) {
      // The previous request ended so long ago that it was forgotten.
      this.#resolveLate(request, this.#startNs + request.intendedOffsetNs, nowNs);
      return;
    }
    before ??= this.#begun(follows.after);
    if (follows.from === 'send' && before.intendedNs !== null) {
      before.followed = true;
      this.#resolveLate(request, before.intendedNs + follows.delayNs, nowNs);
      return;
    }
    before.follower = request;
    this.#unresolved++;
  }

  /** Notes that a request of a session was sent or refused. @returns whether this decides another request's instant */
  sent(index: number, intendedNs: number): boolean {
    const own = this.#underway.get(index) ?? this.#begun(index);
    own.intendedNs = intendedNs;
    if (own.follower?.follows?.from !== 'send') return false;
    own.followed = true;
    this.#release(own, intendedNs);
    return true;
  }

  /** Notes that a request has ended, with any result. @returns whether this decides another request's instant */
  ended(index: number, endNs: number): boolean {
    const own = this.#underway.get(index);
    if (own === undefined) return false;
    this.#underway.delete(index);
    if (own.follower !== null) {
      this.#release(own, endNs);
      return true;
    }
    if (!own.followed) this.#remember(index, { intendedNs: own.intendedNs ?? endNs, endNs });
    return false;
  }

  peekNs(): number | null {
    const next = this.#resolved.peek();
    return next === undefined ? null : this.#startNs + next.intendedOffsetNs;
  }

  shift(): PreparedRequest | null {
    return this.#resolved.pop() ?? null;
  }

  /** Removes and returns all follow-ups, in any order. They will not be sent. */
  takeAll(): PreparedRequest[] {
    const underway = [...this.#underway.values()];
    const waiting = underway.flatMap(({ follower }) => follower ?? []);
    for (const own of underway) own.follower = null;
    this.#unresolved = 0;
    for (let next = this.shift(); next !== null; next = this.shift()) waiting.push(next);
    return waiting;
  }

  #begun(index: number): Underway {
    const own: Underway = { intendedNs: null, follower: null, followed: false };
    this.#underway.set(index, own);
    return own;
  }

  #release(own: Underway, fromNs: number): void {
    const { follower } = own;
    if (follower === null) return;
    own.follower = null;
    this.#unresolved--;
    this.#resolve(follower, fromNs + (follower.follows?.delayNs ?? 0));
  }

  /** Sets the due time. If it has passed already, the request is due now and counts in `heldBack`. */
  #resolveLate(request: PreparedRequest, dueNs: number, nowNs: number): void {
    if (dueNs < nowNs) this.heldBack++;
    this.#resolve(request, Math.max(dueNs, nowNs));
  }

  #resolve(request: PreparedRequest, dueNs: number): void {
    this.#resolved.push({ ...request, intendedOffsetNs: dueNs - this.#startNs });
  }

  #remember(index: number, ended: Ended): void {
    if (this.#ended.size >= REMEMBERED) this.#ended.delete(this.#oldestEnded.next().value ?? index);
    this.#ended.set(index, ended);
  }

  #takeEnded(index: number): Ended | null {
    const ended = this.#ended.get(index) ?? null;
    this.#ended.delete(index);
    return ended;
  }
}

/** By instant; equal instants in the order of the schedule. */
function inOrder(a: PreparedRequest, b: PreparedRequest): number {
  return a.intendedOffsetNs - b.intendedOffsetNs || a.index - b.index;
}
