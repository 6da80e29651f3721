import TinyQueue from 'tinyqueue';
import type { PreparedRequest } from './messages.ts';

/** Ends remembered of requests whose follow-up has not come, or never will: some twenty MB. */
const REMEMBERED = 131_072;

/** A request of a session that is not over, and what waits for it. */
interface Underway {
  /** Monotonic; null until it is sent. */
  intendedNs: number | null;
  follower: PreparedRequest | null;
  /** Its follower needed no more than to know when it was sent. */
  followed: boolean;
}

interface Ended {
  readonly intendedNs: number;
  readonly endNs: number;
}

/**
 * Follow-ups that wait at a sender, each until the request before it in its session has been sent, or is over:
 * then its instant is known. A session has one sender, so no other thread is involved. Bounded by what is handed
 * over. Instants are monotonic nanoseconds.
 */
export class FollowUps {
  readonly #startNs: number;
  readonly #underway = new Map<number, Underway>();
  /** The first to be forgotten first. */
  readonly #ended = new Map<number, Ended>();
  /** Goes on where it was: what it has passed is forgotten. */
  readonly #oldestEnded = this.#ended.keys();
  /** Those whose instant is known. */
  readonly #resolved = new TinyQueue<PreparedRequest>([], inOrder);
  #unresolved = 0;
  /** Sent later than their session had earned, because they were not here yet. */
  heldBack = 0;

  constructor(startNs: number) {
    this.#startNs = startNs;
  }

  /** Held here, whether their instants are known or not. */
  get size(): number {
    return this.#unresolved + this.#resolved.length;
  }

  /**
   * Takes one over.
   * @param isToCome whether the request it follows waits for its planned instant
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
      // So long over that it was forgotten.
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

  /** A request of a session was sent, or refused. @returns whether the instant of another is known by that */
  sent(index: number, intendedNs: number): boolean {
    const own = this.#underway.get(index) ?? this.#begun(index);
    own.intendedNs = intendedNs;
    if (own.follower?.follows?.from !== 'send') return false;
    own.followed = true;
    this.#release(own, intendedNs);
    return true;
  }

  /** It is over, however. @returns whether the instant of another is known by that */
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

  /** Takes all of them away, in no order: they will not be sent. */
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

  /** If the due time has passed when the request comes, it is due now and counted in `heldBack`. */
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

/** Ties go in the order of the schedule. */
function inOrder(a: PreparedRequest, b: PreparedRequest): number {
  return a.intendedOffsetNs - b.intendedOffsetNs || a.index - b.index;
}
