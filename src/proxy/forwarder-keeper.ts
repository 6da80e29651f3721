import type { Clock } from '../core/clock.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import { LIMITS, SUPERVISION } from '../core/limits.ts';
import type { Logger } from '../core/ports.ts';
import type { Endpoint } from './endpoint.ts';
import { GATEWAY_EXEC_ARGV } from './http/options.ts';
import { ALLOCATING_YOUNG, COLLECTING_ALONE, endText, ManagedProcess } from './managed-process.ts';
import type { ForwarderOptions, ForwarderReading, FromForwarder, ToForwarder } from './messages.ts';

/** How a forwarder's garbage is collected. */
export const FORWARDER_COLLECTION: readonly string[] = [
  COLLECTING_ALONE,
  ALLOCATING_YOUNG,
  ...['min', 'max'].map((end) => `--${end}-semi-space-size=${LIMITS.forwarderSemiSpaceMib}`),
];

export type ForwarderChild = ManagedProcess<FromForwarder, ToForwarder>;
type Drained = Extract<FromForwarder, { type: 'drained' }>;

/** What a forwarder's keeper tells the one it keeps it for. */
interface ForwarderEvents {
  /** A process begins, its pipe not yet given away. */
  spawned(forwarder: ForwarderChild): void;
  reading(reading: ForwarderReading): void;
  ended(): void;
}

interface ForwarderKeeperDeps {
  readonly entry: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly events: ForwarderEvents;
}

/** Keeps one forwarder alive: one that served is started again at once, on the very same addresses. */
export class ForwarderKeeper {
  readonly #deps: ForwarderKeeperDeps;
  #options: ForwarderOptions | null = null;
  #process: ForwarderChild | null = null;
  #listening = false;
  #wanted = true;
  #starts = 0;
  #startedNs = 0;
  #delayMs = 0;
  #restart: NodeJS.Timeout | null = null;
  #watch: NodeJS.Timeout | null = null;
  #watchedNs = 0;
  #onDrained: ((end: Drained) => void) | null = null;

  constructor(deps: ForwarderKeeperDeps) {
    this.#deps = deps;
  }

  get process(): ForwarderChild | null {
    return this.#process;
  }

  /** Connections are accepted. */
  get listening(): boolean {
    return this.#listening;
  }

