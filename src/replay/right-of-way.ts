import type { Clock } from '../core/clock.ts';

/** From so long before an instant on are the threads woken that send. */
const BEFORE_NS = 150_000;
/** So long after it the request was written and its answer, if it came at once, was read. */
const AFTER_NS = 250_000;
/** Instants nearer to each other than this leave too little room between them to get anywhere. */
const TIGHT_NS = BEFORE_NS + AFTER_NS + 250_000;
/** With less than this handed over nobody waits for anything. */
const ENOUGH_AHEAD_NS = 500_000_000;

/** Instants that were handed over and not yet taken, in order; nanoseconds after the start of the run. */
export interface ComingDues {
  /** The earliest, or that which comes `later` places after it (−1: that which was taken last); null without it. */
  peekNs(later?: number): number | null;
  /** The latest that was handed over; null before the first. */
  readonly latestNs: number | null;
}

/**
 * Sends have the right of way: whoever reads ahead or keeps results waits while a planned one is due. A low priority
 * does not do that, because the scheduler lets whoever runs finish a slice of some milliseconds, at times where
 * another processor is free. One wait is 0.4 ms at most; where sends are too near to each other, or what was read
 * ahead is running out, there is none.
 */
export class RightOfWay {
  readonly #dues: ComingDues;
  readonly #clock: Clock;
  readonly #startNs: () => number | null;
  readonly #sleep: (ms: number) => void;

  /**
   * @param startNs the run's zero on the monotonic clock; null before it is set, when nobody waits
   * @param sleep blocks the calling thread
   */
  constructor(
    dues: ComingDues,
    clock: Clock,
    startNs: () => number | null,
    sleep: (ms: number) => void = sleeper(),
  ) {
    this.#dues = dues;
    this.#clock = clock;
    this.#startNs = startNs;
    this.#sleep = sleep;
  }

  /** To be called between pieces of work; what a piece takes beyond half a millisecond is in the way. */
  give(): void {
    const startNs = this.#startNs();
    if (startNs === null) return;
    const waitNs = this.#waitNs(this.#clock.nowNs() - startNs);
    if (waitNs > 0) this.#sleep(waitNs / 1e6);
  }

  /** The same items, each of which is asked for with the way free. */
  before<Item>(items: Iterator<Item>): Iterator<Item> {
    return {
      next: () => {
        this.give();
        return items.next();
      },
      return: (value) => items.return?.(value) ?? { done: true, value },
    };
  }

  #waitNs(nowNs: number): number {
    if ((this.#dues.latestNs ?? nowNs) - nowNs < ENOUGH_AHEAD_NS) return 0;
    // The pacer takes an instant when it wakes for it, so that one may be under way that is not there any more.
    for (const later of [-1, 0]) {
      const dueNs = this.#dues.peekNs(later);
      if (isAt(dueNs, nowNs)) return leftNs(dueNs, this.#dues.peekNs(later + 1), nowNs);
    }
    return 0;
  }
}

/** Whether a send is due about now. */
function isAt(dueNs: number | null, nowNs: number): dueNs is number {
  return dueNs !== null && nowNs > dueNs - BEFORE_NS && nowNs < dueNs + AFTER_NS;
}

/** Until the way is free again; 0 where the one that follows would take it at once. */
function leftNs(dueNs: number, followingNs: number | null, nowNs: number): number {
  return followingNs !== null && followingNs - dueNs < TIGHT_NS ? 0 : dueNs + AFTER_NS - nowNs;
}

function sleeper(): (ms: number) => void {
  const cell = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  return (ms) => {
    Atomics.wait(cell, 0, 0, ms);
  };
}
