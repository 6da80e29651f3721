import { Server, type Socket } from 'node:net';
import { reasonOf } from '../core/errors.ts';
import type { Notice } from '../core/ports.ts';
import type { RefusalReason } from './http/headers.ts';
import type { Endpoint } from './net/endpoint.ts';
import { type Listening, listenOn, mustBeFree } from './net/listen.ts';

/** A listening address, and the target of its connections. */
export interface Pair {
  readonly listen: Endpoint;
  readonly target: Endpoint;
}

/** Certificate and key of listeners, as paths: both may be replaced while they listen. */
export interface ListenerTls {
  readonly certPath: string;
  readonly keyPath: string;
  /** Authorities of the certificates that clients must show; absent or null to require none. */
  readonly clientCaPath?: string | null;
}

/** How targets that speak TLS are verified. */
export interface UpstreamTls {
  /** Certificates that are trusted instead of the host's; null for the host's. */
  readonly caPath: string | null;
  /** The server name that is requested and verified; null for the host of the target. */
  readonly serverName: string | null;
  readonly verify: boolean;
  /** The certificate that we show to a server that requires one; absent or null for none. */
  readonly client?: { readonly certPath: string; readonly keyPath: string } | null;
}

/** Options of both planes. Plain data, because they are sent between processes. */
export interface SharedOptions {
  /** The listening addresses with their targets. */
  readonly pairs: readonly Pair[];
  /** Most client connections over all pairs. More are turned away and counted. */
  readonly maxConnections: number;
  /** Null if no listener speaks TLS. */
  readonly tls: ListenerTls | null;
  /** Null for the defaults of the host. */
  readonly upstreamTls: UpstreamTls | null;
}

/**
 * Why an accepted client connection failed, in this order:
 * - the upstream could not be reached (refused, unknown name)
 * - it could not be reached in time
 * - TLS with it failed (not trusted, say)
 * - it closed before it had answered anything
 * - the client's TLS handshake failed
 * - the client has no certificate of the required authority
 * - the client's PROXY protocol header was invalid
 */
export const CONNECTION_FAILURES = [
  'upstream_refused',
  'upstream_timeout',
  'upstream_tls',
  'upstream_gone',
  'tls_handshake',
  'client_certificate',
  'proxy_header',
] as const;
export type ConnectionFailure = (typeof CONNECTION_FAILURES)[number];

export interface ConnectionCounts {
  readonly open: number;
  /** Because of the limit, for lack of a file descriptor, or because accepting failed. */
  readonly turnedAway: number;
  readonly failed?: Readonly<Partial<Record<ConnectionFailure, number>>>;
  /** Requests that the plane answered itself, by reason. */
  readonly refused?: Readonly<Partial<Record<RefusalReason, number>>>;
}

const LISTEN_AGAIN_MS = 1_000;

/**
 * The forwarding part: it holds the sockets, forwards traffic and reports it to taps. This base class listens, counts
 * clients and drains for both planes.
 */
export abstract class DataPlane<Options extends SharedOptions = SharedOptions> {
  draining = false;
  protected readonly options: Options;
  /** Receives notices for the log, such as that a certificate was replaced. */
  protected readonly notify: (notice: Notice) => void;
  /** Files that are watched until the plane drains. */
  protected readonly watched: { close(): void }[] = [];
  readonly #servers: Server[] = [];
  /** By pair; null while its address is not listened on. */
  readonly #listening: (Listening | null)[] = [];
  #bound: readonly Endpoint[] = [];
  #prepared = false;
  /** Starts and stops of listening run one after the other. */
  #switching: Promise<void> = Promise.resolve();
  readonly #failed: Partial<Record<ConnectionFailure, number>> = {};
  #turnedAway = 0;
  #cut = 0;
  #onIdle: (() => void) | null = null;

  constructor(options: Options, notify: (notice: Notice) => void) {
    this.options = options;
    this.notify = notify;
  }

