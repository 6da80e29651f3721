import { isIP, type Socket } from 'node:net';
import { buildConnector, Client } from 'undici';
import type { Clock } from '../core/clock.ts';
import { LIMITS } from '../core/limits.ts';
import type { AddressBook } from './address-book.ts';
import { type Connection, ConnectionCounts } from './connection.ts';
import { Durations, type PackedDurations } from './durations.ts';
import type { ConnectionUse } from './engine-health.ts';
import { SpareSockets } from './spare-sockets.ts';

/** Model servers close idle connections after 2 to 5 s; giving them up earlier avoids racing that close. */
const IDLE_MS = 1_500;
/** A recorded connection stays open between its requests, unless the server ends it or it is over for good. */
const LANE_IDLE_MS = 60_000;
/** Taken off a server's own `Keep-Alive: timeout=` hint. */
const KEEP_ALIVE_MARGIN_MS = 500;

export interface PoolOptions {
  readonly origin: string;
  /** Path of a unix socket that is the target in place of the origin's host; null without one. */
  readonly socketPath: string | null;
  readonly connectTimeoutMs: number;
  readonly firstByteTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly maxConnectionAgeMs: number | null;
  readonly caPem: string | null;
  readonly acceptAnyCertificate: boolean;
}

/**
 * As many connections as open loop needs. The one that fell idle last is used first, so that what the load no
 * longer needs grows old and is closed. undici's own Pool searches all its clients for every request and
 * prefers the oldest, connected or not; with thousands in flight that search is the send.
 */
export class ConnectionPool {
  readonly #options: PoolOptions;
  readonly #origin: URL;
  readonly #book: AddressBook;
  readonly #clock: Clock;
  readonly #connect: buildConnector.connector;
  readonly #connectTimes = new Durations();
  readonly #counts = new ConnectionCounts();
  readonly #idle: Connection[] = [];
  /** Of recorded connections, by their lane; each carries one request at a time. */
  readonly #lanes = new Map<number, Connection>();
  readonly #live = new Set<Connection>();
  readonly #spares: SpareSockets;

