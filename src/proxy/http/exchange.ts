import type { ClientRequest, IncomingMessage, OutgoingMessage, ServerResponse } from 'node:http';
import { LIMITS } from '../../core/limits.ts';
import type { ConnectionFailure } from '../data-plane.ts';
import {
  askPeer,
  type FailedWrite,
  failedWriteOf,
  type PausedPeers,
  resetSocket,
} from '../net/peer-socket.ts';
import { connectTimeout } from '../net/upstream-notice.ts';
import type { CloseCause } from '../tap/frames.ts';
import type { ConnectionTap, RecorderClient } from '../tap/recorder-client.ts';
import {
  type ClientConnection,
  isLate,
  type Timed,
  type TimeLimits,
  type Underway,
} from './client-connection.ts';
import { type InspectedRequest, passableResponse, passableTrailers, type RawHeaders } from './headers.ts';
import type { GatewayTimeouts } from './options.ts';
import { type Forwarding, storeHead, type Upstream, whenConnected } from './upstream.ts';

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
  readonly #look: InspectedRequest;
  readonly #tap: ExchangeTap;
  readonly #nth: number;
  readonly #progress: Progress;
  #line = '';
  #headers: readonly string[] = [];
  #toTarget: ClientRequest | null = null;
  #failedWrite: FailedWrite | null = null;
  /** Whose body flows to the client. */
  #fromTarget: IncomingMessage | null = null;
  #answerBody: BodyForm = 'none';
  #answerBegun = false;
  /** The answer waits until the client has taken what it was sent. */
  #holding = false;
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
    look: InspectedRequest,
  ) {
    this.#host = host;
    this.#connection = connection;
    this.#request = messages.request;
    this.#response = messages.response;
    this.#look = look;
    host.limits.add(this);
    this.#progress = new Progress(host.limits);
    this.#tap = new ExchangeTap(host.link, connection, this.#request, look.chunked);
    this.#nth = connection.begin(this);
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
    this.#answerHere(status);
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
    if (passable === null || !this.#passHead(status, reason, passable.headers)) {
      this.#broken('server_reset', 502);
      return;
    }
    this.#delimited = passable.delimited;
    this.#tap.responseHead(`HTTP/${fromTarget.httpVersion} ${status} ${reason}`, headers, passable.body);
    this.#fromTarget = fromTarget;
    this.#answerBody = passable.body;
    this.#passBody(fromTarget);
  }

  /**
   * The body of the answer on its way to the client, and to the recorder: with back-pressure, with its trailers, and
   * its head at once, because a stream's first event may be long in coming.
   */
  #passBody(fromTarget: IncomingMessage): void {
    const response = this.#response;
    fromTarget.on('data', (chunk: Buffer) => {
      this.#answerBegun = true;
      this.#progress.moved();
      if (!response.write(chunk)) this.#holdAnswer(fromTarget);
      this.#tap.responseBytes(chunk);
    });
    fromTarget.on('end', () => this.#onAnswerEnd(fromTarget));
    fromTarget.on('error', () => this.closed());
    // What came in one piece with the head is read before this runs.
    process.nextTick(() => {
      if (!this.#answerBegun && !response.destroyed && !response.writableEnded) sendHead(response);
    });
  }

  #holdAnswer(fromTarget: IncomingMessage): void {
    fromTarget.pause();
    if (this.#holding) return;
    this.#holding = true;
    this.#response.once('drain', () => {
      this.#holding = false;
      fromTarget.resume();
    });
  }

  #onAnswerEnd({ rawTrailers }: IncomingMessage): void {
    // A connection that broke off ends the stream as well; its close says what there is to say.
    if (!this.#isWhole) return;
    this.#tap.responseEnd(rawTrailers);
    this.#answered = true;
    if (this.#response.chunkedEncoding) addTrailers(this.#response, rawTrailers);
    this.#response.end();
  }

  /**
   * Whether Node's parser saw the whole answer. Of a body that only its connection ends, the parser cannot know
   * whether the end that it saw is one.
   */
  get #isWhole(): boolean {
    if (!this.#fromTarget?.complete) return false;
    return this.#answerBody !== 'until_close' || !this.#failedWrite?.brokeOff;
  }

  /** The library has an error, at any time and perhaps not for the first. */
  fail(error: Error): void {
    // A target that has answered may well refuse the rest of what it was asked.
    if (this.#isWhole) this.#readRequestOut();
    else this.#broken('server_reset', 502, error);
  }

  /** Nothing more comes from the target, whether it answered, failed, or was let go. */
  closed(): void {
    if (!this.#answered && !this.#isWhole) this.#broken('server_reset', 502);
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
      waiting: this.#fromTarget === null && this.#requestEnded && !this.#answered,
      flowing: this.#flowing,
    };
    if (isLate(standing, this.#host.timeouts)) this.#timedOut();
    else this.#probe();
  }

  /** An answer that is whole and waits for its turn on the connection, or is out, stands still for no fault of its own. */
  get #flowing(): boolean {
    if (!this.#requestEnded && this.#request.isPaused()) return true;
    return this.#fromTarget !== null && (!this.#answered || this.#response.socket !== null);
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
    this.#toTarget?.destroy(this.#connecting && cause === 'timed_out' ? connectTimeout() : undefined);
    this.#noteFailure(cause === 'timed_out', error);
    if (!this.#response.headersSent) {
      this.#readRequestOut();
      this.#answerHere(status);
    } else if (this.#delimited) this.#connection.socket.destroySoon();
    else resetSocket(this.#connection.socket);
  }

  /** A whole answer of the gateway's own, without a body. */
  #answerHere(status: number): void {
    this.#decideConnection();
    this.#response.writeHead(status, ['Content-Length', '0']);
    this.#response.end();
  }

  /** @returns false when Node finds something in the target's head that cannot be sent */
  #passHead(status: number, reason: string, headers: string[]): boolean {
    if (this.#response.headersSent) return false;
    this.#response.sendDate = false;
    this.#decideConnection();
    try {
      this.#response.writeHead(status, reason, headers);
      return true;
    } catch {
      // Its own check is the stricter one; what it refuses is answered as any other answer that is none.
      return false;
    }
  }

  /** Only the answer to the latest request may say that the connection ends. */
  #decideConnection(): void {
    if (this.#host.draining && this.#connection.isLatest(this.#nth)) this.#response.shouldKeepAlive = false;
  }

  #noteFailure(timedOut: boolean, error?: Error): void {
    if (this.#connecting) this.#host.failed(timedOut ? 'upstream_timeout' : 'upstream_refused', error);
    else if (this.#fromTarget === null && !timedOut) this.#host.failed('upstream_gone', error);
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
    const answer = this.#fromTarget;
    if (answer?.isPaused() && this.#response.writableLength < LIMITS.probedBytes) answer.resume();
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

/** What all that is under way in a gateway shares. */
export interface ExchangeHost {
  readonly link: RecorderClient;
  readonly limits: TimeLimits;
  readonly paused: PausedPeers;
  readonly timeouts: GatewayTimeouts;
  readonly draining: boolean;
  /** Whether forwarded headers tell the target the client; then the client's own are removed. */
  readonly tellsPeer: boolean;
  /** An exchange is over, or became a tunnel. */
  ended(): void;
  /** There is a tunnel more, or one less. */
  tunnelled(change: 1 | -1): void;
  /** @param error what it failed by, if anything said so */
  failed(failure: ConnectionFailure, error?: Error): void;
}

/** Adds to a chunked message what trailers may be passed on. */
function addTrailers(message: OutgoingMessage, trailers: RawHeaders, tellsPeer = false): void {
  const passed = passableTrailers(trailers, tellsPeer);
  if (passed.length === 0) return;
  try {
    message.addTrailers(passed);
  } catch {
    // Node will not send a name or value that it would not read either: the body is whole without it.
  }
}

const NOTHING = Buffer.alloc(0);

/** Sends a head without waiting for a body. Node's own `flushHeaders` sends it as UTF-8, and heads are latin1. */
function sendHead(message: OutgoingMessage): void {
  message.write(NOTHING);
}

/** When an exchange began, and when something of it last moved. */
export class Progress {
  readonly #limits: TimeLimits;
  readonly #startMs: number;
  #movedMs: number;
  #untaken = 0;

  constructor(limits: TimeLimits) {
    this.#limits = limits;
    this.#startMs = limits.nowMs;
    this.#movedMs = this.#startMs;
  }

  get ageMs(): number {
    return this.#limits.nowMs - this.#startMs;
  }

  get quietMs(): number {
    return this.#limits.nowMs - this.#movedMs;
  }

  moved(): void {
    this.#movedMs = this.#limits.nowMs;
  }

  /** What the client has not taken of its answer yet: when that is whole, nothing but its taking moves. */
  noteUntaken(bytes: number): void {
    if (bytes < this.#untaken) this.moved();
    this.#untaken = bytes;
  }
}

const CRLF = Buffer.from('\r\n');

/** How a body is delimited, and so how it is written down for the recorder. */
type BodyForm = 'none' | 'length' | 'chunked' | 'until_close';

/**
 * One exchange as the recorder is told of it: a connection of its own with one request and one answer, both as
 * their senders sent them. Heads are put together again from the lines as received, chunked bodies are chunked
 * again, so that both planes have one assembly and one form.
 */
export class ExchangeTap {
  /** Of its own connection. After an upgrade it is told bytes that are HTTP no longer. */
  readonly wire: ConnectionTap;
  readonly #chunked: boolean;
  #response: BodyForm = 'none';

  /** @param chunked whether the body of the request is */
  constructor(
    link: RecorderClient,
    connection: ClientConnection,
    request: IncomingMessage,
    chunked: boolean,
  ) {
    const { peer, pair, number } = connection;
    this.wire = link.open({ peer, pair, clientConnection: number }, false);
    connection.number ??= this.wire.connection;
    this.#chunked = chunked;
    const { method, url, httpVersion, rawHeaders } = request;
    this.wire.client(headOf(`${method} ${url} HTTP/${httpVersion}`, rawHeaders));
  }

  requestBytes(bytes: Buffer): void {
    this.wire.restOfTurn(this.#chunked ? chunkOf(bytes) : bytes);
  }

  requestEnd(trailers: RawHeaders): void {
    if (this.#chunked) this.wire.restOfTurn(lastChunk(trailers));
  }

  responseHead(line: string, headers: RawHeaders, form: BodyForm): void {
    this.#response = form;
    this.wire.server(headOf(line, headers));
  }

  responseBytes(bytes: Buffer): void {
    this.wire.server(this.#response === 'chunked' ? chunkOf(bytes) : bytes);
  }

  responseEnd(trailers: RawHeaders): void {
    if (this.#response === 'chunked') this.wire.server(lastChunk(trailers));
    else if (this.#response === 'until_close') this.wire.serverEnd();
  }

  close(cause: CloseCause): void {
    this.wire.close(cause);
  }
}

export function headOf(line: string, headers: RawHeaders): Buffer {
  let text = `${line}\r\n`;
  for (let at = 0; at < headers.length; at += 2) text += `${headers[at]}: ${headers[at + 1]}\r\n`;
  return Buffer.from(`${text}\r\n`, 'latin1');
}

function chunkOf(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`, 'latin1'), bytes, CRLF]);
}

function lastChunk(trailers: RawHeaders): Buffer {
  return headOf('0', trailers);
}