  get connections(): ConnectionCounts {
    return { open: this.openCount, turnedAway: this.#turnedAway, failed: { ...this.#failed } };
  }

  /**
   * Makes sure that it could listen now, and listens on nothing.
   * @throws AppError LISTEN_FAILED, or OPTION_INVALID for an unusable certificate
   */
  async check(): Promise<void> {
    this.#prepareOnce();
    for (const { listen } of this.options.pairs) await mustBeFree(listen);
  }

  #prepareOnce(): void {
    if (!this.#prepared) this.prepare();
    this.#prepared = true;
  }

  /**
   * Starts to listen on every address.
   * @returns the addresses that were bound, in the order they were asked for
   * @throws AppError LISTEN_FAILED, or OPTION_INVALID for an unusable certificate; nothing is listened on then
   */
  async listen(): Promise<readonly Endpoint[]> {
    this.#prepareOnce();
    try {
      for (const [index, pair] of this.options.pairs.entries()) {
        const server = this.serverOf(pair, index);
        // A connection that cannot be accepted (no file descriptor left, say) must not end the others.
        server.on('error', () => this.turnAway());
        this.#servers.push(server);
        this.#listening.push(await listenOn(server, pair.listen));
      }
    } catch (error) {
      this.#close();
      throw error;
    }
    this.#bound = this.#listening.map((listening) => (listening as Listening).endpoint);
    return this.#bound;
  }

  /** Whether any address is listened on. */
  get accepts(): boolean {
    return this.#listening.some((listening) => listening !== null);
  }

  /** Stops listening on the address of a pair, or listens on it again. Open connections stay. */
  protected setListening(index: number, wanted: boolean): void {
    this.#switching = this.#switching.then(async () => {
      const server = this.#servers[index];
      const listening = this.#listening[index];
      if (this.draining || server === undefined || wanted === (listening !== null)) return;
      if (!wanted) {
        Server.prototype.close.call(server);
        listening?.remove();
        this.#listening[index] = null;
        return;
      }
      await this.#listenAgain(index, server);
    });
  }

  async #listenAgain(index: number, server: Server): Promise<void> {
    try {
      const again = await listenOn(server, this.#bound[index] as Endpoint);
      this.#listening[index] = again;
      if (this.draining) this.#close();
    } catch (error) {
      const message = 'not listening: the address is not available; trying again each second';
      this.notify({ level: 'error', message, fields: { reason: reasonOf(error) } });
      setTimeout(() => this.setListening(index, true), LISTEN_AGAIN_MS).unref();
    }
  }

  /**
   * Stops accepting, and forwards until the connections end or the deadline is reached.
   * @returns how many connections the deadline cut
   */
  async drain(deadlineMs: number): Promise<number> {
    this.draining = true;
    this.#close();
    if (this.openCount > 0) {
      const idle = new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
      const timer = setTimeout(() => this.cut(), deadlineMs);
      await idle;
      clearTimeout(timer);
    }
    return this.#cut;
  }

  cut(): void {
    this.#cut += this.openCount;
    this.cutOpen();
  }

  protected abstract get openCount(): number;
  /** Reads what the plane listens with. @throws AppError OPTION_INVALID */
  protected abstract prepare(): void;
  protected abstract serverOf(pair: Pair, index: number): Server;
  protected abstract cutOpen(): void;

  /** Whether one more client may connect. If not, its socket is closed and counted. */
  protected mayEnter(socket: Socket): boolean {
    if (this.openCount < this.options.maxConnections) return true;
    this.turnAway();
    socket.destroy();
    return false;
  }

  protected turnAway(): void {
    this.#turnedAway += 1;
  }

  protected noteFailure(failure: ConnectionFailure): void {
    this.#failed[failure] = (this.#failed[failure] ?? 0) + 1;
  }

  /** To be called when a connection has ended. */
  protected noteIdle(): void {
    if (this.openCount === 0) this.#onIdle?.();
  }

  /** Stops accepting. Open connections stay open. */
  #close(): void {
    // An HTTP server's own close would end idle connections at once, even those with a request on its way.
    for (const server of this.#servers) Server.prototype.close.call(server);
    for (const listening of this.#listening.splice(0)) listening?.remove();
    for (const files of this.watched) files.close();
  }
}
