import type { LossReason, Progress, ProtocolUse } from './accounting.ts';
import type { Clock } from './clock.ts';
import type { Exchange, ExchangePayload, ExchangeRow } from './exchange.ts';

interface LostExchange {
  readonly exchange: Exchange;
  readonly reason: LossReason;
}

/** The result of a batch. A failed commit is a counted loss, never an exception. */
export interface CommitResult {
  readonly committed: number;
  /** The exchanges that are not stored. */
  readonly lost: readonly LostExchange[];
  /** Why exchanges were lost; null if none were. */
  readonly reason: LossReason | null;
}

/**
 * Where a data plane writes exchanges. One writer, synchronous, group commit inside. Its owner decides when to
 * commit, because acknowledgements follow the commit.
 */
export interface CommittingSink {
  /**
   * Takes an exchange. It is durable only after the next commit. Never throws for a full disk.
   * @returns false when it cannot be stored at all (`encode_failed`)
   */
  append(exchange: Exchange): boolean;
  addProtocolUse(use: ProtocolUse): void;
  /** Whether a commit is due: a block is full, or the oldest append has waited long enough. */
  due(nowNs: number): boolean;
  /** @param progress the owner's total including this commit; stored with the exchanges */
  commit(progress?: Progress): CommitResult;
  /** Commits and leaves the segment for sealing. */
  close(): void;
}

/** A time range, epoch microseconds: `fromUs` ≤ arrival < `toUs`. */
export interface TimeRange {
  readonly fromUs: number;
  readonly toUs: number;
}

export interface CaptureSource {
  /** Exchanges in the order (arrival, recorder, id) at constant memory. */
  rows(range?: TimeRange): IterableIterator<ExchangeRow>;
  /**
   * Head, bodies and chunk times of a row; null if the capture has none for it. The response may be read on
   * access, so access it before closing the source.
   */
  payload(row: ExchangeRow): ExchangePayload | null;
  close(): void;
}

/** One line per change of state, never one per request. */
export interface Logger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A log line that another process or module writes for the sender. */
export interface Notice {
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Limits how often a repeated notice is logged. */
export class NoticeLimit {
  readonly #clock: Clock;
  readonly #everyMs: number;
  #lastNs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, everyMs: number) {
    this.#clock = clock;
    this.#everyMs = everyMs;
  }

  /** Whether a notice may be logged now. If so, the next one must wait. */
  passes(): boolean {
    const nowNs = this.#clock.nowNs();
    if (nowNs - this.#lastNs < this.#everyMs * 1e6) return false;
    this.#lastNs = nowNs;
    return true;
  }
}

/** Anything that events can be listened to on. */
interface Emitter {
  on(event: string, listener: (...args: never[]) => void): unknown;
}

/**
 * The border around work whose exceptions must not reach what surrounds it. In a proxy that work is the recording, and
 * what surrounds it is traffic. All timers, listeners and background work of a recording are started here, so that none
 * of them can throw past it. A test of the source allows no others.
 */
export class Guard {
  readonly #failed: (error: unknown) => void;
  #failing = false;

  /** @param failed called with what was thrown; must end the guarded work or repair it */
  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
  }

  run(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.fail(error);
    }
  }

  /** A function that never throws, for callbacks. */
  wrap<Args extends readonly unknown[]>(work: (...args: Args) => void): (...args: Args) => void {
    return (...args) => {
      try {
        work(...args);
      } catch (error) {
        this.fail(error);
      }
    };
  }

  after(ms: number, work: () => void): NodeJS.Timeout {
    return setTimeout(this.wrap(work), ms);
  }

  every(ms: number, work: () => void): NodeJS.Timeout {
    return setInterval(this.wrap(work), ms);
  }

  /** Runs work after everything readable was read. */
  soon(work: () => void): NodeJS.Immediate {
    return setImmediate(this.wrap(work));
  }

  /** Runs work as soon as the current call is over. */
  next(work: () => void): void {
    queueMicrotask(this.wrap(work));
  }

  listen<Args extends readonly unknown[]>(to: Emitter, event: string, work: (...args: Args) => void): void {
    to.on(event, this.wrap(work) as unknown as (...args: never[]) => void);
  }

  /** Starts work that nobody waits for. */
  start(work: () => Promise<unknown>): void {
    void this.finish(work);
  }

  /** Waits for work. Never rejects. */
  async finish(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.fail(error);
    }
  }

  /** What is thrown while a failure is handled belongs to that failure. */
  fail(error: unknown): void {
    if (this.#failing) return;
    this.#failing = true;
    try {
      this.#failed(error);
    } finally {
      this.#failing = false;
    }
  }
}
