import type { Writable } from 'node:stream';
import { LIMITS } from '../core/limits.ts';
import { type Enrolled, Roster } from '../core/roster.ts';
import type { Slab } from './slab.ts';

/** What waits in one stream. */
class Wait implements Enrolled {
  place = -1;
  readonly stream: Writable;
  readonly slabs: Slab[] = [];
  readonly onDrain: () => void;

  constructor(stream: Writable, settle: (wait: Wait) => void) {
    this.stream = stream;
    this.onDrain = () => settle(this);
  }
}

/**
 * Slabs in which writes wait for peers that do not keep up. They are let go when their stream has nothing left to
 * write, which it says only of much; so each is looked at now and then, by one timer that runs only while something
 * waits. A callback with each write would say it of all, and costs a tenth of what forwarding a small request does.
 */
export class WaitingWrites {
  /** No more than there are slabs that wait or are lent, so that one is soon found. */
  readonly #waits = new Roster<Wait>();
  #count = 0;
  #timer: NodeJS.Timeout | null = null;

  /** Slabs that are held; one counts as often as writes wait in it. */
  get count(): number {
    return this.#count;
  }

  /** Whether one more write may wait in a slab. */
  get hasRoom(): boolean {
    return this.#count < LIMITS.waitingSlabs;
  }

  /** What was written to a stream, from a slab, did not go at once. */
  add(stream: Writable, slab: Slab): void {
    const wait = this.#waits.find((one) => one.stream === stream) ?? this.#begin(stream);
    wait.slabs.push(slab);
    slab.hold();
    this.#count += 1;
    this.#timer ??= setInterval(() => this.#lookAtAll(), LIMITS.waitingLookMs).unref();
  }

  #begin(stream: Writable): Wait {
    const wait = new Wait(stream, (drained) => this.#settle(drained));
    this.#waits.add(wait);
    stream.on('drain', wait.onDrain);
    return wait;
  }

  #lookAtAll(): void {
    this.#waits.each((wait) => this.#settle(wait));
    if (this.#waits.size > 0 || !this.#timer) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  /** A stream that is destroyed has closed its handle: the kernel is handed no more of it. */
  #settle(wait: Wait): void {
    const { stream, slabs, onDrain } = wait;
    if (stream.writableLength > 0 && !stream.destroyed) return;
    stream.off('drain', onDrain);
    this.#waits.remove(wait);
    this.#count -= slabs.length;
    for (const slab of slabs) slab.release();
  }
}
