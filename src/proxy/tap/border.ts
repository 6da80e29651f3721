import type { Guard } from '../../core/ports.ts';
import type { Counters, CountersReading, Fate } from './counters.ts';
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
 * Everything that passes is also counted here, by additions that cannot fail. What an exception kept from being counted
 * behind the border is lost.
 */
export class Border {
  /** Everything that passed, in both units. Only the taps write it. */
  readonly passed = { bytes: 0, turns: 0 };
  readonly #deps: BorderDeps;
  /** Whether something was thrown, so that counts behind the border may lack something. */
  #torn = false;

  constructor(deps: BorderDeps) {
    this.#deps = deps;
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
      this.lose(null, error);
    }
    return new BorderTap(this, tap);
  }

  /**
   * Ends the recording of a connection that has thrown; null if it never began.
   * @param closes whether the connection is over
   */
  lose(tap: ConnectionTap | null, error: unknown, closes = false): void {
    this.#torn = true;
    this.#deps.guard.run(() => {
      if (tap?.fail(closes) ?? true) this.#deps.onTapFailure(error);
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
    const { passed } = this.#border;
    passed.bytes += bytes.length;
    if (this.#turnDue) passed.turns += 1;
    this.#turnDue = false;
    try {
      this.#tap?.client(bytes);
    } catch (error) {
      this.#border.lose(this.#tap, error);
    }
  }

  /** Client bytes of the current turn, even if its answer has already begun. */
  restOfTurn(bytes: Buffer): void {
    this.#border.passed.bytes += bytes.length;
    try {
      this.#tap?.restOfTurn(bytes);
    } catch (error) {
      this.#border.lose(this.#tap, error);
    }
  }

  server(bytes: Buffer): void {
    this.#border.passed.bytes += bytes.length;
    this.#turnDue = true;
    try {
      this.#tap?.server(bytes);
    } catch (error) {
      this.#border.lose(this.#tap, error);
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
      this.#border.lose(this.#tap, error, true);
    }
  }

  /** Runs work of the recording for this connection, such as the encoding of what it reports. */
  attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#border.lose(this.#tap, error);
    }
  }
}
