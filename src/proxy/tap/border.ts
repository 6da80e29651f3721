import type { Guard } from '../../core/ports.ts';
import type { Counters, CountersReading, Fate, Passed } from './counters.ts';
import { type CloseCause, type ConnectionOrigin, UNKNOWN_ORIGIN } from './frames.ts';
import type { ConnectionTap, RecorderClient } from './recorder-client.ts';

const TAP_FAILED: Fate = { kind: 'lost', because: 'tap_failed' };

interface BorderDeps {
  readonly client: RecorderClient;
  readonly counters: Counters;
  readonly guard: Guard;
  /** Called for an exception that ended the recording of one connection. */
  readonly onTapFailure: (error: unknown) => void;
}

/**
 * The border between forwarding and recording. The data planes know nothing else of the recording, and nothing that they
 * call here throws. An exception ends the recording of the connection. If that fails too, the recording of the process
 * has failed, and the guard is told.
 *
 * All bytes that pass are also counted here, by additions that cannot fail. What an exception kept from being counted
 * behind the border is lost.
 */
export class Border {
  /** Only the taps write it. */
  readonly passed: Passed = { bytes: 0, missedTurns: 0 };
  /** What is counted behind the border. */
  readonly seen: Counters['seen'];
  readonly #deps: BorderDeps;
  /** Whether something was thrown, so that counts behind the border may lack something. */
  #torn = false;

  constructor(deps: BorderDeps) {
    this.#deps = deps;
    this.seen = deps.counters.seen;
  }

  /**
   * A client connection begins, or an exchange that is fed as a separate connection.
   * @param resumes whether it may be recorded again after a loss; false for a single exchange
   */
  open(origin: ConnectionOrigin = UNKNOWN_ORIGIN, resumes = true): BorderTap {
    let tap: ConnectionTap | null = null;
    try {
      tap = this.#deps.client.open(origin, resumes);
    } catch (error) {
      this.lose(error, () => true);
    }
    return new BorderTap(this, tap);
  }

  /** @param giveUp ends the recording of a connection that has thrown. @returns whether that is news */
  lose(error: unknown, giveUp: () => boolean): void {
    this.#torn = true;
    this.#deps.guard.run(() => {
      if (giveUp()) this.#deps.onTapFailure(error);
    });
  }

  /** The counts behind the border may lack something from now on. */
  tear(): void {
    this.#torn = true;
  }

  /** The counts. Not to be called while something passes. */
  read(): CountersReading {
    if (this.#torn) this.#deps.counters.settleRest(this.passed, TAP_FAILED);
    return this.#deps.counters.read();
  }
}

/**
 * What a data plane reports of one client connection. Its methods never throw. Bytes may be kept, so they must not be
 * changed afterwards.
 */
export class BorderTap {
  readonly #border: Border;
  readonly #tap: ConnectionTap | null;
  #turnDue = true;

  constructor(border: Border, tap: ConnectionTap | null) {
    this.#border = border;
    this.#tap = tap;
  }

  /** Its number; null if it is not recorded. */
  get connection(): number | null {
    return this.#tap?.connection ?? null;
  }

  client(bytes: Buffer): void {
    const { passed, seen } = this.#border;
    const { turns } = seen;
    const isTurn = this.#turnDue;
    this.#turnDue = false;
    passed.bytes += bytes.length;
    try {
      this.#tap?.client(bytes);
      if (isTurn && this.#tap === null) passed.missedTurns += 1;
    } catch (error) {
      if (isTurn && seen.turns === turns) passed.missedTurns += 1;
      this.#lose(error);
    }
  }

  /** Client bytes of the current turn, even if its answer has already begun. */
  restOfTurn(bytes: Buffer): void {
    this.#border.passed.bytes += bytes.length;
    try {
      this.#tap?.restOfTurn(bytes);
    } catch (error) {
      this.#lose(error);
    }
  }

  server(bytes: Buffer): void {
    this.#border.passed.bytes += bytes.length;
    this.#turnDue = true;
    try {
      this.#tap?.server(bytes);
    } catch (error) {
      this.#lose(error);
    }
  }

  clientEnd(): void {
    this.attempt(() => this.#tap?.clientEnd());
  }

  serverEnd(): void {
    this.attempt(() => this.#tap?.serverEnd());
  }

  close(cause: CloseCause): void {
    try {
      this.#tap?.close(cause);
    } catch (error) {
      this.#lose(error, true);
    }
  }

  /** Runs work of the recording for this connection, such as the encoding of what it reports. */
  attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#lose(error);
    }
  }

  #lose(error: unknown, closes = false): void {
    this.#border.lose(error, () => this.#tap?.fail(this.#turnDue, closes) ?? true);
  }
}
