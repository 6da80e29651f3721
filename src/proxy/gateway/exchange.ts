import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import type { CloseCause } from '../frames.ts';
import type { RecorderLink } from '../recorder-link.ts';
import type { ClientConnection, Underway } from './client-connection.ts';
import { ExchangeTap } from './exchange-tap.ts';
import { passableResponse, passableTrailers, type RequestLook } from './guard.ts';
import type { GatewayTimeouts } from './options.ts';
import type { Timed, TimeLimits } from './time-limits.ts';
import type { Forwarding, Upstream } from './upstream.ts';

/** What all exchanges of a gateway share. */
export interface ExchangeHost {
  readonly link: RecorderLink;
  readonly limits: TimeLimits;
  readonly timeouts: GatewayTimeouts;
  readonly draining: boolean;
  /** The exchange is over, and so is its part in every count. */
  ended(exchange: GatewayExchange): void;
}

/** A request of Node's whose head can be set as it is to be sent, line by line. */
interface HeadStoring {
  useChunkedEncodingByDefault: boolean;
  _storeHeader(line: string, headers: readonly string[]): void;
}

/** A paused side hears no reset: it is let read on a little, so often without progress. */
const PROBES = 16;
/** For what an answer that broke off still has on its way to the client. */
const CUT_LINGER_MS = 10_000;

/**
 * One request with its answer on their way through: the two streams, the recorder's ear, the time limits, and
 * the one place where it is decided how the exchange ended. It ends when the answer is out and the request in,
 * or one side is gone; the other side is then told, and nothing is ever asked twice.
 */
