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
import type { Border, BorderTap } from '../tap/border.ts';
import type { CloseCause } from '../tap/frames.ts';
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

/** Time for the bytes of a broken answer that are still on their way to the client. */
const CUT_LINGER_MS = 10_000;

/**
 * One request and its answer on their way through the gateway: both streams, the tap for the recorder, and the time
 * limits. Only here is decided how the exchange ended. It ends when the answer is sent and the request is read, or when
 * one side is gone. Then the other side is ended too. No request is ever sent twice.
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
  /** The answer whose body flows to the client. */
  #fromTarget: IncomingMessage | null = null;
  #answerBody: BodyForm = 'none';
  #answerBegun = false;
  /** The answer is paused until the client has read what it was sent. */
  #holding = false;
  #connecting = true;
  /** The answer is complete. What happens to the target now does not matter. */
  #answered = false;
  #cause: CloseCause | null = null;
  #over = false;
  /** Whether the client can detect a broken answer without a reset. */
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
    this.#tap = new ExchangeTap(host.border, connection, this.#request, look.chunked);
    this.#nth = connection.begin(this);
    this.#request.on('end', () => this.#onRequestEnd());
    this.#response.on('close', () => this.#onResponseClosed());
    this.#response.on('error', ignore);
  }

  get requestWhole(): boolean {
    return this.#request.complete;
  }

  /** Forwards it to `requestTarget` of the target, with these header lines. */
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

  /**
   * Answers it without the target. The request is still read to its end, so that the connection can serve the next one.
   */
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
    // Nothing may be sent with headers that are not ours.
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
   * Passes the answer's body to the client and to the recorder, with back-pressure and trailers. The head is sent at
   * once, because a stream's first event may take long.
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
    // Bytes that came in one piece with the head are read before this runs.
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
    // A broken connection ends the stream too. That case is handled at its close.
    if (!this.#isWhole) return;
    this.#tap.responseEnd(rawTrailers);
    this.#answered = true;
    if (this.#response.chunkedEncoding) addTrailers(this.#response, rawTrailers);
    this.#response.end();
  }

  /**
   * Whether Node's parser saw the whole answer. If a body ends with its connection, the parser cannot know whether that
   * end is a true one.
   */
  get #isWhole(): boolean {
    if (!this.#fromTarget?.complete) return false;
    return this.#answerBody !== 'until_close' || !this.#failedWrite?.brokeOff;
  }

  /** The library reports an error: at any time, and perhaps not for the first time. */
  fail(error: Error): void {
    // A target that has answered may refuse the rest of the request.
    if (this.#isWhole) this.#readRequestOut();
    else this.#broken('server_reset', 502, error);
  }

  /** Nothing more comes from the target: it answered, failed, or was disconnected by us. */
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
      // A request that the gateway answers itself waits for no target.
      connecting: this.#connecting && !this.#answered,
      waiting: this.#fromTarget === null && this.#requestEnded && !this.#answered,
      flowing: this.#flowing,
    };
    if (isLate(standing, this.#host.timeouts)) this.#timedOut();
    else this.#probe();
  }

  /** A complete answer is not late if it waits for its turn on the connection, or is already sent. */
  get #flowing(): boolean {
    if (!this.#requestEnded && this.#request.isPaused()) return true;
    return this.#fromTarget !== null && (!this.#answered || this.#response.socket !== null);
  }

  /** A client that does not read a complete answer in time is reset. */
  #timedOut(): void {
    if (!this.#answered) {
      this.#broken('timed_out', 504);
      return;
    }
    this.#cause ??= 'timed_out';
    resetSocket(this.#connection.socket);
    this.#end();
  }

  /** The library pipes the body; this only listens. To be called in the tick in which the pipe begins. */
  #listen(): void {
    if (!this.#look.hasBody) return;
    this.#request.on('data', (chunk: Buffer) => {
      // Bytes that are read after the exchange is over are not counted any more.
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
   * The answer will not come, or will not be complete. Before its head is sent, the client gets a status. After that,
   * its connection ends in the middle of a message. Nothing is ever written into a body.
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

  /** The gateway's own answer, without a body. */
  #answerHere(status: number): void {
    this.#decideConnection();
    this.#response.writeHead(status, ['Content-Length', '0']);
    this.#response.end();
  }

  /** @returns false if Node refuses to send the target's head */
  #passHead(status: number, reason: string, headers: string[]): boolean {
    if (this.#response.headersSent) return false;
    this.#response.sendDate = false;
    this.#decideConnection();
    try {
      this.#response.writeHead(status, reason, headers);
      return true;
    } catch {
      // Node's check is stricter than ours. A head that it refuses is treated like any other invalid answer.
      return false;
    }
  }

  /** Only the answer to the latest request may announce the end of the connection. */
  #decideConnection(): void {
    if (this.#host.draining && this.#connection.isLatest(this.#nth)) this.#response.shouldKeepAlive = false;
  }

  #noteFailure(timedOut: boolean, error?: Error): void {
    if (this.#connecting) this.#host.failed(timedOut ? 'upstream_timeout' : 'upstream_refused', error);
    else if (this.#fromTarget === null && !timedOut) this.#host.failed('upstream_gone', error);
  }

  /** Reads and drops the rest of the request, because the client's connection can still be used. */
  #readRequestOut(): void {
    this.#request.unpipe();
    this.#request.resume();
  }

  #sendHead(toTarget: ClientRequest): void {
    if (!this.#sent && !this.#over && !toTarget.destroyed && !toTarget.writableEnded) sendHead(toTarget);
  }

  /**
   * A paused side does not notice a reset. The client is probed each time. The target's bytes must not be lost, and a
   * reset would discard the unread ones. So a few more are read from the target, and the client's side buffers them.
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

/** An error of a message needs no handling, because the close of its connection follows. */
function ignore(): void {}

/** What all exchanges of a gateway share. */
export interface ExchangeHost {
  readonly border: Border;
  readonly limits: TimeLimits;
  readonly paused: PausedPeers;
  readonly timeouts: GatewayTimeouts;
  readonly draining: boolean;
  /** Whether the gateway tells the target the client in forwarded headers. Then the client's own ones are removed. */
  readonly tellsPeer: boolean;
  /** An exchange is over, or became a tunnel. */
  ended(): void;
  /** One more tunnel is open, or one less. */
  tunnelled(change: 1 | -1): void;
  /** @param error the cause, if known */
  failed(failure: ConnectionFailure, error?: Error): void;
}

/** Adds the trailers that may be passed on to a chunked message. */
function addTrailers(message: OutgoingMessage, trailers: RawHeaders, tellsPeer = false): void {
  const passed = passableTrailers(trailers, tellsPeer);
  if (passed.length === 0) return;
  try {
    message.addTrailers(passed);
  } catch {
    // Node refuses to send this name or value. The body is complete without it.
  }
}

const NOTHING = Buffer.alloc(0);

/** Sends a head without waiting for a body. Node's own `flushHeaders` sends it as UTF-8, and heads are latin1. */
function sendHead(message: OutgoingMessage): void {
  message.write(NOTHING);
}

/** When an exchange began, and when it last made progress. */
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

  /**
   * Notes how much of its answer the client has not read yet. Once the answer is complete, progress is only that the
   * client reads.
   */
  noteUntaken(bytes: number): void {
    if (bytes < this.#untaken) this.moved();
    this.#untaken = bytes;
  }
}

const CRLF = Buffer.from('\r\n');

/** How a body is delimited, and so how it is written for the recorder. */
type BodyForm = 'none' | 'length' | 'chunked' | 'until_close';

/**
 * One exchange in the form in which the recorder gets it: as a separate connection with one request and one answer,
 * both as their senders sent them. Heads are rebuilt from the received lines, and chunked bodies are chunked again. So
 * both planes share one assembly and one form.
 */
export class ExchangeTap {
  /** The tap of that connection. After an upgrade it gets bytes that are not HTTP any more. */
  readonly wire: BorderTap;
  readonly #chunked: boolean;
  #response: BodyForm = 'none';

  /** @param chunked whether the request's body is chunked */
  constructor(border: Border, connection: ClientConnection, request: IncomingMessage, chunked: boolean) {
    const { peer, pair, number } = connection;
    this.wire = border.open({ peer, pair, clientConnection: number }, false);
    connection.number ??= this.wire.connection;
    this.#chunked = chunked;
    const { method, url, httpVersion, rawHeaders } = request;
    this.#report(() => this.wire.client(headOf(`${method} ${url} HTTP/${httpVersion}`, rawHeaders)));
  }

  requestBytes(bytes: Buffer): void {
    this.#report(() => this.wire.restOfTurn(this.#chunked ? chunkOf(bytes) : bytes));
  }

  requestEnd(trailers: RawHeaders): void {
    if (this.#chunked) this.#report(() => this.wire.restOfTurn(lastChunk(trailers)));
  }

  responseHead(line: string, headers: RawHeaders, form: BodyForm): void {
    this.#response = form;
    this.#report(() => this.wire.server(headOf(line, headers)));
  }

  responseBytes(bytes: Buffer): void {
    this.#report(() => this.wire.server(this.#response === 'chunked' ? chunkOf(bytes) : bytes));
  }

  responseEnd(trailers: RawHeaders): void {
    if (this.#response === 'chunked') this.#report(() => this.wire.server(lastChunk(trailers)));
    else if (this.#response === 'until_close') this.wire.serverEnd();
  }

  close(cause: CloseCause): void {
    this.wire.close(cause);
  }

  /** Encoding a message is part of the recording too. */
  #report(pass: () => void): void {
    this.wire.attempt(pass);
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
