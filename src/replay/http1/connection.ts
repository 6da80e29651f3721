import type { Socket } from 'node:net';
import type { Enrolled } from '../../core/roster.ts';
import type { Descriptor } from '../launch-pad.ts';
import type { OutgoingRequest } from '../send-batch.ts';
import { brokenErrorOf, connectErrorOf, endedErrorOf, type SendEnd } from '../send-error.ts';
import type { LaidOut, SendEvents, SendHandle } from '../transport.ts';
import { AnswerParser } from './answer-parser.ts';
import { type Dialer, descriptorOf } from './dialer.ts';
import { OneRequest } from './one-request.ts';
import { LARGE_BODY_BYTES, layRequest, type RequestWriter, requestFrame } from './request-writer.ts';
import { type Watchable, Watched } from './silence-watch.ts';

/** What a connection tells its pool, and asks of it. */
export interface ConnectionHost {
  readonly dialer: Dialer;
  readonly writer: RequestWriter;
  nowNs(): number;
  opened(connection: Connection): void;
  /** Never got a socket. */
  failed(connection: Connection): void;
  /** A request is being written. */
  carries(connection: Connection): void;
  /** All of a request is written, and no head of an answer is there: from here that may take so long. */
  waits(connection: Connection): void;
  /** The head of the answer or more of it came: from here it may be silent for so long. */
  heard(connection: Connection): void;
  /** Its request is over, with a whole answer. */
  released(connection: Connection): void;
  /** It is idle still: what was laid out for it goes another way. */
  unclaimed(connection: Connection): void;
  /** It can carry nothing more; also told of one that was retired. */
  gone(connection: Connection): void;
}

/** Since when a connection has been dialled, and who waits for the outcome. */
export interface Dialing {
  readonly sinceNs: number;
  readonly settled: () => void;
}

/** Taken off a server's own `Keep-Alive: timeout=` hint. */
const KEEP_ALIVE_MARGIN_NS = 500_000_000;

/** One connection to the target, and the one request that is on it. Begins to connect when it is made. */
export class Connection implements Enrolled, Watchable<Connection> {
  /** These three are its host's: its places among others, under its watches, and what there is of it while dialled. */
  place = -1;
  readonly watched = new Watched<Connection>(this);
  dialing: Dialing | null = null;
  /** The recorded connection it stands for; null for one that carries whatever comes. */
  lane: number | null;
  readonly address: string;
  openedNs = 0;
  /** Requests answered on it. */
  served = 0;
  readonly #host: ConnectionHost;
  readonly #parser = new AnswerParser();
  readonly #giveUpDialing: () => void;
  #socket: Socket | null = null;
  #descriptor: Descriptor | null = null;
  #exchange: OneRequest | null = null;
  /** Has whoever laid a request out for it find out whether that has left; null where none is. */
  #askLaunched: (() => void) | null = null;
  #asked = false;
  #over = false;
  #usableUntilNs = Number.POSITIVE_INFINITY;

