import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { resetSocket } from '../net/peer-socket.ts';
import { plainAddress } from '../net/proxy-protocol.ts';
import type { GatewayTimeouts } from './options.ts';

/** What a connection needs to know about one of its open requests. */
export interface Underway {
  /** Whether the whole request was read. Later bytes of the connection are not part of it. */
  readonly requestWhole: boolean;
  /** The client is gone and does not wait for the answer. */
  clientGone(): void;
  /** The gateway ends it: the time for draining is over. */
  cut(): void;
}

/** How long a refused connection is still read, so that the client can read the answer. */
const LINGER_MS = 1_000;

/** How long a connection is kept without a request. Blank lines do not count, because they begin no head for Node. */
interface Silence {
  readonly endsMs: number;
  readonly headEndsMs: number;
}

/**
 * One client connection: its open requests, and how it ends. While draining, it is closed only after it was quiet for a
 * while. Earlier, the client's next request may be on its way.
 */
export class ClientConnection implements Timed {
  readonly socket: Socket;
  readonly peer: string | null;
  readonly pair: number;
  /** Its number in the capture: the number of its first exchange, because each exchange is recorded as a connection. */
  number: number | null = null;
  /** The response to its latest request, while that is open. */
  answer: ServerResponse | null = null;
  readonly #limits: TimeLimits;
  /** Usually one; more if requests are pipelined. */
  readonly #underway: Underway[] = [];
  #begun = 0;
  #quietSinceMs: number;
  #quietLimitMs: number | null = null;
  #lingerUntilMs: number | null = null;
  #refusalDue: number | null = null;
  #silence: Silence | null = null;

  constructor(socket: Socket, pair: number, limits: TimeLimits) {
    this.socket = socket;
    this.peer = socket.remoteAddress === undefined ? null : plainAddress(socket.remoteAddress);
    this.pair = pair;
    this.#limits = limits;
    this.#quietSinceMs = limits.nowMs;
    // Node removes its own listener from a socket that requests a tunnel. The close event is enough to handle an error.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      limits.remove(this);
      for (const one of [...this.#underway]) one.clientGone();
    });
  }

  /** Whether an unreadable message was found on it. */
  get refused(): boolean {
    return this.#lingerUntilMs !== null || this.#refusalDue !== null;
  }

  /** Whether it has no open request and may begin one. */
  get quiet(): boolean {
    return this.#underway.length === 0 && !this.refused;
  }

