import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import { isIP, type Socket, connect as tcpConnect } from 'node:net';
import { TLSSocket, connect as tlsConnect } from 'node:tls';
import type { Clock } from '../../core/clock.ts';
import { LIMITS } from '../../core/limits.ts';
import { GrpcMessages, parseGrpcStatus } from '../../inference/grpc.ts';
import type { SenderConnections } from '../engine/health.ts';
import { atInstant, LoopTime } from '../engine/loop-time.ts';
import type { ConnectionOptions, Http2Part, PreparedRequest } from '../engine/messages.ts';
import { fencedLookup, NO_ADDRESS_FENCED, trustOf } from '../guard.ts';
import type { AddressBook } from './addresses.ts';
import { answerHeadOf, firstOf, type SendEvents, type SendHandle, type Transport } from './client.ts';
import { connectErrorOf, type SendEnd, streamErrorOf } from './errors.ts';
import { Use } from './use.ts';

/** What the target may send ahead of our reading, on a stream and on a connection: it never waits for our window. */
const STREAM_WINDOW_BYTES = 2 ** 24;
const CONNECTION_WINDOW_BYTES = 2 ** 30;
/** Node's own limit for one connection, in megabytes. Messages have up to 64 MiB, and many are open. */
const SESSION_MEMORY_MB = 4_096;
/** Interval of checks for streams that were silent for too long. */
const WATCH_MS = 25;
/** A recorded connection stays open between its requests for so long, as HTTP/1's does. */
const REST_NS = 60_000_000_000;
/** After a failed attempt, the next connection that no request needs yet is opened after this time. */
const OPEN_AGAIN_NS = 250_000_000;

/**
 * Sends requests by HTTP/2 with `node:http2`, which sends each only once. A recorded connection is one connection.
 * Requests without one share as few as the target's MAX_CONCURRENT_STREAMS allows, at least one to each address. A
 * request never waits for a free stream: at the limit another connection is opened, and counted.
 */
export class Http2Client implements Transport {
  readonly #options: ConnectionOptions;
  readonly #book: AddressBook;
  readonly #use = new Use();
  /** By the recorded connection that they represent; those of null carry any request. */
  readonly #pools = new Map<number | null, Connection[]>();
  readonly #live = new Set<Connection>();
  readonly #watching: NodeJS.Timeout;
  #lastWatchNs: number;
  #openAgainNs = Number.NEGATIVE_INFINITY;
  readonly clock: Clock;
  readonly loopTime: LoopTime;
  readonly origin: string;
  readonly authority: string;
  readonly dial: Dial;
  /** The target's limit of streams as last announced. */
  streamLimit = Number.POSITIVE_INFINITY;

  constructor(options: ConnectionOptions, book: AddressBook, clock: Clock) {
    this.#options = options;
    this.#book = book;
    this.origin = options.origin;
    this.authority = new URL(options.origin).host;
    this.clock = clock;
    this.loopTime = new LoopTime(clock);
    this.dial = dialer(options);
    this.#lastWatchNs = this.loopTime.nowNs();
    this.#watching = setInterval(() => this.#watch(), WATCH_MS).unref();
  }

  send(request: PreparedRequest, events: SendEvents): SendHandle {
    const call = new Call(request, events, this);
    this.place(call);
    return call;
  }

