import { connect } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { WIRE } from '../../core/limits.ts';
import { type Endpoint, placeOfTarget } from '../net/endpoint.ts';

interface WatchOptions {
  readonly target: Endpoint;
  /** How long a client waits for a target that refuses; 0: not at all. */
  readonly retryMs: number;
  /** Told when the target begins to refuse and when it accepts again. Null: it is only asked while clients wait. */
  readonly changed: ((accepts: boolean) => void) | null;
}

/**
 * Whether a target accepts connections. Clients whose connection it refused wait here. It is asked by one connection
 * at a time, however many wait, and all of them go on when it accepts.
 */
export class TargetWatch {
  readonly #options: WatchOptions;
  readonly #clock: Clock;
  readonly #waiting = new Set<() => void>();
  #accepts = true;
  /** The next question; null while one is under way, or none is to come. */
  #next: NodeJS.Timeout | null = null;
  /** An answer is wanted: the next question comes in a moment, or is under way. */
  #urgent = false;
  #closed = false;

  constructor(options: WatchOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  /** Begins to watch, where somebody wants to be told. */
  start(): void {
    if (this.#options.changed !== null) this.#ask();
  }

  close(): void {
    this.#closed = true;
    if (this.#next) clearTimeout(this.#next);
  }

  /** Until when a client waits that was refused now. */
  waitEndNs(): number {
    return this.#clock.nowNs() + this.#options.retryMs * 1e6;
  }

  refused(): void {
    this.#learn(false);
    this.#askSoon();
  }

  /**
   * Calls back once: when the target accepts, or when the time is over.
   * @returns what ends the wait; null if the time is over already
   */
  whenAccepted(endNs: number, accepted: () => void, over: () => void): (() => void) | null {
    const leftMs = (endNs - this.#clock.nowNs()) / 1e6;
    if (leftMs <= 0) return null;
    const wake = () => {
      end();
      accepted();
    };
    const timer = setTimeout(() => {
      end();
      over();
    }, leftMs);
    const end = () => {
      clearTimeout(timer);
      this.#waiting.delete(wake);
    };
    this.#waiting.add(wake);
    this.#askSoon();
    return end;
  }

  /** In a moment if an answer is wanted, else at the pace of a watch. */
  #askSoon(): void {
    if (this.#urgent || this.#closed) return;
    if (this.#next) clearTimeout(this.#next);
    this.#urgent = this.#waiting.size > 0 || !this.#accepts;
    if (!this.#urgent && this.#options.changed === null) return;
    const delayMs = this.#urgent ? WIRE.targetRetryMs : WIRE.targetWatchMs;
    this.#next = setTimeout(() => this.#ask(), delayMs).unref();
  }

  #ask(): void {
    this.#next = null;
    this.#urgent = true;
    const socket = connect(placeOfTarget(this.#options.target));
    const answer = (accepts: boolean) => {
      socket.removeAllListeners('connect').removeAllListeners('timeout').destroy();
      this.#urgent = false;
      if (this.#closed) return;
      this.#learn(accepts);
      if (accepts) for (const wake of [...this.#waiting]) wake();
      this.#askSoon();
    };
    socket.setTimeout(WIRE.targetWatchMs, () => answer(false));
    socket.once('connect', () => answer(true));
    socket.once('error', () => answer(false));
  }

  #learn(accepts: boolean): void {
    // Without a watch nobody would learn that it accepts again.
    if (this.#closed || this.#accepts === accepts || this.#options.changed === null) return;
    this.#accepts = accepts;
    this.#options.changed(accepts);
  }
}