  get restarts(): number {
    return Math.max(0, this.#starts - 1);
  }

  /**
   * Starts it. Where a port was left to choose, the one that was bound is kept for the next life.
   * @returns the addresses that were bound
   * @throws AppError LISTEN_FAILED
   */
  async start(options: ForwarderOptions): Promise<readonly Endpoint[]> {
    this.#options = options;
    this.#watchedNs = this.#deps.clock.nowNs();
    this.#watch = setInterval(() => this.#look(), SUPERVISION.heartbeatMs).unref();
    const bound = await this.#spawn(options);
    const pairs = options.pairs.map((pair, index) => ({ ...pair, listen: bound[index] ?? pair.listen }));
    this.#options = { ...options, pairs };
    return bound;
  }

  /** Drains it and waits for its end; kills one that does not end. Null when it died before it was drained. */
  async stop(deadlineMs: number): Promise<Drained | null> {
    this.#unwant();
    const forwarder = this.#process;
    if (!forwarder) return null;
    const drained = new Promise<Drained>((resolve) => {
      this.#onDrained = resolve;
    });
    forwarder.send({ type: 'drain', deadlineMs });
    const patienceMs = deadlineMs + SUPERVISION.flushMs + SUPERVISION.heartbeatLimitMs;
    const timer = setTimeout(() => {
      this.#deps.logger.error({ patienceMs }, 'forwarder does not end; killing it');
      forwarder.kill();
    }, patienceMs);
    const end = await Promise.race([drained, forwarder.ended.then(() => null)]);
    await forwarder.ended;
    clearTimeout(timer);
    return end;
  }

  /** Cuts short what a drain still waits for. */
  hurry(): void {
    this.#process?.send({ type: 'hurry' });
  }

  /** Ends it the hard way; a start has failed. */
  async abort(): Promise<void> {
    this.#unwant();
    this.#process?.kill();
    await this.#process?.ended;
  }

  #unwant(): void {
    this.#wanted = false;
    if (this.#restart) clearTimeout(this.#restart);
    if (this.#watch) clearInterval(this.#watch);
  }

  /** A forwarder that beats no more has a loop that stands still: only killing it helps those who wait. */
  #look(): void {
    const nowNs = this.#deps.clock.nowNs();
    const sinceNs = nowNs - this.#watchedNs;
    this.#watchedNs = nowNs;
    const forwarder = this.#process;
    if (!forwarder || !this.#listening) return;
    // We did not run ourselves (a paused container, say): what it said meanwhile lies unread.
    if (sinceNs > 2 * SUPERVISION.heartbeatMs * 1e6) forwarder.lastWordNs = nowNs;
    const silentMs = Math.round(forwarder.silenceNs() / 1e6);
    if (silentMs < SUPERVISION.stallLimitMs) return;
    this.#deps.logger.error({ silentMs }, 'forwarder hangs; killing it');
    forwarder.lastWordNs = nowNs;
    forwarder.kill();
  }

  #spawn(options: ForwarderOptions): Promise<readonly Endpoint[]> {
    return new Promise((resolve, reject) => {
      const { entry, clock, logger, events } = this.#deps;
      const execArgv = [...FORWARDER_COLLECTION, ...(options.mode === 'gateway' ? GATEWAY_EXEC_ARGV : [])];
      const forwarder: ForwarderChild = new ManagedProcess(
        { entry, execArgv },
        clock,
        (message: FromForwarder) => {
          if (message.type === 'listen-failed') reject(listenFailed(message));
          else if (message.type === 'listening') {
            this.#listening = true;
            resolve(message.addresses);
          } else if (message.type === 'notice') {
            const { level, fields, message: text } = message.notice;
            logger[level](fields, text);
          } else events.reading(message.reading);
          if (message.type === 'drained') this.#onDrained?.(message);
        },
      );
      this.#process = forwarder;
      this.#starts += 1;
      this.#startedNs = clock.nowNs();
      logger.info({ pid: forwarder.pid }, 'forwarder started');
      events.spawned(forwarder);
      forwarder.send({ type: 'listen', options });
      void forwarder.ended.then((end) => {
        reject(new AppError('INTERNAL', `the forwarder ended before it listened (${endText(end)})`));
        this.#onEnded(endText(end));
      });
    });
  }

  #onEnded(how: string): void {
    const served = this.#listening;
    this.#process = null;
    this.#listening = false;
    this.#deps.events.ended();
    // Of the first one whoever waits for its start is told.
    if (!this.#wanted || (this.#starts === 1 && !served)) return;
    this.#deps.logger.error({ how }, 'forwarder ended; its connections were cut; starting it again');
    const livedMs = (this.#deps.clock.nowNs() - this.#startedNs) / 1e6;
    if (served && livedMs >= SUPERVISION.servedMs) this.#delayMs = 0;
    this.#restart = setTimeout(() => this.#startAgain(), this.#delayMs);
    // At once if it had served: until it is back there is no traffic. One that dies of its start must not spin.
    this.#delayMs = Math.min(
      Math.max(SUPERVISION.restartDelayMs, this.#delayMs * 2),
      SUPERVISION.restartDelayWorkingMaxMs,
    );
  }

  #startAgain(): void {
    this.#restart = null;
    if (!this.#options) return;
    this.#spawn(this.#options).catch((error: unknown) => {
      this.#deps.logger.error({ reason: reasonOf(error) }, 'forwarder does not listen again yet');
    });
  }
}

function listenFailed(message: { message: string; hint: string | null }): AppError {
  return new AppError('LISTEN_FAILED', message.message, message.hint === null ? {} : { hint: message.hint });
}