  constructor(options: PoolOptions, book: AddressBook, clock: Clock) {
    this.#options = options;
    this.#origin = new URL(options.origin);
    this.#book = book;
    this.#clock = clock;
    this.#spares = new SpareSockets(IDLE_MS);
    this.#connect = buildConnector({
      allowH2: false,
      timeout: options.connectTimeoutMs,
      rejectUnauthorized: !options.acceptAnyCertificate,
      ...(options.caPem === null ? {} : { ca: options.caPem }),
      ...(options.socketPath === null ? {} : { socketPath: options.socketPath }),
    });
  }

  get hostname(): string {
    return this.#origin.hostname;
  }

  /**
   * Opens at least `count` connections and at least one to each address; resolves when all have succeeded or
   * failed. Addresses that do not answer are left out from then on.
   */
  async warm(count: number): Promise<void> {
    await this.#book.refresh();
    const attempts = Math.max(count, this.#book.addresses.length);
    await Promise.all(
      Array.from({ length: attempts }, async () => {
        const address = this.#book.next();
        await new Promise<void>((resolve) => {
          this.#open(address, (error, socket) => {
            if (socket) this.#spares.add({ socket, address });
            else if (error) this.#counts.failed++;
            resolve();
          });
        });
      }),
    );
  }

  /**
   * A connection that is idle now, or a new one that will connect when a request is dispatched on it. With a lane
   * that lane's own, which nothing else may be on.
   */
  acquire(lane: number | null = null): Connection {
    if (lane !== null) return this.#acquireLane(lane);
    for (let last = this.#idle.pop(); last; last = this.#idle.pop()) {
      // An answer that came before the request was wholly written leaves its rest in front of the next one.
      if (this.#usable(last) && last.socket?.writableNeedDrain === false) return last;
      this.retire(last);
    }
    return this.#create(null);
  }

  #acquireLane(lane: number): Connection {
    const own = this.#lanes.get(lane);
    if (own && this.#usable(own) && own.socket?.writableNeedDrain === false) return own;
    if (own) this.retire(own);
    const connection = this.#create(lane);
    this.#lanes.set(lane, connection);
    return connection;
  }

  /** The request on it has its complete answer. */
  release(connection: Connection): void {
    connection.served++;
    if (!this.#usable(connection)) this.retire(connection);
    else if (connection.lane === null) this.#idle.push(connection);
  }

  /** Ends a connection and whatever is on it. */
  retire(connection: Connection, reason: Error | null = null): void {
    if (!this.#live.delete(connection)) return;
    const { lane } = connection;
    if (lane !== null && this.#lanes.get(lane) === connection) this.#lanes.delete(lane);
    connection.client.destroy(reason, () => undefined);
  }

  noteRequest(connection: Connection): void {
    this.#counts.noteRequest(connection.address, connection.served + 1);
  }

  async close(): Promise<void> {
    this.#spares.close();
    const clients = [...this.#live].map(({ client }) => client.destroy());
    this.#live.clear();
    await Promise.all(clients);
  }

  use(): ConnectionUse {
    const { opened, failed, openMax, used, requests, requestsMax } = this.#counts;
    return {
      opened,
      failed,
      openMax,
      used,
      connect: this.#connectTimes.summary(),
      requestsPerConnection: { mean: used === 0 ? 0 : requests / used, max: requestsMax },
      byAddress: [...this.#counts.byAddress].map(([address, use]) => ({ address, ...use })),
    };
  }

  /** Set-up times of the connections that were opened. */
  connectTimes(): PackedDurations {
    return this.#connectTimes.packed();
  }

  #usable({ client, socket, openedNs }: Connection): boolean {
    const { maxConnectionAgeMs } = this.#options;
    if (client.destroyed || socket === null || socket.destroyed) return false;
    return maxConnectionAgeMs === null || this.#clock.nowNs() - openedNs < maxConnectionAgeMs * 1e6;
  }

  #create(lane: number | null): Connection {
    const idleMs = lane === null ? IDLE_MS : LANE_IDLE_MS;
    // undici asks for a socket on the first dispatch, and again if an idle one closed under a waiting request.
    const client = new Client(this.#origin, {
      connect: (_options: buildConnector.Options, callback: buildConnector.Callback) =>
        this.#supply(connection, callback),
      pipelining: 1,
      maxHeaderSize: LIMITS.headBytes,
      headersTimeout: this.#options.firstByteTimeoutMs,
      bodyTimeout: this.#options.idleTimeoutMs,
      keepAliveTimeout: idleMs,
      keepAliveMaxTimeout: idleMs,
      keepAliveTimeoutThreshold: KEEP_ALIVE_MARGIN_MS,
    });
    const connection: Connection = { client, lane, address: '', socket: null, openedNs: 0, served: 0 };
    this.#live.add(connection);
    return connection;
  }

  #supply(connection: Connection, callback: buildConnector.Callback): void {
    const adopt = (socket: Socket, address: string): void => {
      connection.socket = socket;
      connection.address = address;
      connection.openedNs = this.#clock.nowNs();
      connection.served = 0;
      socket.once('close', () => {
        if (connection.socket === socket) connection.socket = null;
        // A recorded connection that is over is not kept for a next request, which may never come.
        if (connection.lane !== null && connection.client.stats.size === 0) this.retire(connection);
      });
      callback(null, socket);
    };
    const spare = this.#spares.take();
    if (spare) {
      // undici expects its answer after the call that asked for it.
      queueMicrotask(() => adopt(spare.socket, spare.address));
      return;
    }
    const address = this.#book.next();
    connection.address = address;
    this.#open(address, (error, socket) => {
      if (socket) {
        adopt(socket, address);
      } else {
        this.#counts.failed++;
        callback(error ?? new Error('no socket'), null);
      }
    });
  }

  #open(address: string, done: (error: Error | null, socket: Socket | null) => void): void {
    const { protocol, port, hostname } = this.#origin;
    const startNs = this.#clock.nowNs();
    // What TLS asks for and checks is the name, whichever of its addresses is meant; an address is no name.
    const named = protocol === 'https:' && isIP(hostname.replace(/^\[|\]$/g, '')) === 0;
    this.#connect(
      { hostname: address, protocol, port, ...(named ? { servername: hostname } : {}) },
      (error, socket) => {
        if (socket) {
          this.#connectTimes.record(this.#clock.nowNs() - startNs);
          this.#book.noteSuccess(address);
          this.#counts.noteOpened(address);
          socket.once('close', () => this.#counts.noteClosed());
        } else {
          this.#book.noteFailure(address);
        }
        done(error, socket);
      },
    );
  }
}
