import { createRequire } from 'node:module';
import { isIP, type Socket } from 'node:net';
import type { buildConnector, Client, Dispatcher } from 'undici';
import type { Clock } from '../../core/clock.ts';
import { LIMITS } from '../../core/limits.ts';
import type { AnswerFields, AnswerHead } from '../answers/read-answer.ts';
import type { SenderConnections } from '../engine/health.ts';
import { LoopTime } from '../engine/loop-time.ts';
import type { ConnectionOptions, PreparedRequest } from '../engine/messages.ts';
import { fencedLookup, NO_ADDRESS_FENCED, trustOf } from '../guard.ts';
import type { AddressBook } from './addresses.ts';
import { brokenErrorOf, connectErrorOf, type SendEnd } from './errors.ts';
import { Use } from './use.ts';

/** Each sender loads these. The index of undici would load fetch, caches and WebSocket with them. */
const load = createRequire(import.meta.url);
const UndiciClient: typeof Client = load('undici/lib/dispatcher/client.js');
const connectorOf: typeof buildConnector = load('undici/lib/core/connect.js');

/** Model servers close idle connections after 2 to 5 s. We close them earlier, so that no request meets this close. */
const IDLE_NS = 1_500_000_000;
/** A recorded connection stays open between its requests, unless the server ends it. */
const LANE_IDLE_MS = 60_000;
/** Subtracted from a server's own `Keep-Alive: timeout=` hint. */
const KEEP_ALIVE_MARGIN_MS = 500;
/** If a connection that was opened ahead fails or is closed unused, the next one is opened after this time. */
const OPEN_AGAIN_NS = 250_000_000;
/** A target that closed so many connections so soon after one answer each, and kept none for another, keeps none. */
const CLOSED_AFTER_ONE = 3;
const CLOSED_SOON_NS = 250_000_000;
/** Interval of checks for connections that were silent for too long. */
const WATCH_MS = 25;

/** The events of one request, in this order. Exactly one of `onEnd` and `onError` is the last. */
export interface SendEvents {
  /** The connection is open, and writing the request begins. */
  onStart(reusedConnection: boolean): void;
  /** The first write of the request has returned. Called again for a body in several writes. */
  onFirstWrite(): void;
  /** The connection has no unwritten bytes of the body. Not called if the request ends earlier. */
  onBodyWritten(): void;
  /** First byte of a response. Called again for each response if interim ones come first. */
  onFirstByte(): void;
  onStatus(status: number, head: AnswerHead): void;
  /** A piece of the body as received. */
  onData(bytes: Buffer): void;
  /** @param grpcStatus of a gRPC call: its status code, or null if the answer ended without one */
  onEnd(grpcStatus?: number | null): void;
  onError(end: SendEnd): void;
}

export interface SendHandle {
  /** Ends the request in any state. `onError(end)` follows unless the request is over. */
  abort(end: SendEnd): void;
}

/** Sends requests to the target: undici, `node:http2`, both by protocol, or a script in tests. */
export type Transport = Pick<HttpClient, 'send' | 'warm' | 'openAhead' | 'close'>;

/**
 * Sends requests with undici, with one `Client` per connection. So we choose the connection of a request, count its
 * requests, and close it. It opens as many connections as the open loop needs. The one that became idle last is used
 * first, so that unneeded connections grow old and are closed. A request is written only once, because undici retries
 * none.
 */
export class HttpClient {
  readonly #options: ConnectionOptions;
  readonly #book: AddressBook;
  readonly origin: string;
  readonly dial: Dial;
  readonly clock: Clock;
  readonly loopTime: LoopTime;
  readonly #use = new Use();
  /** In the order in which they became idle. */
  #idle: Connection[] = [];
  /** Recorded connections by their lane. Each carries one request at a time. */
  readonly #lanes = new Map<number, Connection>();
  readonly #live = new Set<Connection>();
  /** Those that we are closing. */
  #closing = 0;
  /** Connections with a request, or that are being opened in advance. */
  readonly #busy = new Set<Connection>();
  readonly #watching: NodeJS.Timeout;
  /** Loop time of the last watch. */
  #lastWatchNs: number;
  #openAgainNs = Number.NEGATIVE_INFINITY;
  #closedAfterOne = 0;

  constructor(options: ConnectionOptions, book: AddressBook, clock: Clock) {
    this.#options = options;
    this.#book = book;
    this.origin = options.origin;
    this.clock = clock;
    this.loopTime = new LoopTime(clock);
    this.dial = dialer(options);
    this.#lastWatchNs = this.loopTime.nowNs();
    this.#watching = setInterval(() => this.#watch(), WATCH_MS).unref();
  }