  constructor(address: string, lane: number | null, host: ConnectionHost) {
    this.address = address;
    this.lane = lane;
    this.#host = host;
    this.#giveUpDialing = host.dialer.dial(address, this, (error, socket) => {
      if (socket === null) this.#dialFailed(error);
      else this.#dialed(socket);
    });
  }

  get open(): boolean {
    return this.#socket !== null && !this.#over && !this.#asked;
  }

  get idle(): boolean {
    return this.#exchange === null && this.#askLaunched === null;
  }

  /** Whether it could carry a request now. */
  usable(nowNs: number): boolean {
    // An answer that came before the request was wholly written leaves its rest in front of the next one.
    return this.open && this.idle && nowNs < this.#usableUntilNs && this.#socket?.writableLength === 0;
  }

  /** Sends a request as soon as it is connected. It must be idle. */
  carry(request: OutgoingRequest, events: SendEvents): SendHandle {
    const exchange = new OneRequest(request, events, this);
    this.#exchange = exchange;
    if (this.#socket !== null) this.#write(this.#socket, exchange);
    return exchange;
  }

  /** See Transport. It must be usable. */
  layOut(request: OutgoingRequest, into: Buffer, onNeeded: () => void): LaidOut | null {
    if (this.#socket === null) return null;
    this.#descriptor ??= descriptorOf(this.#socket);
    const descriptor = this.#descriptor;
    if (descriptor === null) return null;
    const bytes = layRequest(into, request, this.#host.dialer.authority);
    if (bytes === 0) return null;
    this.#askLaunched = onNeeded;
    return {
      descriptor,
      bytes,
      launched: (events, atNs, rest) => this.#launched(request, events, atNs, rest),
      withdraw: () => this.rest(),
      discard: () => {
        this.#askLaunched = null;
        this.retire();
      },
    };
  }

  /** Nothing is laid out for it any more. */
  rest(): void {
    this.#askLaunched = null;
    // One that is asked for is about to end, or was spoken to by nobody.
    if (!this.#asked) this.#host.unclaimed(this);
  }

  /** Ends it, and what is on it with `end`. */
  retire(end: SendEnd = 'stopped'): void {
    this.#settleLaunch();
    if (this.#over) return;
    this.#close();
    this.#fail(end);
  }

  /** It was idle for too long: ends it, unless what was laid out for it has left meanwhile. */
  retireIdle(): void {
    this.#settleLaunch();
    if (this.#exchange === null) this.retire();
  }

  onBytes(bytes: Buffer): void {
    this.#settleLaunch();
    const exchange = this.#exchange;
    if (this.#over) return;
    if (exchange === null) {
      // Bytes nobody asked for make it useless.
      this.#close();
      return;
    }
    const progress = this.#parser.read(bytes);
    // Whoever was told of the bytes may have ended the request.
    if (this.#exchange !== exchange) return;
    if (progress === 'complete') this.#complete();
    else if (progress === 'open') {
      // Interim answers and pieces of a head are not what is waited for, however many come.
      if (this.#parser.hasStatus) this.#host.heard(this);
    } else this.retire('protocol');
  }

  /** Its socket is about to be gone, and its descriptor somebody else's. */
  onClosing(): void {
    this.#settleLaunch();
  }

  #dialed(socket: Socket): void {
    if (this.#over) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    this.openedNs = this.#host.nowNs();
    socket.on('error', (error) => this.#broke(error));
    socket.on('end', () => this.#ended());
    socket.on('close', () => this.#closed());
    this.#host.opened(this);
    if (this.#exchange !== null) this.#write(socket, this.#exchange);
  }

  #dialFailed(error: Error | null): void {
    if (this.#over) return;
    this.#over = true;
    this.#host.failed(this);
    this.#host.gone(this);
    this.#fail(connectErrorOf(error));
  }

  #write(socket: Socket, exchange: OneRequest): void {
    const request = exchange.take();
    if (request === null) return;
    this.#parser.expect(request.method, exchange);
    this.#host.carries(this);
    exchange.start(this.served > 0);
    if (request.body !== null && request.body.length >= LARGE_BODY_BYTES) {
      this.#writeLarge(socket, exchange, request, request.body);
      return;
    }
    this.#host.writer.write(socket, request, this.#host.dialer.authority);
    this.#host.waits(this);
  }

  /** Another thread wrote it. */
  #launched(request: OutgoingRequest, events: SendEvents, atNs: number, rest: Buffer | null): SendHandle {
    this.#askLaunched = null;
    const exchange = new OneRequest(request, events, this);
    exchange.take();
    this.#exchange = exchange;
    this.#parser.expect(request.method, exchange);
    this.#host.carries(this);
    exchange.start(this.served > 0, atNs);
    if (rest !== null) this.#socket?.write(rest);
    this.#host.waits(this);
    return exchange;
  }

  /** What is laid out for it has left from here on, or will not leave. */
  #settleLaunch(): void {
    const ask = this.#askLaunched;
    if (ask === null) return;
    this.#asked = true;
    ask();
    this.#asked = false;
  }

  #writeLarge(socket: Socket, exchange: OneRequest, request: OutgoingRequest, body: Buffer): void {
    const { head, tail } = requestFrame(request, this.#host.dialer.authority);
    const written = (error?: Error | null): void => {
      if (error) return;
      exchange.bodyWritten();
      if (this.#exchange !== exchange) return;
      if (this.#parser.hasStatus) this.#host.heard(this);
      else this.#host.waits(this);
    };
    socket.cork();
    socket.write(head, 'latin1');
    socket.write(body, tail === '' ? written : undefined);
    if (tail !== '') socket.write(tail, 'latin1', written);
    socket.uncork();
  }

  #complete(): void {
    const exchange = this.#exchange;
    this.#exchange = null;
    this.served += 1;
    const { keepsAlive, keepAliveSeconds } = this.#parser;
    if (keepAliveSeconds !== null) {
      this.#usableUntilNs = this.#host.nowNs() + keepAliveSeconds * 1e9 - KEEP_ALIVE_MARGIN_NS;
    }
    if (keepsAlive && !this.#over) this.#host.released(this);
    else this.#close();
    exchange?.end();
  }

  #ended(): void {
    this.#settleLaunch();
    const exchange = this.#exchange;
    if (exchange !== null && this.#parser.endOfStream()) {
      this.#complete();
      return;
    }
    this.#close();
    if (exchange !== null) this.#fail(endedErrorOf(exchange));
  }

  #broke(error: Error): void {
    const exchange = this.#exchange;
    this.#close();
    if (exchange !== null) this.#fail(brokenErrorOf(error, exchange));
  }

  /** Without an end or an error before it, only we can have closed it. */
  #closed(): void {
    const exchange = this.#exchange;
    this.#close();
    if (exchange !== null) this.#fail(endedErrorOf(exchange));
  }

  #close(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#socket === null) this.#giveUpDialing();
    else this.#socket.destroy();
    this.#host.gone(this);
  }

  #fail(end: SendEnd): void {
    const exchange = this.#exchange;
    this.#exchange = null;
    exchange?.fail(end);
  }
}
