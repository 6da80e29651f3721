import type { Clock } from '../core/clock.ts';
import type { InFlight } from './in-flight.ts';
import type { Descriptor, LaunchPad, LaunchPlan } from './launch-pad.ts';

/** Writes what it can of some bytes to a descriptor, at once. @throws where it can write none, or it is another's by now */
export type WriteNow = (descriptor: Descriptor, bytes: Buffer, length: number) => number;

/** Launches the requests that senders have laid out, on the thread that keeps the time. */
export class Launcher {
  readonly #pad: LaunchPad;
  readonly #inFlight: InFlight;
  readonly #clock: Clock;
  readonly #writeNow: WriteNow;
  /** How many requests of each sender had their instant. */
  readonly #orders: Int32Array;
  /** Of each sender, the request that it was given back last. */
  readonly #givenBack: Int32Array;

  constructor(pad: LaunchPad, senders: number, inFlight: InFlight, clock: Clock, write: WriteNow) {
    this.#pad = pad;
    this.#inFlight = inFlight;
    this.#clock = clock;
    this.#writeNow = write;
    this.#orders = new Int32Array(senders);
    this.#givenBack = new Int32Array(senders);
  }

  /** Whether a sender's next request is laid out so far. */
  isReady(sender: number): boolean {
    return this.#pad.isReady(sender, this.#orders[sender] as number);
  }

  /** The instant of a sender's next request is near. @returns whether that is laid out: `launch` or `leave` it then */
  pass(sender: number): boolean {
    const order = this.#orders[sender] as number;
    this.#orders[sender] = order + 1;
    this.#pad.pass(sender, order);
    return this.#pad.isReady(sender, order);
  }

  /**
   * Launches the request that passed last, unless its sender has taken it back or has one before it again, which
   * it is to send first.
   * @returns false where its sender has something to do, for it or for what follows
   */
  launch(sender: number): boolean {
    if (this.#pad.isGivenBack(sender, this.#givenBack[sender] as number)) return false;
    const order = this.#passed(sender);
    const plan = this.#pad.claim(sender, order);
    if (plan === null || !this.#write(sender, order, plan) || plan.tells) return false;
    // One that had no room for more has it now, and would hear of it by an answer only, which may be long in coming.
    return this.#pad.isReady(sender, order + 1) || !this.#pad.hasMore(sender);
  }

  /** Gives the request that passed last back to its sender. */
  leave(sender: number): void {
    const order = this.#passed(sender);
    if (this.#pad.claim(sender, order) !== null) this.#giveBack(sender, order, 'left');
  }

  #giveBack(sender: number, order: number, kind: 'failed' | 'left'): void {
    this.#givenBack[sender] = order;
    this.#pad.end(sender, order, { kind });
  }

  #passed(sender: number): number {
    return ((this.#orders[sender] as number) - 1) | 0;
  }

  /** @returns whether nothing is left to be done for it now */
  #write(sender: number, order: number, { fd, inode, bytes, bodyBytes }: LaunchPlan): boolean {
    const admission = this.#inFlight.enter(bodyBytes);
    if (admission !== 'admitted') {
      this.#pad.end(sender, order, { kind: admission, atNs: this.#clock.nowNs() });
      return false;
    }
    const inFlight = this.#inFlight.requests;
    const atNs = this.#clock.nowNs();
    let writtenBytes = 0;
    try {
      writtenBytes = this.#writeNow({ fd, inode }, this.#pad.bytesOf(sender, order), bytes);
    } catch {
      // Whatever it was, the sender finds out: it sends the request itself, and says what became of that.
    }
    if (writtenBytes > 0) this.#pad.end(sender, order, { kind: 'launched', atNs, writtenBytes, inFlight });
    else {
      this.#inFlight.leave();
      this.#inFlight.leaveBody(bodyBytes);
      this.#giveBack(sender, order, 'failed');
    }
    return writtenBytes === bytes;
  }
}