export class GatewayExchange implements Forwarding, Timed, Underway {
  readonly #host: ExchangeHost;
  readonly #connection: ClientConnection;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #look: RequestLook;
  readonly #tap: ExchangeTap;
  readonly #startMs: number;
  #line = '';
  #headers: readonly string[] = [];
  #toTarget: ClientRequest | null = null;
  #fromTarget: IncomingMessage | null = null;
  #connecting = true;
  /** The answer came to its end, whatever happens to the target now. */
  #answered = false;
  #cause: CloseCause | null = null;
  #over = false;
  #activeMs: number;
  #probes = 0;
  /** Whether the client can tell that an answer broke off without being reset. */
  #delimited = true;
  #moved = false;
  requestEnded = false;

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
    this.#startMs = host.limits.nowMs;
    this.#activeMs = this.#startMs;
    const { peer, pair, number } = connection;
    this.#tap = new ExchangeTap(host.link, { peer, pair, clientConnection: number });
    connection.number ??= this.#tap.connection;
    connection.begin(this);
    const { method, url, httpVersion, rawHeaders } = this.#request;
    this.#tap.requestHead(`${method} ${url} HTTP/${httpVersion}`, rawHeaders, look.chunked);
    this.#request.on('end', () => this.#onRequestEnd());
    this.#request.on('error', () => undefined);
    this.#response.on('close', () => this.#onResponseClosed());
    this.#response.on('error', () => undefined);
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
    this.#answerWith(status);
    const head = `HTTP/1.1 ${status} ${this.#response.statusMessage}`;
    this.#tap.responseHead(head, ['Content-Length', '0'], 'length');
    this.#listen();
    this.#request.resume();
  }

  begin(toTarget: ClientRequest): void {
    this.#toTarget = toTarget;
    // Nothing may have been sent with headers that are not ours.
    if (this.#over || this.#cause !== null || toTarget.headersSent) {
      toTarget.destroy();
      this.#broken('server_reset', 502);
      return;
    }
    const storing = toTarget as unknown as HeadStoring;
    storing.useChunkedEncodingByDefault = false;
    try {
      storing._storeHeader(this.#line, this.#headers);
    } catch (error) {
      this.fail(error as Error);
      return;
    }
    toTarget.on('close', () => this.#onTargetClosed());
    toTarget.on('drain', () => {
      this.#probes = 0;
    });
    const { socket } = toTarget;
    this.#connecting = socket?.connecting ?? false;
    if (this.#connecting) {
      socket?.once('connect', () => {
        this.#connecting = false;
      });
    }
    if (this.#look.hasBody) setImmediate(() => this.#sendHead(toTarget));
  }

  answer(fromTarget: IncomingMessage): void {
    if (this.#over || this.#cause !== null) {
      fromTarget.destroy();
      return;
    }
    const { statusCode: status = 0, statusMessage: reason = '', rawHeaders: headers } = fromTarget;
    const towards = { method: this.#request.method ?? '', httpVersion: this.#request.httpVersion };
    const passable = passableResponse({ status, reason, headers }, towards);
    if (passable === null || this.#response.headersSent) {
      this.#broken('server_reset', 502);
      return;
    }
    this.#fromTarget = fromTarget;
    this.#activeMs = this.#host.limits.nowMs;
    this.#response.sendDate = false;
    this.#endConnectionIfDraining();
    this.#response.writeHead(status, reason, passable.headers);
    this.#delimited = passable.delimited;
    this.#tap.responseHead(`HTTP/${fromTarget.httpVersion} ${status} ${reason}`, headers, passable.body);
    this.#passOn(fromTarget);
  }

  /** The library has an error, at any time and perhaps not for the first. */
  fail(_error: Error): void {
    // A target that has answered may well refuse the rest of what it was asked.
    if (this.#fromTarget?.complete) this.#readRequestOut();
    else this.#broken('server_reset', 502);
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

  checkTime(nowMs: number): void {
    if (this.#over) return;
    const { connectMs, firstByteMs, idleMs, totalMs } = this.#host.timeouts;
    if (this.#cause !== null && this.#response.headersSent) {
      if (nowMs - this.#activeMs > CUT_LINGER_MS) this.#response.destroy();
      return;
    }
    const quietMs = nowMs - this.#activeMs;
    const stalls = this.#fromTarget !== null || this.#request.isPaused();
    const waits = this.#fromTarget === null && this.requestEnded;
    const isLate =
      exceeds(nowMs - this.#startMs, totalMs) ||
      (this.#connecting && exceeds(nowMs - this.#startMs, connectMs)) ||
      (waits && exceeds(quietMs, firstByteMs)) ||
      (stalls && exceeds(quietMs, idleMs));
    if (isLate) this.#broken('timed_out', 504);
    else this.#probe();
  }

  /** The body flows by the library's own pipe; this only listens. To be called in the tick that began it. */
  #listen(): void {
    if (!this.#look.hasBody) return;
    this.#request.on('data', (chunk: Buffer) => {
      this.#moved = true;
      this.#activeMs = this.#host.limits.nowMs;
      this.#tap.requestBytes(chunk);
    });
  }

  #passOn(fromTarget: IncomingMessage): void {
    const response = this.#response;
    let isFirst = true;
    fromTarget.on('data', (chunk: Buffer) => {
      isFirst = false;
      this.#activeMs = this.#host.limits.nowMs;
      if (!response.write(chunk)) fromTarget.pause();
      this.#tap.responseBytes(chunk);
    });
    response.on('drain', () => {
      this.#probes = 0;
      fromTarget.resume();
    });
    fromTarget.on('end', () => this.#onAnswerEnd(fromTarget));
    fromTarget.on('error', () => this.#broken('server_reset', 502));
    fromTarget.on('close', () => this.#onTargetClosed());
    setImmediate(() => {
      // A stream's head must not wait for its first event.
      if (isFirst && !this.#over && !response.writableEnded) response.flushHeaders();
    });
  }

  #onAnswerEnd(fromTarget: IncomingMessage): void {
    if (!fromTarget.complete) return;
    this.#answered = true;
    const trailers = fromTarget.rawTrailers;
    this.#tap.responseEnd(trailers);
    const passed = passableTrailers(trailers);
    if (passed.length > 0 && this.#response.chunkedEncoding) this.#response.addTrailers(passed);
    this.#response.end();
  }

  #onRequestEnd(): void {
    this.requestEnded = true;
    this.#activeMs = this.#host.limits.nowMs;
    const trailers = this.#request.rawTrailers;
    this.#tap.requestEnd(trailers);
    const passed = passableTrailers(trailers);
    if (passed.length > 0 && this.#look.chunked) this.#toTarget?.addTrailers(passed);
    if (this.#response.closed) this.#onResponseClosed();
  }

  /** The request's own end, by error or for good; there is nothing more to come from the target. */
  #onTargetClosed(): void {
    if (!this.#answered && !(this.#fromTarget?.complete ?? false)) this.#broken('server_reset', 502);
    else if (!this.requestEnded) this.#readRequestOut();
  }

  /** The answer is out, or will never be. */
  #onResponseClosed(): void {
    if (!this.#response.writableFinished) this.clientGone();
    else if (this.requestEnded) this.#end();
  }

  /**
   * The answer will not come, or not come whole. Before its head is out, the client is told with a status; after
   * it, by a connection that ends in the middle of a message. Nothing is ever written into a body.
   */
  #broken(cause: CloseCause, status: number): void {
    if (this.#over || this.#answered || this.#cause !== null) return;
    this.#cause = cause;
    this.#activeMs = this.#host.limits.nowMs;
    this.#toTarget?.destroy();
    if (!this.#response.headersSent) {
      this.#readRequestOut();
      this.#answerWith(status);
    } else if (this.#delimited) this.#connection.socket.destroySoon();
    else this.#connection.socket.resetAndDestroy();
  }

  /** What the client still sends has nowhere to go, but its connection is good. */
  #readRequestOut(): void {
    this.#request.unpipe();
    this.#request.resume();
  }

  #answerWith(status: number): void {
    this.#endConnectionIfDraining();
    this.#response.writeHead(status, ['Content-Length', '0']);
    this.#response.end();
  }

  #endConnectionIfDraining(): void {
    if (this.#host.draining && this.#connection.latest === this) this.#response.shouldKeepAlive = false;
  }

  #sendHead(toTarget: ClientRequest): void {
    if (!this.#moved && !this.#over && !toTarget.destroyed && !toTarget.writableEnded)
      toTarget.flushHeaders();
  }

  #probe(): void {
    if (this.#probes >= PROBES) return;
    const pausedRequest = !this.requestEnded && this.#request.isPaused();
    const pausedAnswer = this.#fromTarget?.isPaused() ?? false;
    if (!pausedRequest && !pausedAnswer) return;
    this.#probes += 1;
    if (pausedRequest) this.#request.resume();
    if (pausedAnswer) this.#fromTarget?.resume();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#host.limits.remove(this);
    if (!this.#answered || !this.requestEnded) this.#toTarget?.destroy();
    this.#tap.close(this.#cause ?? 'client_end');
    this.#connection.end(this);
    this.#host.ended(this);
  }
}

function exceeds(ms: number, limitMs: number): boolean {
  return limitMs > 0 && ms > limitMs;
}