  /** Opens one connection to each address. Resolves when all have succeeded or failed. */
  async warm(_count: number): Promise<void> {
    await this.#book.refresh();
    const attempts = Math.max(0, this.#book.addresses.length - this.#live.size);
    await Promise.all(Array.from({ length: attempts }, () => this.#create(null).settled));
  }

  /** Connections are shared, so one more is opened only at the target's limit. */
  openAhead(): boolean {
    return false;
  }

  use(): SenderConnections {
    return this.#use.figures();
  }

  close(): void {
    clearInterval(this.#watching);
    for (const connection of this.#live) connection.retire('stopped');
  }

  /** Gives a call to a connection with room, and opens one if none has. */
  place(call: Call): void {
    const pool = this.#poolOf(call.connectionKey);
    const free = pool.filter((connection) => connection.room > 0);
    const [first, ...others] = free;
    let chosen = first ?? this.#another(call.connectionKey, pool);
    for (const other of others) if (other.isBetterThan(chosen)) chosen = other;
    chosen.carry(call);
    if (call.connectionKey === null) this.#openMore(free, chosen);
  }

  /** A pool whose last free stream was just taken opens its next connection before a call needs it. */
  #openMore(free: readonly Connection[], chosen: Connection): void {
    const nowNs = this.clock.nowNs();
    if (nowNs < this.#openAgainNs) return;
    const hasRoom = chosen.room > 0 || free.some(({ room }) => room > 0);
    const pool = this.#pools.get(null) ?? [];
    if (!hasRoom) this.#another(null, pool);
    else if (pool.length < this.#book.addresses.length) this.#create(null);
  }

  #another(key: number | null, pool: readonly Connection[]): Connection {
    if (pool.some(({ isFull }) => isFull)) this.#use.openedAtLimit += 1;
    return this.#create(key);
  }

  /** The connections of a key. A recorded connection takes over one that was opened before the start. */
  #poolOf(key: number | null): readonly Connection[] {
    const own = this.#pools.get(key);
    if (own !== undefined || key === null) return own ?? [];
    const spare = this.#pools.get(null)?.find(({ isUnused }) => isUnused);
    if (spare === undefined) return [];
    this.#leavePool(spare);
    spare.key = key;
    this.#joinPool(spare);
    return [spare];
  }

  #create(key: number | null): Connection {
    const connection = new Connection(this.#book.next(), key, this, this.#options.maxConnectionAgeMs);
    this.#live.add(connection);
    this.#joinPool(connection);
    return connection;
  }

  #joinPool(connection: Connection): void {
    const pool = this.#pools.get(connection.key) ?? [];
    pool.push(connection);
    this.#pools.set(connection.key, pool);
  }

  #leavePool(connection: Connection): void {
    const pool = (this.#pools.get(connection.key) ?? []).filter((each) => each !== connection);
    if (pool.length === 0) this.#pools.delete(connection.key);
    else this.#pools.set(connection.key, pool);
  }

  /** A connection is open, and its target has announced its settings. */
  opened({ address }: Connection, tookNs: number): void {
    this.#book.noteSuccess(address);
    this.#use.noteOpened(address, tookNs);
  }

  /** A connection could not be opened. */
  failed({ address }: Connection): void {
    this.#book.noteFailure(address);
    this.#use.failed += 1;
    this.#openAgainNs = this.clock.nowNs() + OPEN_AGAIN_NS;
  }

  /** A call begins on a connection, as its `nth`. */
  carries({ address }: Connection, nth: number): void {
    this.#use.noteRequest(address, nth, this.clock);
  }

  answered(software: string | null): void {
    if (software !== null) this.#use.noteSoftware(software);
  }

  /** A part of a call's body left before an answer that it had followed when it was recorded. */
  overtook(): void {
    this.#use.overtaken += 1;
  }

  closed(): void {
    this.#use.noteClosed();
  }

  /** A connection takes no more calls. */
  leaves(connection: Connection): void {
    this.#leavePool(connection);
  }

  forget(connection: Connection): void {
    this.#leavePool(connection);
    this.#live.delete(connection);
  }

  /** Ends what was silent for too long at the previous watch, as HTTP/1's client does, and closes what rests too long. */
  #watch(): void {
    const atNs = this.#lastWatchNs;
    this.#lastWatchNs = this.loopTime.nowNs();
    const { connectTimeoutMs, firstByteTimeoutMs, idleTimeoutMs } = this.#options;
    for (const connection of this.#live) {
      if (atNs - connection.dialingSinceNs >= connectTimeoutMs * 1e6) {
        this.failed(connection);
        connection.retire('connect_timeout');
        continue;
      }
      for (const call of connection.calls) {
        const limitMs = call.isAnswering ? idleTimeoutMs : firstByteTimeoutMs;
        if (atNs - call.silentSinceNs < limitMs * 1e6) continue;
        call.abort(call.isAnswering ? 'idle_timeout' : 'first_byte_timeout');
      }
      const rests = connection.key !== null && this.clock.nowNs() - connection.idleSinceNs >= REST_NS;
      if (connection.isIdle && (rests || connection.isOld)) connection.retire('stopped');
    }
  }
}

/** One connection to the target. It carries calls as soon as the target has announced its limit of streams. */
class Connection {
  key: number | null;
  readonly address: string;
  /** Calls that were given to it and are not over, in the order in which they came. */
  readonly calls = new Set<Call>();
  idleSinceNs: number;
  /** Loop time since which it is opened; Infinity if it is open. */
  dialingSinceNs: number;
  /** Resolves when it is open, or could not be opened. */
  readonly settled: Promise<void>;
  readonly #settle: () => void;
  readonly #host: Http2Client;
  readonly #maxAgeMs: number | null;
  readonly #socket: Socket;
  readonly #sinceNs: number;
  #session: ClientHttp2Session | null = null;
  #limit: number;
  #isOpen = false;
  #openedNs = Number.POSITIVE_INFINITY;
  #begun = 0;
  #over = false;
  #error: unknown = null;
  /** The last stream that the target serves, from its GOAWAY; Infinity without one. */
  #lastStream = Number.POSITIVE_INFINITY;
  #brokenAway = false;

  constructor(address: string, key: number | null, host: Http2Client, maxAgeMs: number | null) {
    this.address = address;
    this.key = key;
    this.#host = host;
    this.#maxAgeMs = maxAgeMs;
    this.#limit = host.streamLimit;
    this.#sinceNs = host.clock.nowNs();
    this.idleSinceNs = this.#sinceNs;
    this.dialingSinceNs = host.loopTime.nowNs();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.settled = promise;
    this.#settle = resolve;
    this.#socket = host.dial(address, (error) => this.#dialed(error));
  }

  get isOld(): boolean {
    return this.#maxAgeMs !== null && this.#host.clock.nowNs() - this.#openedNs >= this.#maxAgeMs * 1e6;
  }

  get isIdle(): boolean {
    return this.calls.size === 0;
  }

  /** Whether it has carried nothing and belongs to no recorded connection. */
  get isUnused(): boolean {
    return this.#begun === 0 && this.isIdle && this.room > 0;
  }

  get isFull(): boolean {
    return this.calls.size >= this.#limit;
  }

  /** How many more calls it may carry now. */
  get room(): number {
    if (this.#over || this.#lastStream < Number.POSITIVE_INFINITY || this.isOld) return 0;
    return Math.max(0, this.#limit - this.calls.size);
  }

  /** An open connection is better than one that is being opened; then the one with fewer calls. */
  isBetterThan(other: Connection): boolean {
    if (this.#isOpen !== other.#isOpen) return this.#isOpen;
    return this.calls.size < other.calls.size;
  }

  carry(call: Call): void {
    this.calls.add(call);
    call.connection = this;
    if (this.#isOpen) this.#begin(call, true);
  }

  /** A call is over. */
  release(call: Call): void {
    this.calls.delete(call);
    this.idleSinceNs = this.#host.clock.nowNs();
    if (this.isIdle && this.#lastStream < Number.POSITIVE_INFINITY) this.#session?.close();
  }

  /** Closes it, and ends its calls with `end`. */
  retire(end: SendEnd): void {
    if (this.#over) return;
    this.#end();
    for (const call of [...this.calls]) call.fail(end);
    this.#session?.destroy();
    // Cancels that were just asked for are written before this turn of the loop ends.
    setImmediate(() => this.#socket.destroy());
  }

  /** The error of a call whose stream was closed with a code. */
  errorOf(error: unknown, { code, id, answered, wasAlone }: StreamFacts): SendEnd {
    return streamErrorOf(error ?? this.#error, {
      code,
      answered,
      goneAway: this.#brokenAway || id > this.#lastStream,
      reusedConnection: wasAlone,
      ended: this.#session === null || this.#session.destroyed,
    });
  }

  #dialed(error: unknown): void {
    if (this.#over) return;
    if (error !== null) {
      this.#failToOpen(error);
      return;
    }
    const session = connect(this.#host.origin, {
      createConnection: () => this.#socket,
      settings: {
        enablePush: false,
        initialWindowSize: STREAM_WINDOW_BYTES,
        maxHeaderListSize: LIMITS.headBytes,
      },
      maxSessionMemory: SESSION_MEMORY_MB,
    });
    this.#session = session;
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    session.on('remoteSettings', ({ maxConcurrentStreams = Number.POSITIVE_INFINITY }) =>
      this.#limitedTo(maxConcurrentStreams),
    );
    session.on('goaway', (code, lastStream) => {
      this.#lastStream = lastStream;
      // Node ends all streams of such a connection.
      this.#brokenAway = code !== constants.NGHTTP2_NO_ERROR;
      this.#host.leaves(this);
    });
    session.on('error', (cause) => {
      this.#error ??= cause;
      if (!this.#isOpen) this.#failToOpen(cause);
    });
    session.on('close', () => this.#closed());
  }

  /** The target's settings came. Node does not know its limit of streams before, and would queue what exceeds it. */
  #limitedTo(streams: number): void {
    if (this.#over) return;
    this.#limit = streams;
    if (streams > 0) this.#host.streamLimit = streams;
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.dialingSinceNs = Number.POSITIVE_INFINITY;
    this.#openedNs = this.#host.clock.nowNs();
    this.#host.opened(this, this.#openedNs - this.#sinceNs);
    // No connection to such a target would have room, so that moving its calls to others would never end.
    if (streams === 0) this.retire('refused_stream');
    const waiting = [...this.calls];
    for (const call of waiting.slice(streams)) this.calls.delete(call);
    for (const call of waiting.slice(0, streams)) this.#begin(call, false);
    for (const call of waiting.slice(streams)) this.#host.place(call);
    this.#settle();
  }

  #begin(call: Call, reused: boolean): void {
    const session = this.#session;
    if (session === null) return;
    const wasAlone = this.#begun > 0 && this.calls.size === 1;
    this.#begun += 1;
    this.#host.carries(this, this.#begun);
    call.begin(session, { reused, wasAlone });
  }

  #failToOpen(error: unknown): void {
    if (this.#over) return;
    this.#host.failed(this);
    const isOther = error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_HTTP2');
    this.retire(isOther ? 'protocol' : connectErrorOf(error));
  }

  #closed(): void {
    if (this.#over) return;
    if (!this.#isOpen) this.#failToOpen(new Error('closed before its settings came'));
    else this.#end();
  }

  #end(): void {
    this.#over = true;
    this.#host.forget(this);
    if (this.#isOpen) this.#host.closed();
    this.#settle();
  }
}

interface StreamFacts {
  readonly code: number;
  readonly id: number;
  readonly answered: boolean;
  /** Whether its connection had served others and was idle when it began. */
  readonly wasAlone: boolean;
}

const ALL_WITH_THE_HEAD: Http2Part = {
  grpc: false,
  connection: null,
  deadlineNs: null,
  wantsMessage: false,
  parts: [],
};

/** One request on its stream. */
class Call implements SendHandle {
  connection: Connection | null = null;
  /** Loop time since the target is expected to respond; Infinity if no response is expected. */
  silentSinceNs = Number.POSITIVE_INFINITY;
  /** Whether the head of the final answer has arrived. */
  isAnswering = false;
  readonly #part: Http2Part;
  readonly #events: SendEvents;
  readonly #host: Http2Client;
  /** Null once it was written. */
  #request: PreparedRequest | null;
  #stream: ClientHttp2Stream | null = null;
  #wasAlone = false;
  #answered = false;
  #status: number | null = null;
  #error: unknown = null;
  #messages: GrpcMessages | null = null;
  #forgetPart: (() => void) | null = null;
  #over = false;

  constructor(request: PreparedRequest, events: SendEvents, host: Http2Client) {
    this.#part = request.http2 ?? ALL_WITH_THE_HEAD;
    this.#request = request;
    this.#events = events;
    this.#host = host;
  }

  get connectionKey(): number | null {
    return this.#part.connection;
  }

  abort(end: SendEnd): void {
    this.fail(end);
  }

  /** Ends it with `end`, and its stream as a client does that leaves. */
  fail(end: SendEnd): void {
    if (!this.#finish()) return;
    this.#stream?.close(constants.NGHTTP2_CANCEL);
    this.#events.onError(end);
  }

  begin(session: ClientHttp2Session, { reused, wasAlone }: { reused: boolean; wasAlone: boolean }): void {
    const request = this.#request;
    if (request === null) return;
    this.#request = null;
    this.#wasAlone = wasAlone;
    this.#events.onStart(reused);
    try {
      this.#write(session, request);
    } catch {
      // Node refuses the head. Nothing was written.
      this.fail('other');
    }
  }

  #write(session: ClientHttp2Session, request: PreparedRequest): void {
    const { body } = request;
    const { parts } = this.#part;
    const endStream = body === null && parts.length <= 3 && (parts[0] ?? 0) === 0;
    const stream = session.request(this.#headOf(request), { endStream });
    this.#stream = stream;
    this.#listen(stream);
    if (endStream) this.#wholeWritten();
    else if (parts.length === 0) stream.end(body, () => this.#wholeWritten());
    else this.#writeParts(stream, body ?? Buffer.alloc(0));
    // Node writes what was handed to it before the callbacks of this phase run.
    setImmediate(() => {
      if (!this.#over) this.#events.onFirstWrite();
    });
  }

  /** Pseudo-headers first, then the others with lower-case names, as HTTP/2 wants them. */
  #headOf({ method, path, headers, body, chunked }: PreparedRequest): readonly string[] {
    const others: string[] = [];
    let authority = this.#host.authority;
    for (let at = 0; at < headers.length; at += 2) {
      const [name, value] = [(headers[at] ?? '').toLowerCase(), headers[at + 1] ?? ''];
      if (name === 'host') authority = value;
      else others.push(name, value);
    }
    if (!chunked) others.push('content-length', String(body?.length ?? 0));
    const scheme = this.#host.origin.startsWith('https:') ? 'https' : 'http';
    return [':method', method, ':path', path, ':scheme', scheme, ':authority', authority, ...others];
  }

  /** Writes each part at its offset from now, whether or not the target has answered the ones before. */
  #writeParts(stream: ClientHttp2Stream, body: Uint8Array): void {
    const { parts } = this.#part;
    const { clock } = this.#host;
    const beginNs = clock.nowNs();
    let at = 0;
    let from = 0;
    const next = (): void => {
      this.#forgetPart = null;
      while (at < parts.length && !this.#over) {
        const [offsetNs = 0, bytes = 0, answers = 0] = parts.slice(at, at + 3);
        if (beginNs + offsetNs > clock.nowNs()) {
          this.#forgetPart = atInstant(clock, next, beginNs + offsetNs);
          return;
        }
        if ((this.#messages?.ended ?? 0) < answers) this.#host.overtook();
        at += 3;
        const piece = body.subarray(from, from + bytes);
        from += bytes;
        if (at >= parts.length) stream.end(piece, () => this.#wholeWritten());
        else if (piece.length > 0) stream.write(piece);
      }
    };
    next();
  }

  #wholeWritten(): void {
    if (this.#over) return;
    this.#events.onBodyWritten();
    if (!this.isAnswering) this.silentSinceNs = this.#host.loopTime.nowNs();
  }

  #listen(stream: ClientHttp2Stream): void {
    stream.on('headers', () => this.#heard());
    stream.on('response', (headers, flags) => this.#begins(headers, flags));
    stream.on('data', (bytes: Buffer) => {
      if (this.#over) return;
      this.silentSinceNs = this.#host.loopTime.nowNs();
      this.#messages?.write(bytes);
      this.#events.onData(bytes);
    });
    stream.on('trailers', (trailers) => {
      this.#status = grpcStatusOf(trailers);
    });
    stream.on('end', () => {
      // Node also ends the reading side of a stream that was reset. Only END_STREAM leaves it open here.
      if (!stream.closed && !stream.destroyed) this.#complete(stream);
    });
    stream.on('error', (cause) => {
      this.#error = cause;
    });
    stream.on('close', () => this.#closed(stream));
  }

  #heard(): void {
    if (this.#over) return;
    this.#answered = true;
    this.#events.onFirstByte();
  }

  #begins(headers: Record<string, string | string[] | number | undefined>, flags: number): void {
    if (this.#over) return;
    this.#heard();
    this.isAnswering = true;
    this.silentSinceNs = this.#host.loopTime.nowNs();
    const fields = headers as Record<string, string | string[] | undefined>;
    // Only a head that is also the end has a status. Otherwise it is promised before the call has ended.
    if ((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0) this.#status = grpcStatusOf(fields);
    if (this.#part.grpc) this.#messages = new GrpcMessages();
    this.#host.answered(firstOf(fields['server']));
    const head = { ...answerHeadOf(fields), grpcEncoding: firstOf(fields['grpc-encoding']) };
    this.#events.onStatus(Number(headers[':status']), head);
  }

  /** The answer is complete, maybe before the request is. */
  #complete(stream: ClientHttp2Stream): void {
    if (!this.#finish()) return;
    if (!stream.writableFinished) stream.close(constants.NGHTTP2_CANCEL);
    if (this.#part.grpc) this.#events.onEnd(this.#status);
    else this.#events.onEnd();
  }

  #closed(stream: ClientHttp2Stream): void {
    const { connection } = this;
    if (this.#over || connection === null) return;
    const end = connection.errorOf(this.#error, {
      code: stream.rstCode ?? 0,
      id: stream.id ?? Number.POSITIVE_INFINITY,
      answered: this.#answered,
      wasAlone: this.#wasAlone,
    });
    if (this.#finish()) this.#events.onError(end);
  }

  /** @returns false if it was over before */
  #finish(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#request = null;
    this.#forgetPart?.();
    this.connection?.release(this);
    return true;
  }
}

function grpcStatusOf(fields: Readonly<Record<string, string | string[] | undefined>>): number | null {
  return parseGrpcStatus(firstOf(fields['grpc-status']));
}

/** Begins to connect to an address. Calls back with null when it is connected, with TLS if the target has it. */
type Dial = (address: string, callback: (error: Error | null) => void) => Socket;

function dialer(options: ConnectionOptions): Dial {
  const { hostname, port, protocol } = new URL(options.origin);
  const isTls = protocol === 'https:';
  const isName = isIP(hostname.replace(/^\[|\]$/g, '')) === 0;
  const lookup = fencedLookup(options.fenced ?? NO_ADDRESS_FENCED);
  const trust = trustOf(options);
  return (address, callback) => {
    const at = { host: address, port: Number(port || (isTls ? 443 : 80)), lookup, noDelay: true };
    const to = options.socketPath === null ? at : { path: options.socketPath };
    const named = isName ? { servername: hostname } : {};
    const socket = isTls ? tlsConnect({ ...to, ...trust, ...named, ALPNProtocols: ['h2'] }) : tcpConnect(to);
    socket.once('error', callback);
    socket.once(isTls ? 'secureConnect' : 'connect', () => {
      socket.off('error', callback);
      const speaks = !(socket instanceof TLSSocket) || socket.alpnProtocol === 'h2';
      callback(speaks ? null : new Error('the target does not speak HTTP/2 by TLS'));
    });
    return socket;
  };
}