  /**
   * Node counts a head's time from the connect, and this time is over. But a silent client is not slow with a head. So
   * its connection is kept like an idle one, and then closed without an answer. The time for a head starts again with
   * its first byte.
   * @returns false if the client has sent something
   */
  keepSilent({ headersMs, keepAliveMs }: GatewayTimeouts): boolean {
    if (!this.#isSilent) return false;
    this.#limits.add(this);
    const endsMs = this.#limits.nowMs + keepAliveMs - headersMs;
    this.#silence = { endsMs, headEndsMs: endsMs + 2 * headersMs };
    return true;
  }

  /** @returns its position on this connection, for `isLatest` */
  begin(one: Underway): number {
    this.#underway.push(one);
    this.#begun += 1;
    return this.#begun;
  }

  /**
   * Whether no request came after that one. Only the answer to the latest request may announce the end of the
   * connection.
   */
  isLatest(nth: number): boolean {
    return nth === this.#begun;
  }

  end(one: Underway): void {
    this.#underway.splice(this.#underway.indexOf(one), 1);
    if (this.#underway.length > 0) return;
    this.answer = null;
    this.#quietSinceMs = this.#limits.nowMs;
    if (this.#refusalDue !== null) this.refuse(this.#refusalDue);
  }

  /**
   * Answers bytes that are no request, and ends the connection. Earlier requests are answered first. A request that
   * will never be complete is given up. If its answer has begun too, the connection is closed without a refusal.
   */
  refuse(status: number): void {
    if (this.#lingerUntilMs !== null) return;
    const broken = this.#underway.find((one) => !one.requestWhole);
    if (broken !== undefined && this.answer?.headersSent) {
      this.socket.destroy();
      return;
    }
    broken?.clientGone();
    if (this.#underway.length > 0) {
      this.#refusalDue = status;
    } else {
      this.#limits.add(this);
      this.#lingerUntilMs = this.#limits.nowMs + LINGER_MS;
      const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
      if (this.socket.writable) this.socket.end(head);
      this.socket.resume();
    }
  }

  /** From now on it is closed after this time without a request. */
  drain(quietMs: number): void {
    this.#limits.add(this);
    this.#quietLimitMs = quietMs;
    this.#quietSinceMs = this.#limits.nowMs;
  }

  cut(): void {
    for (const one of [...this.#underway]) one.cut();
    resetSocket(this.socket);
  }

  checkTime(nowMs: number): void {
    if (this.#lingerUntilMs !== null && nowMs > this.#lingerUntilMs) this.socket.destroy();
    else if (this.#isQuietSince(nowMs)) {
      // Bytes that arrived meanwhile are read before this runs. Then it is not quiet any more.
      setImmediate(() => {
        if (this.#isQuietSince(nowMs)) this.socket.end();
      });
    } else if (this.#silence !== null) this.#checkSilence(nowMs, this.#silence);
  }

  /** Whether the client has never sent a byte. */
  get #isSilent(): boolean {
    return this.socket.bytesRead === 0;
  }

  #checkSilence(nowMs: number, { endsMs, headEndsMs }: Silence): void {
    if (this.#begun > 0 || this.refused) {
      this.#silence = null;
      if (this.#quietLimitMs === null && this.#lingerUntilMs === null) this.#limits.remove(this);
    } else if (nowMs > endsMs) {
      // Bytes that arrived meanwhile are read before this runs.
      setImmediate(() => {
        if (this.#isSilent || (nowMs > headEndsMs && this.#begun === 0)) this.socket.destroySoon();
      });
    }
  }

  #isQuietSince(nowMs: number): boolean {
    if (this.#quietLimitMs === null || this.#underway.length > 0) return false;
    return nowMs - this.#quietSinceMs > this.#quietLimitMs;
  }
}

export interface Timed {
  /** Checks whether it waited too long. Called about ten times a second. */
  checkTime(nowMs: number): void;
}

/** How late a time-out may be, ms. */
const STEP_MS = 100;

/**
 * One timer for everything that is open, instead of one or two per request. It checks each of them. It also keeps the
 * time at that precision, so that a time stamp for a chunk costs nothing.
 */
export class TimeLimits {
  readonly clock: Clock;
  readonly #open = new Set<Timed>();
  #timer: NodeJS.Timeout | null = null;
  /** Monotonic milliseconds, at most one step behind while something is open. */
  nowMs: number;

  constructor(clock: Clock) {
    this.clock = clock;
    this.nowMs = clock.nowNs() / 1e6;
  }

  add(timed: Timed): void {
    this.#open.add(timed);
    if (this.#timer !== null) return;
    this.readTime();
    this.#timer = setInterval(() => {
      this.readTime();
      // Bytes that arrived meanwhile are read before this runs. After a pause of the gateway, only those show which
      // clients kept a limit.
      setImmediate(() => this.walk());
    }, STEP_MS);
    this.#timer.unref();
  }

  remove(timed: Timed): void {
    this.#open.delete(timed);
  }

  readTime(): void {
    this.nowMs = this.clock.nowNs() / 1e6;
  }

  /** Lets each check its limits, at the time that was read last. */
  walk(): void {
    for (const timed of [...this.#open]) if (this.#open.has(timed)) timed.checkTime(this.nowMs);
    if (this.#open.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }
}

/** The state of an exchange, with the milliseconds since it began and since it last made progress. */
interface Standing {
  readonly ageMs: number;
  readonly quietMs: number;
  /** It is not connected to the target yet. */
  readonly connecting: boolean;
  /** Its request is complete, and no answer has begun. */
  readonly waiting: boolean;
  /** Its answer has begun, or its request is held back by the target. */
  readonly flowing: boolean;
}

export function isLate(standing: Standing, timeouts: GatewayTimeouts): boolean {
  const { ageMs, quietMs, connecting, waiting, flowing } = standing;
  return (
    exceeds(ageMs, timeouts.totalMs) ||
    (connecting && exceeds(ageMs, timeouts.connectMs)) ||
    (waiting && exceeds(quietMs, timeouts.firstByteMs)) ||
    (flowing && exceeds(quietMs, timeouts.idleMs))
  );
}

function exceeds(ms: number, limitMs: number): boolean {
  return limitMs > 0 && ms > limitMs;
}
