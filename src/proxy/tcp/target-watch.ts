import { connect } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { WIRE } from '../../core/limits.ts';
import { type Endpoint, placeOfTarget } from '../net/endpoint.ts';

interface WatchOptions {
  readonly target: Endpoint;
  /** How long a client waits for a target that refuses; 0: not at all. */
  readonly retryMs: number;
  /** Called when the target begins to refuse and when it accepts again. Null: it is tested only while clients wait. */
  readonly changed: ((accepts: boolean) => void) | null;
}

/**
 * Watches whether a target accepts connections. Clients whose connection it refused wait here. It is tested with one
 * connection at a time, for all waiting clients. All of them continue when it accepts.
 */
export class TargetWatch {
  readonly #options: WatchOptions;
  readonly #clock: Clock;
  readonly #waiting = new Set<() => void>();
  #accepts = true;
  /** The next test; null while one is running, or if none is planned. */
  #next: NodeJS.Timeout | null = null;
  /** A result is needed soon: the next test is about to start, or is running. */
  #urgent = false;
  #closed = false;

  constructor(options: WatchOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  /** Starts to watch, if changes are to be reported. */
  start(): void {
    if (this.#options.changed !== null) this.#ask();
  }

  close(): void {
    this.#closed = true;
    if (this.#next) clearTimeout(this.#next);
  }

  /** Until when a client waits that is refused now. */
  waitEndNs(): number {
    return this.#clock.nowNs() + this.#options.retryMs * 1e6;
  }

  refused(): void {
    this.#learn(false);
    this.#askSoon();
  }

  /**
   * Calls back once: when the target accepts, or when the time is over.
   * @returns a function that ends the wait; null if the time is already over
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

  /** Plans the next test: soon if a result is needed, otherwise at the interval of the watch. */
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
    // Without a watch, nothing would notice that it accepts again.
    if (this.#closed || this.#accepts === accepts || this.#options.changed === null) return;
    this.#accepts = accepts;
    this.#options.changed(accepts);
  }
}