  send(request: PreparedRequest, events: SendEvents): SendHandle {
    const connection = this.#acquire(request.lane ?? null);
    this.#busy.add(connection);
    return connection.carry(request, events);
  }

  /**
   * Opens connections until there are `count`, and one for each address. Resolves when all have succeeded or failed.
   * Addresses that do not answer are not used afterwards.
   */
  async warm(count: number): Promise<void> {
    await this.#book.refresh();
    const attempts = Math.max(count, this.#book.addresses.length) - this.#live.size;
    const connections = Array.from({ length: Math.max(0, attempts) }, () => this.#create(null));
    for (const connection of connections) this.#busy.add(connection);
    await Promise.all(connections.map((connection) => connection.warm()));
  }

  /**
   * Opens a connection before a request needs it, unless `count` are open. It opens none if the target closes each after
   * one answer: such a target may serve one connection at a time, and an unused one would keep it from the others.
   * @returns whether it has opened one
   */
  openAhead(count: number): boolean {
    const keepsNone = this.#closedAfterOne >= CLOSED_AFTER_ONE && this.#use.requestsMax === 1;
    if (this.#live.size + this.#closing >= count || keepsNone || this.clock.nowNs() < this.#openAgainNs)
      return false;
    const connection = this.#create(null);
    this.#busy.add(connection);
    void connection.warm();
    return true;
  }

  use(): SenderConnections {
    return this.#use.figures();
  }

  close(): void {
    clearInterval(this.#watching);
    for (const connection of this.#live) connection.retire();
  }

  /**
   * An idle connection, or a new one that is connecting. With a lane it is the lane's own connection, which carries
   * nothing else.
   */
  #acquire(lane: number | null): Connection {
    if (lane === null) return this.#takeIdle() ?? this.#create(null);
    const own = this.#lanes.get(lane);
    if (own !== undefined && this.#usable(own)) return own;
    own?.retire();
    const connection = this.#takeIdle() ?? this.#create(lane);
    connection.lane = lane;
    this.#lanes.set(lane, connection);
    return connection;
  }

  #takeIdle(): Connection | null {
    const nowNs = this.clock.nowNs();
    for (let last = this.#idle.pop(); last; last = this.#idle.pop()) {
      // If the event loop stood still, nothing was watched, and the server may have closed the connection meanwhile.
      if (nowNs - last.idleSinceNs < IDLE_NS && this.#usable(last)) return last;
      last.retire();
    }
    return null;
  }

  #usable(connection: Connection): boolean {
    const { maxConnectionAgeMs } = this.#options;
    if (!connection.usable) return false;
    return maxConnectionAgeMs === null || this.clock.nowNs() - connection.openedNs < maxConnectionAgeMs * 1e6;
  }

  #create(lane: number | null): Connection {
    const connection = new Connection(this.#book.next(), lane, this);
    this.#live.add(connection);
    return connection;
  }

  /** A connection was opened. */
  opened({ address }: Connection, tookNs: number): void {
    this.#book.noteSuccess(address);
    this.#use.noteOpened(address, tookNs);
  }

  /** A connection could not be opened. */
  failed({ address }: Connection): void {
    this.#book.noteFailure(address);
    this.#use.failed += 1;
  }

  /** A request begins to be written. */
  carries({ address, served }: Connection): void {
    this.#use.noteRequest(address, served + 1, this.clock);
  }

  /** The head of an answer came. */
  noteAnswer(headers: AnswerFields): void {
    const software = firstOf(headers['server']);
    if (software !== null) this.#use.noteSoftware(software);
  }

  /**
   * A connection is free and waits for its next request. A lane's connection waits for its lane; others go on top of
   * the idle ones.
   */
  rests(connection: Connection): void {
    this.#busy.delete(connection);
    if (!connection.usable && connection.served === 1) this.#closedAfterOne += 1;
    if (!this.#usable(connection)) connection.retire();
    else if (connection.lane === null) {
      connection.idleSinceNs = this.clock.nowNs();
      this.#idle.push(connection);
    }
  }

  /** A connection was opened before a request needed it, or could not be opened. */
  openedAhead(isOpen: boolean): void {
    if (isOpen) this.#use.openedAhead += 1;
    else this.#openAgainNs = this.clock.nowNs() + OPEN_AGAIN_NS;
  }

  /** A connection's socket is closed, by us or by the target. */
  closed({ served, idleSinceNs }: Connection, byTarget: boolean): void {
    this.#use.noteClosed();
    if (!byTarget) {
      this.#closing -= 1;
      return;
    }
    const nowNs = this.clock.nowNs();
    if (served === 0) this.#openAgainNs = nowNs + OPEN_AGAIN_NS;
    if (served === 1 && nowNs - idleSinceNs < CLOSED_SOON_NS) this.#closedAfterOne += 1;
  }

  /** A connection can no longer carry requests. */
  forget(connection: Connection): void {
    this.#live.delete(connection);
    if (connection.isOpen) this.#closing += 1;
    this.#busy.delete(connection);
    const { lane } = connection;
    if (lane !== null && this.#lanes.get(lane) === connection) this.#lanes.delete(lane);
  }

  /**
   * Ends connections that are silent for too long. Answers that arrived while this process stood still are read only
   * after this. So only connections that were over their limit at the previous watch are ended. They had a turn of the
   * event loop since then, so the silence is the target's.
   */
  #watch(): void {
    const atNs = this.#lastWatchNs;
    this.#lastWatchNs = this.loopTime.nowNs();
    const { connectTimeoutMs, firstByteTimeoutMs, idleTimeoutMs } = this.#options;
    const limitsMs = {
      connect_timeout: connectTimeoutMs,
      first_byte_timeout: firstByteTimeoutMs,
      idle_timeout: idleTimeoutMs,
    };
    for (const connection of this.#busy) {
      const { timeout, silentSinceNs } = connection;
      if (atNs - silentSinceNs < limitsMs[timeout] * 1e6) continue;
      if (timeout === 'connect_timeout') this.failed(connection);
      connection.retire(timeout);
    }
    const nowNs = this.clock.nowNs();
    const isOver = (connection: Connection): boolean =>
      !connection.usable || nowNs - connection.idleSinceNs >= IDLE_NS;
    if (!this.#idle.some(isOver)) return;
    for (const connection of this.#idle.filter(isOver)) connection.retire();
    this.#idle = this.#idle.filter((connection) => !isOver(connection));
  }
}

/** One connection to the target with at most one request. It connects for its first request. */
class Connection {
  /** The recorded connection that it represents; null if it carries any request. */
  lane: number | null;
  readonly address: string;
  openedNs = 0;
  idleSinceNs = 0;
  /** Requests that were answered on its socket. */
  served = 0;
  /** The target has announced that it sends no more. */
  ended = false;
  /** Whether it was opened before a request needed it, so that the target may close it as idle. */
  #isAhead = false;
  readonly #host: HttpClient;
  readonly #client: Client;
  #socket: Socket | null = null;
  /** The socket that is connecting. */
  #dialing: Socket | null = null;
  /** Loop time. */
  #dialingSinceNs = Number.POSITIVE_INFINITY;
  #exchange: Exchange | null = null;
  #over = false;

  constructor(address: string, lane: number | null, host: HttpClient) {
    this.address = address;
    this.lane = lane;
    this.#host = host;
    this.#client = new UndiciClient(host.origin, {
      allowH2: false,
      pipelining: 1,
      // We use our own time-outs, which count only the time in which this event loop could read.
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: LANE_IDLE_MS,
      keepAliveMaxTimeout: LANE_IDLE_MS,
      keepAliveTimeoutThreshold: KEEP_ALIVE_MARGIN_MS,
      maxHeaderSize: LIMITS.headBytes,
      connect: (options, callback) => this.#connect(options, callback),
    });
    this.#client.on('disconnect', () => this.#disconnected());
  }

  /** Whether it can carry a request now. */
  get usable(): boolean {
    const socket = this.#socket;
    if (socket === null || socket.destroyed || this.#exchange !== null || this.#over) return false;
    // If an answer came before the request was completely written, the rest would precede the next request.
    return socket.writableLength === 0;
  }

  get isOpen(): boolean {
    return this.#socket !== null;
  }

  /** Whether it was open before the request that it carries. */
  get wasIdle(): boolean {
    return this.served > 0 || this.#isAhead;
  }

  /** Loop time since which an expected event is missing; Infinity if none is expected. */
  get silentSinceNs(): number {
    if (this.#dialing !== null) return this.#dialingSinceNs;
    return this.#exchange?.silentSinceNs ?? Number.POSITIVE_INFINITY;
  }

  /** The error if that takes too long. */
  get timeout(): 'connect_timeout' | 'first_byte_timeout' | 'idle_timeout' {
    if (this.#dialing !== null) return 'connect_timeout';
    return this.#exchange?.isAnswering === true ? 'idle_timeout' : 'first_byte_timeout';
  }

  /** Calls back when the socket has nothing more to write, or too little for a `drain` event. */
  whenWritten(written: () => void): void {
    const socket = this.#socket;
    if (socket?.writableNeedDrain === true) socket.once('drain', written);
    else written();
  }

  /** Opens it. Resolves when this has succeeded or failed. */
  async warm(): Promise<void> {
    const settled = Promise.withResolvers<void>();
    const over = (): void => settled.resolve();
    // undici opens connections only for requests. This request is refused at its start, so it is not written and the
    // connection stays open.
    const refusing: Dispatcher.DispatchHandler = {
      onRequestStart: () => {
        throw new Error('opened ahead');
      },
      onResponseStart: over,
      onResponseData: over,
      onResponseEnd: over,
      onResponseError: over,
    };
    this.#isAhead = true;
    this.#client.dispatch({ method: 'GET', path: '/', ...this.#serverName }, refusing);
    await settled.promise;
    this.#host.openedAhead(this.#socket !== null);
    if (this.#socket === null) this.retire();
    else this.#host.rests(this);
  }

  /** Sends a request as soon as it is connected. The connection must be idle. */
  carry(request: PreparedRequest, events: SendEvents): SendHandle {
    const exchange = new Exchange(this, events, this.#host.loopTime);
    this.#exchange = exchange;
    const { method, path, headers, body, chunked } = request;
    this.#client.dispatch(
      // Keeps the connection open for all methods. undici would close it after HEAD, or after an unexpected body.
      {
        method,
        path,
        headers: [...headers],
        body: chunked ? inChunks(body) : body,
        reset: false,
        ...this.#serverName,
      },
      exchange,
    );
    return exchange;
  }

  /** Its request begins to be written. @returns whether its socket carried one before */
  starts(): boolean {
    this.#host.carries(this);
    return this.served > 0;
  }

  /** The head of the answer to its request came. */
  answerBegins(headers: AnswerFields): void {
    this.#host.noteAnswer(headers);
  }

  /** Its request has a complete answer. */
  answered(): void {
    this.#exchange = null;
    this.served += 1;
    this.#host.rests(this);
  }

  /** Its request failed, and undici has discarded the socket. */
  failed(): void {
    this.#exchange = null;
    this.retire();
  }

  /** Closes it, and ends its request with `end`. */
  retire(end: SendEnd = 'stopped'): void {
    if (this.#over) return;
    this.#over = true;
    const exchange = this.#exchange;
    this.#exchange = null;
    this.#host.forget(this);
    // First, because undici would report its own error for it.
    exchange?.fail(end);
    this.#client.destroy(null, () => undefined);
    // undici would wait for a pending connection attempt.
    this.#dialing?.destroy();
  }

  /**
   * The name that undici compares with a TLS connection's: always the target's, even if a request has another `Host`.
   */
  get #serverName(): object {
    return { servername: this.address };
  }

  #connect(options: buildConnector.Options, callback: buildConnector.Callback): void {
    const { clock, loopTime, dial } = this.#host;
    const sinceNs = clock.nowNs();
    this.#dialingSinceNs = loopTime.nowNs();
    this.#dialing = dial(this.address, options, (error, socket) => {
      this.#dialing = null;
      if (this.#over) {
        socket?.destroy();
        return;
      }
      if (error !== null) {
        this.#host.failed(this);
        callback(error, null);
        return;
      }
      this.#socket = socket;
      this.served = 0;
      this.ended = false;
      this.openedNs = clock.nowNs();
      // These listeners come before undici's, which takes a reset for the end of an answer without a length.
      socket.on('end', () => {
        this.ended = true;
      });
      socket.on('error', (cause) => this.#exchange?.broke(cause));
      this.#host.opened(this, this.openedNs - sinceNs);
      callback(null, socket);
    });
  }

  /** undici reconnects by itself if a request is waiting that was not written yet. */
  #disconnected(): void {
    this.#socket = null;
    this.#host.closed(this, !this.#over);
    if (this.#exchange === null) this.retire();
  }
}

/** One request on its connection. */
class Exchange implements Dispatcher.DispatchHandler, SendHandle {
  /** Loop time since the target is expected to respond; Infinity if no response is expected. */
  silentSinceNs = Number.POSITIVE_INFINITY;
  /** Whether the head of the final answer, not only of an interim one, has arrived. */
  isAnswering = false;
  readonly #connection: Connection;
  readonly #events: SendEvents;
  readonly #loopTime: LoopTime;
  #started = false;
  #heard = false;
  #over = false;

  constructor(connection: Connection, events: SendEvents, loopTime: LoopTime) {
    this.#connection = connection;
    this.#events = events;
    this.#loopTime = loopTime;
  }

  abort(end: SendEnd): void {
    if (!this.#over) this.#connection.retire(end);
  }

  onRequestStart(): void {
    this.#started = true;
    this.#events.onStart(this.#connection.starts());
  }

  /** A part of the body was written. undici calls it right after the write, also for one that it has buffered. */
  onBodySent(): void {
    if (!this.#over) this.#events.onFirstWrite();
  }

  onRequestSent(): void {
    if (!this.#over) this.#events.onFirstWrite();
    this.#connection.whenWritten(() => {
      if (this.#over) return;
      this.#events.onBodyWritten();
      if (!this.isAnswering) this.silentSinceNs = this.#loopTime.nowNs();
    });
  }

  onResponseStarted(): void {
    this.#heard = true;
    if (!this.#over) this.#events.onFirstByte();
  }

  onResponseStart(_controller: unknown, status: number, headers: AnswerFields): void {
    if (this.#over || status < 200) return;
    this.isAnswering = true;
    this.silentSinceNs = this.#loopTime.nowNs();
    this.#connection.answerBegins(headers);
    this.#events.onStatus(status, answerHeadOf(headers));
  }

  onResponseData(_controller: unknown, bytes: Buffer): void {
    if (this.#over) return;
    this.silentSinceNs = this.#loopTime.nowNs();
    this.#events.onData(bytes);
  }

  onResponseEnd(): void {
    if (this.#over) return;
    this.#over = true;
    this.#connection.answered();
    this.#events.onEnd();
  }

  onResponseError(_controller: unknown, error: Error): void {
    if (this.#over) return;
    // A request that waited on an open connection fails with the error of that connection.
    this.#endWith(this.#connection.isOpen ? this.#brokenBy(error) : connectErrorOf(error));
  }

  /** Its socket failed. If the request was not written yet, undici may send it on another socket. */
  broke(error: Error): void {
    if (!this.#over && this.#started) this.#endWith(this.#brokenBy(error));
  }

  /** We closed its connection. */
  fail(end: SendEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.onError(end);
  }

  #brokenBy(error: Error): SendEnd {
    const { wasIdle, ended } = this.#connection;
    return brokenErrorOf(error, { answered: this.#heard, reusedConnection: wasIdle, ended });
  }

  #endWith(end: SendEnd): void {
    this.#over = true;
    this.#connection.failed();
    this.#events.onError(end);
  }
}

export function answerHeadOf(headers: AnswerFields): AnswerHead {
  const contentLength = firstOf(headers['content-length']);
  return {
    contentType: firstOf(headers['content-type']),
    contentEncoding: firstOf(headers['content-encoding']),
    hasLength: contentLength !== null,
    contentLength,
    inferenceHeaderLength: firstOf(headers['inference-header-content-length']),
    fields: headers,
  };
}

export function firstOf(value: string | string[] | undefined): string | null {
  return (Array.isArray(value) ? value[0] : value) ?? null;
}

/** undici sends an iterable with chunked coding, one chunk per item. Its types do not allow an iterable. */
function inChunks(body: Uint8Array | null): Buffer {
  return (body === null ? [] : [body]) as unknown as Buffer;
}

/** Begins to connect to an address. Returns the connecting socket. */
type Dial = (address: string, options: buildConnector.Options, callback: buildConnector.Callback) => Socket;

/** Opens sockets to the target with undici's own connector. */
function dialer(options: ConnectionOptions): Dial {
  const { hostname } = new URL(options.origin);
  // TLS requests and verifies the name, for all of its addresses. An IP address is not a server name.
  const isName = isIP(hostname.replace(/^\[|\]$/g, '')) === 0;
  const connect = connectorOf({
    allowH2: false,
    // undici's own time-out is up to half a second early or late.
    timeout: 0,
    lookup: fencedLookup(options.fenced ?? NO_ADDRESS_FENCED),
    ...trustOf(options),
    ...(options.socketPath === null ? {} : { socketPath: options.socketPath }),
  });
  return (address, { servername: _servername, ...asked }, callback) => {
    const named = isName && asked.protocol === 'https:' ? { servername: hostname } : {};
    // The connector returns the socket, but undici's types do not say so.
    return connect({ ...asked, hostname: address, ...named }, callback) as unknown as Socket;
  };
}
