import type { Clock } from '../core/clock.ts';
import type { RefusalReason } from './http/headers.ts';
import type { Endpoint } from './net/endpoint.ts';

/** Where one pair of addresses is listened on and forwarded to. */
export interface Pair {
  readonly listen: Endpoint;
  readonly target: Endpoint;
}

/** Certificate and key of listeners, as paths: both may be replaced while they listen. */
export interface ListenerTls {
  readonly certPath: string;
  readonly keyPath: string;
}

/** How targets that speak TLS are verified. */
export interface UpstreamTls {
  /** Certificates that are trusted instead of the host's; null for the host's. */
  readonly caPath: string | null;
  /** The name that is asked for and verified; null for the host of the target. */
  readonly serverName: string | null;
  readonly verify: boolean;
}

/** What either plane is asked to do: plain data, because it travels between processes. */
export interface SharedOptions {
  /** Each address that is listened on, with the one it is forwarded to. */
  readonly pairs: readonly Pair[];
  /** Client connections at most, over all pairs; more are turned away and counted. */
  readonly maxConnections: number;
  /** Null where no address speaks TLS. */
  readonly tls: ListenerTls | null;
  /** Null for the defaults of the host. */
  readonly upstreamTls: UpstreamTls | null;
}

/**
 * Why a client connection came to nothing although it was accepted: the upstream could not be reached (refused,
 * unknown), took too long to be, could not be spoken to by TLS (not trusted, say), or gave up before it had answered
 * anything; the client's TLS handshake or its PROXY protocol header was none.
 */
export const CONNECTION_FAILURES = [
  'upstream_refused',
  'upstream_timeout',
  'upstream_tls',
  'upstream_gone',
  'tls_handshake',
  'proxy_header',
] as const;
export type ConnectionFailure = (typeof CONNECTION_FAILURES)[number];

/** The connections of clients, counted. */
export interface ConnectionCounts {
  readonly open: number;
  /** By the limit, for want of a descriptor, or because accepting failed. */
  readonly turnedAway: number;
  readonly failed?: Readonly<Partial<Record<ConnectionFailure, number>>>;
  /** Requests that the plane answered itself, by reason. */
  readonly refused?: Readonly<Partial<Record<RefusalReason, number>>>;
}

/** A notice for the operator of the plane: one line in the log. */
export interface Notice {
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Lets a notice that repeats through once in a while. */
export class NoticeLimit {
  readonly #clock: Clock;
  readonly #everyMs: number;
  #lastNs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, everyMs: number) {
    this.#clock = clock;
    this.#everyMs = everyMs;
  }

  /** Whether it may be given now; then the next has to wait. */
  passes(): boolean {
    const nowNs = this.#clock.nowNs();
    if (nowNs - this.#lastNs < this.#everyMs * 1e6) return false;
    this.#lastNs = nowNs;
    return true;
  }
}

/**
 * What forwards: it holds the sockets, passes traffic on and tells taps of it. Both planes look
 * like this to whoever starts, drains and counts them.
 */
export interface DataPlane {
  /**
   * Starts to listen on every address.
   * @returns the addresses that were bound, in the order they were asked for
   * @throws AppError LISTEN_FAILED; nothing is listened on then
   */
  listen(): Promise<readonly Endpoint[]>;
  readonly connections: ConnectionCounts;
  /**
   * Stops accepting and forwards until the connections end, or the deadline does.
   * @returns how many connections the deadline cut
   */
  drain(deadlineMs: number): Promise<number>;
  /** Ends every open connection at once. */
  cut(): void;
}
