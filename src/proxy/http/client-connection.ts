import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { resetSocket } from '../net/peer-socket.ts';
import { plainAddress } from '../net/proxy-protocol.ts';
import type { GatewayTimeouts } from './options.ts';

/** What a connection needs to know of a request that is under way on it. */
export interface Underway {
  /** Whether all of its request was read; what comes next on the connection is not part of it. */
  readonly requestWhole: boolean;
  /** The client is gone and does not wait for the answer. */
  clientGone(): void;
  /** The gateway ends it: the time for draining is over. */
  cut(): void;
}

/** How long a connection that was refused is read on, so that the client gets to read why. */
const LINGER_MS = 1_000;

/** Until when a connection is kept on which nothing is said, or only blank lines, which begin no head for Node. */
interface Silence {
  readonly endsMs: number;
  readonly headEndsMs: number;
}

/**
 * One client connection: what is under way on it, and how it ends. While draining it is ended once it has been
 * quiet for a while, because a client may have its next request on the way when a busy one is closed.
 */
export class ClientConnection implements Timed {
  readonly socket: Socket;
  readonly peer: string | null;
  readonly pair: number;
  /** Its number in the capture: that of the first exchange, since each is fed as a connection of its own. */
  number: number | null = null;
  /** What answers its latest request, while that is under way. */
  answer: ServerResponse | null = null;
  readonly #limits: TimeLimits;
  /** One in nearly all cases; more where requests are pipelined. */
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
    // Node takes its own listener away from a socket that asks for a tunnel. What there is to say, the close says.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      limits.remove(this);
      for (const one of [...this.#underway]) one.clientGone();
    });
  }

  /** Whether a message that cannot be read was found on it. */
  get refused(): boolean {
    return this.#lingerUntilMs !== null || this.#refusalDue !== null;
  }

  /** Whether nothing is under way on it, and something may begin. */
  get quiet(): boolean {
    return this.#underway.length === 0 && !this.refused;
  }

  /**
   * Node counts a head's time from the connect, and that is over. Silence is no slow head: the connection is kept as
   * idle ones are, and ended without a word. The time for a head begins anew with its first byte.
   * @returns false where something was said
   */
  keepSilent({ headersMs, keepAliveMs }: GatewayTimeouts): boolean {
    if (!this.#isSilent) return false;
    this.#limits.add(this);
    const endsMs = this.#limits.nowMs + keepAliveMs - headersMs;
    this.#silence = { endsMs, headEndsMs: endsMs + 2 * headersMs };
    return true;
  }

  /** @returns which one of this connection it is, to be asked for with `isLatest` */
  begin(one: Underway): number {
    this.#underway.push(one);
    this.#begun += 1;
    return this.#begun;
  }

  /** Whether no request came after that one; only its answer may say that the connection ends. */
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
   * Answers what is no request, and ends the connection. Requests before it are answered first. One that has begun
   * and will not become whole is over; only where its answer has begun too, there is nothing more to be said.
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

  /** From here on it is ended when nothing was asked of it for that long. */
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
      // What arrived meanwhile is read before this runs: then it is not quiet any more.
      setImmediate(() => {
        if (this.#isQuietSince(nowMs)) this.socket.end();
      });
    } else if (this.#silence !== null) this.#checkSilence(nowMs, this.#silence);
  }

  /** Whether nothing was ever said on it. */
  get #isSilent(): boolean {
    return this.socket.bytesRead === 0;
  }

  #checkSilence(nowMs: number, { endsMs, headEndsMs }: Silence): void {
    if (this.#begun > 0 || this.refused) {
      this.#silence = null;
      if (this.#quietLimitMs === null && this.#lingerUntilMs === null) this.#limits.remove(this);
    } else if (nowMs > endsMs) {
      // What arrived meanwhile is read before this runs.
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
  /** Looks whether it waited too long; called some ten times a second. */
  checkTime(nowMs: number): void;
}

/** How late a time-out may be, ms. */
const STEP_MS = 100;

/**
 * One timer for everything under way, instead of one or two for each request: it walks what is open, and keeps
 * the time at that precision, so that stamping a chunk costs nothing.
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
      // What came meanwhile is read before this runs: a gateway that stood still for longer than a limit has not
      // heard yet who kept it.
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

  /** Lets each look, at the time that was read last. */
  walk(): void {
    for (const timed of [...this.#open]) if (this.#open.has(timed)) timed.checkTime(this.nowMs);
    if (this.#open.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }
}

/** Where an exchange stands, in milliseconds since it began and since anything last moved. */
interface Standing {
  readonly ageMs: number;
  readonly quietMs: number;
  /** Its connection to the target is not made yet. */
  readonly connecting: boolean;
  /** It is asked in full and not answered yet. */
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
