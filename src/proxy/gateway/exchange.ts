import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { LIMITS } from '../../core/limits.ts';
import type { CloseCause } from '../frames.ts';
import { askPeer, type FailedWrite, failedWriteOf, resetSocket } from '../net/peer-socket.ts';
import { AnswerFlow, type AnswerListener, addTrailers, sendHead } from './answer-flow.ts';
import { AnswerHead } from './answer-head.ts';
import type { ClientConnection, Underway } from './client-connection.ts';
import type { ExchangeHost } from './exchange-host.ts';
import { ExchangeTap } from './exchange-tap.ts';
import { passableResponse, type RequestLook } from './guard.ts';
import { Progress } from './progress.ts';
import { isLate, type Timed } from './time-limits.ts';
import { type Forwarding, storeHead, type Upstream, whenConnected } from './upstream.ts';

/** For what an answer that broke off still has on its way to the client. */
const CUT_LINGER_MS = 10_000;

/**
 * One request with its answer on their way through: the two streams, the recorder's ear, the time limits, and
 * the one place where it is decided how the exchange ended. It ends when the answer is out and the request in,
 * or one side is gone; the other side is then told, and nothing is ever asked twice.
 */
export class GatewayExchange implements AnswerListener, Forwarding, Timed, Underway {
  readonly #host: ExchangeHost;
  readonly #connection: ClientConnection;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #look: RequestLook;
  readonly #tap: ExchangeTap;
  readonly #head: AnswerHead;
  readonly #progress: Progress;
  #line = '';
  #headers: readonly string[] = [];
  #toTarget: ClientRequest | null = null;
  #failedWrite: FailedWrite | null = null;
  #flow: AnswerFlow | null = null;
  #connecting = true;
  /** The answer came to its end, whatever happens to the target now. */
  #answered = false;
  #cause: CloseCause | null = null;
  #over = false;
  /** Whether the client can tell that an answer broke off without being reset. */
  #delimited = true;
  #sent = false;
  #requestEnded = false;

  constructor(
    host: ExchangeHost,
    connection: ClientConnection,
    messages: { request: IncomingMessage; response: ServerResponse },
    look: RequestLook,
  ) {
    this.#host = host;
    this.#connection = connection;
    this.#request = messages.request;
    this.#response = messages.response;
    this.#look = look;
    host.limits.add(this);
    this.#progress = new Progress(host.limits);
    const { peer, pair, number } = connection;
    this.#tap = new ExchangeTap(host.link, { peer, pair, clientConnection: number });
    connection.number ??= this.#tap.connection;
    const nth = connection.begin(this);
    this.#head = new AnswerHead(this.#response, () => host.draining && connection.isLatest(nth));
    const { method, url, httpVersion, rawHeaders } = this.#request;
    this.#tap.requestHead(`${method} ${url} HTTP/${httpVersion}`, rawHeaders, look.chunked);
    this.#request.on('end', () => this.#onRequestEnd());
    this.#response.on('close', () => this.#onResponseClosed());
    this.#response.on('error', ignore);
  }

  get requestWhole(): boolean {
    return this.#request.complete;
  }

  /** Sends it on: to `requestTarget` of the target, with these header lines. */
  forward(upstream: Upstream, requestTarget: string, headers: readonly string[]): void {
    this.#line = `${this.#request.method} ${requestTarget} HTTP/1.1\r\n`;
    this.#headers = headers;
    try {
      upstream.forward(this.#request, this.#response, this);
    } catch (error) {
      this.fail(error as Error);
    }
    this.#listen();
  }

  /** Answers it here. The request is read to its end all the same, so that the connection can go on. */
  refuse(status: number): void {
    this.#answered = true;
    this.#head.answer(status);
    const head = `HTTP/1.1 ${status} ${this.#response.statusMessage}`;
    this.#tap.responseHead(head, ['Content-Length', '0'], 'length');
    this.#listen();
    this.#request.on('error', ignore).resume();
  }

  begin(toTarget: ClientRequest): void {
    this.#toTarget = toTarget;
    // Nothing may have been sent with headers that are not ours.
    if (this.#over || this.#cause !== null || toTarget.headersSent) {
      toTarget.destroy();
      this.#broken('server_reset', 502);
      return;
    }
    try {
      storeHead(toTarget, this.#line, this.#headers);
    } catch (error) {
      this.fail(error as Error);
      return;
    }
    toTarget.on('close', () => this.closed());
    if (toTarget.socket) this.#failedWrite = failedWriteOf(toTarget.socket);
    this.#connecting = !whenConnected(toTarget, () => {
      this.#connecting = false;
    });
    if (this.#look.hasBody) process.nextTick(() => this.#sendHead(toTarget));
  }

  answer(fromTarget: IncomingMessage): void {
    if (this.#over || this.#cause !== null) {
      fromTarget.destroy();
      return;
    }
    const { statusCode: status = 0, statusMessage: reason = '', rawHeaders: headers } = fromTarget;
    const towards = { method: this.#request.method ?? '', httpVersion: this.#request.httpVersion };
    const passable = passableResponse({ status, reason, headers }, towards);
    this.#progress.moved();
    if (passable === null || !this.#head.pass(status, reason, passable.headers)) {
      this.#broken('server_reset', 502);
      return;
    }
    this.#delimited = passable.delimited;
    this.#tap.responseHead(`HTTP/${fromTarget.httpVersion} ${status} ${reason}`, headers, passable.body);
    const isEnd = () => passable.body !== 'until_close' || !this.#failedWrite?.brokeOff;
    this.#flow = new AnswerFlow({ from: fromTarget, isEnd }, this.#response, this.#tap, this);
  }

  /** The library has an error, at any time and perhaps not for the first. */
  fail(error: Error): void {
    // A target that has answered may well refuse the rest of what it was asked.
    if (this.#flow?.whole) this.#readRequestOut();
    else this.#broken('server_reset', 502, error);
  }

  moved(): void {
    this.#progress.moved();
  }

  complete(): void {
    this.#answered = true;
  }

  /** Nothing more comes from the target, whether it answered, failed, or was let go. */
  closed(): void {
    if (!this.#answered && !(this.#flow?.whole ?? false)) this.#broken('server_reset', 502);
    else if (!this.#requestEnded) this.#readRequestOut();
  }

  clientGone(): void {
    if (this.#over) return;
    this.#cause ??= this.#answered && this.#response.writableFinished ? 'client_end' : 'client_reset';
    this.#end();
  }

  cut(): void {
    this.#cause ??= 'shutdown';
    this.#end();
  }

  checkTime(): void {
    if (this.#over) return;
    if (this.#cause !== null && this.#response.headersSent) {
      if (this.#progress.quietMs > CUT_LINGER_MS) this.#response.destroy();
      return;
    }
    this.#progress.noteUntaken(this.#response.writableLength);
    const standing = {
      ageMs: this.#progress.ageMs,
      quietMs: this.#progress.quietMs,
      // Whom the gateway answers itself waits for no target.
      connecting: this.#connecting && !this.#answered,
      waiting: this.#flow === null && this.#requestEnded && !this.#answered,
      flowing: this.#flowing,
    };
    if (isLate(standing, this.#host.timeouts)) this.#timedOut();
    else this.#probe();
  }

  /** An answer that is whole and waits for its turn on the connection, or is out, stands still for no fault of its own. */
  get #flowing(): boolean {
    if (!this.#requestEnded && this.#request.isPaused()) return true;
    return this.#flow !== null && (!this.#answered || this.#response.socket !== null);
  }

  /** A client that does not take what its target has finished is owed nothing more, and told by a reset. */
  #timedOut(): void {
    if (!this.#answered) {
      this.#broken('timed_out', 504);
      return;
    }
    this.#cause ??= 'timed_out';
    resetSocket(this.#connection.socket);
    this.#end();
  }

  /** The body flows by the library's own pipe; this only listens. To be called in the tick that began it. */
  #listen(): void {
    if (!this.#look.hasBody) return;
    this.#request.on('data', (chunk: Buffer) => {
      // What is read out of it behind the end has no place in the account any more.
      if (this.#over) return;
      this.#sent = true;
      this.#progress.moved();
      this.#tap.requestBytes(chunk);
    });
  }

  #onRequestEnd(): void {
    if (this.#over) return;
    this.#requestEnded = true;
    this.#progress.moved();
    const trailers = this.#request.rawTrailers;
    this.#tap.requestEnd(trailers);
    if (this.#look.chunked && this.#toTarget) addTrailers(this.#toTarget, trailers, this.#host.tellsPeer);
    if (this.#response.closed) this.#onResponseClosed();
  }

  /** The answer is out, or will never be. */
  #onResponseClosed(): void {
    if (!this.#response.writableFinished) this.clientGone();
    else if (this.#requestEnded) this.#end();
  }

  /**
   * The answer will not come, or not come whole. Before its head is out, the client is told with a status; after
   * it, by a connection that ends in the middle of a message. Nothing is ever written into a body.
   */
  #broken(cause: CloseCause, status: number, error?: Error): void {
    if (this.#over || this.#answered || this.#cause !== null) return;
    this.#cause = cause;
    this.#progress.moved();
    this.#toTarget?.destroy();
    this.#noteFailure(cause === 'timed_out', error);
    if (!this.#response.headersSent) {
      this.#readRequestOut();
      this.#head.answer(status);
    } else if (this.#delimited) this.#connection.socket.destroySoon();
    else resetSocket(this.#connection.socket);
  }

  #noteFailure(timedOut: boolean, error?: Error): void {
    if (this.#connecting) this.#host.failed(timedOut ? 'upstream_timeout' : 'upstream_refused', error);
    else if (this.#flow === null && !timedOut) this.#host.failed('upstream_gone', error);
  }

  /** What the client still sends has nowhere to go, but its connection is good. */
  #readRequestOut(): void {
    this.#request.unpipe();
    this.#request.resume();
  }

  #sendHead(toTarget: ClientRequest): void {
    if (!this.#sent && !this.#over && !toTarget.destroyed && !toTarget.writableEnded) sendHead(toTarget);
  }

  /**
   * A paused side hears no reset. The client is asked as often as it takes. Of what the target said nothing may be
   * lost, which a reset behind it would take along: there a little is read on, which the client's side holds.
   */
  #probe(): void {
    if (!this.#requestEnded && this.#request.isPaused()) askPeer(this.#connection.socket);
    if (this.#flow?.paused && this.#response.writableLength < LIMITS.probedBytes) this.#flow.resume();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#host.limits.remove(this);
    if (!this.#answered || !this.#requestEnded) this.#toTarget?.destroy();
    this.#tap.close(this.#cause ?? 'client_end');
    this.#connection.end(this);
    this.#host.ended();
  }
}

/** Of a message whose connection failed, the connection's own close says all there is to say. */
function ignore(): void {}
