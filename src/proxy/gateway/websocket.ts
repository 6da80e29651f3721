import type { ClientRequest, IncomingMessage } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { CloseCause } from '../frames.ts';
import { resetSocket } from '../side.ts';
import type { ClientConnection, Underway } from './client-connection.ts';
import type { ExchangeHost } from './exchange-host.ts';
import { ExchangeTap, headOf } from './exchange-tap.ts';
import { passableResponse, type RequestLook } from './guard.ts';
import type { Timed } from './time-limits.ts';

/** For a target that was reached to answer an upgrade, where no other limit is set. */
const UPGRADE_MS = 60_000;

/** Whether a request asks for WebSocket, and for nothing else, in a way that can be upgraded. */
export function asksForWebSocket({ method, httpVersion, headers }: IncomingMessage): boolean {
  return method === 'GET' && httpVersion === '1.1' && headers.upgrade?.toLowerCase() === 'websocket';
}

/**
 * A connection that asks to become a WebSocket: the request on its way to the target, then bytes both ways until
 * either side ends. Both sockets have listeners for whatever may befall them from the first moment on, and the
 * end of one is always the end of the other. The library has no part in it: it sends the answer's head in
 * another form than it came in, and leaves sockets behind.
 */
export class WebSocketTunnel implements Timed, Underway {
  readonly requestWhole = true;
  place = -1;
  readonly #host: ExchangeHost;
  readonly #connection: ClientConnection;
  readonly #client: Socket;
  readonly #tap: ExchangeTap;
  readonly #request: ClientRequest;
  readonly #startMs: number;
  readonly #onOver: () => void;
  #target: Socket | null = null;
  #answered = false;
  #cause: CloseCause | null = null;
  #over = false;

  constructor(
    host: ExchangeHost,
    connection: ClientConnection,
    asked: { request: IncomingMessage; early: Buffer; look: RequestLook },
    open: () => ClientRequest,
    onOver: () => void,
  ) {
    this.#host = host;
    this.#connection = connection;
    this.#client = connection.socket;
    host.limits.add(this);
    this.#startMs = host.limits.nowMs;
    this.#onOver = onOver;
    const { peer, pair, number } = connection;
    this.#tap = new ExchangeTap(host.link, { peer, pair, clientConnection: number });
    connection.number ??= this.#tap.connection;
    connection.begin(this);
    const { method, url, httpVersion, rawHeaders } = asked.request;
    this.#tap.requestHead(`${method} ${url} HTTP/${httpVersion}`, rawHeaders, false);
    this.#client.setTimeout(0);
    this.#client.on('error', () => this.#ended('client_reset'));
    this.#request = open();
    this.#request.on('upgrade', (answer, socket, early) => {
      this.#upgraded(answer, socket as Socket, { fromClient: asked.early, fromTarget: early });
    });
    this.#request.on('response', (answer) => this.#declined(answer));
    this.#request.on('error', () => this.#ended('server_reset'));
    this.#request.on('close', () => {
      if (!this.#answered) this.#ended('server_reset');
    });
    this.#request.end();
  }

  clientGone(): void {
    this.#ended('client_reset');
  }

  cut(): void {
    this.#ended('shutdown');
  }

  checkTime(nowMs: number): void {
    const { connectMs, firstByteMs } = this.#host.timeouts;
    const limitMs = connectMs + (firstByteMs || UPGRADE_MS);
    if (!this.#answered && nowMs - this.#startMs > limitMs) this.#ended('timed_out');
  }

  #upgraded(
    answer: IncomingMessage,
    target: Socket,
    early: { fromClient: Buffer; fromTarget: Buffer },
  ): void {
    this.#answered = true;
    this.#target = target;
    target.on('error', () => this.#ended('server_reset'));
    if (this.#over) {
      target.destroy();
      return;
    }
    const line = `HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`;
    this.#tap.responseHead(line, answer.rawHeaders, 'none');
    this.#client.write(headOf(line, answer.rawHeaders));
    target.setTimeout(0);
    if (early.fromTarget.length > 0) this.#pass('server', this.#client, early.fromTarget);
    if (early.fromClient.length > 0) this.#pass('client', target, early.fromClient);
    this.#flow('client', this.#client, target);
    this.#flow('server', target, this.#client);
  }

  #flow(from: 'client' | 'server', source: Socket, sink: Socket): void {
    source.on('data', (chunk: Buffer) => {
      if (!this.#pass(from, sink, chunk)) source.pause();
    });
    sink.on('drain', () => source.resume());
    source.on('end', () => sink.end());
    source.on('close', () => this.#ended(from === 'client' ? 'client_end' : 'server_end'));
  }

  #pass(from: 'client' | 'server', sink: Socket, chunk: Buffer): boolean {
    const room = !sink.writable || sink.write(chunk);
    this.#tap.tunnelled(from, chunk);
    return room;
  }

  /** The target answers as if nothing had been asked: its answer is passed on, and the connection ends with it. */
  #declined(answer: IncomingMessage): void {
    this.#answered = true;
    const { statusCode: status = 0, statusMessage: reason = '', rawHeaders: headers } = answer;
    const passable = passableResponse({ status, reason, headers }, { method: 'GET', httpVersion: '1.0' });
    if (this.#over || passable === null) {
      answer.destroy();
      this.#answered = false;
      this.#ended('server_reset');
      return;
    }
    const line = `HTTP/1.1 ${status} ${reason}`;
    this.#tap.responseHead(line, headers, passable.body);
    this.#client.write(headOf(line, [...passable.headers, 'Connection', 'close']));
    answer.on('data', (chunk: Buffer) => {
      if (this.#client.writable && !this.#client.write(chunk)) answer.pause();
      this.#tap.responseBytes(chunk);
    });
    this.#client.on('drain', () => answer.resume());
    answer.on('error', () => this.#ended('server_reset'));
    answer.on('end', () => {
      if (!answer.complete) return;
      this.#tap.responseEnd(answer.rawTrailers);
      this.#cause = 'client_end';
      this.#client.end(() => this.#ended('client_end'));
    });
  }

  #ended(cause: CloseCause): void {
    if (this.#over) return;
    this.#over = true;
    this.#cause ??= cause;
    this.#host.limits.remove(this);
    this.#request.destroy();
    this.#endTarget();
    this.#endClient();
    this.#tap.close(this.#cause);
    this.#connection.end(this);
    this.#onOver();
  }

  #endTarget(): void {
    if (this.#target === null) return;
    if (this.#cause === 'client_reset') resetSocket(this.#target);
    else this.#target.destroySoon();
  }

  #endClient(): void {
    const client = this.#client;
    if (this.#answered) {
      if (this.#cause === 'server_reset') resetSocket(client);
      else client.destroySoon();
    } else if (client.writable) {
      const status = this.#cause === 'timed_out' ? 504 : 502;
      client.end(
        `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
      );
      client.destroySoon();
    } else client.destroy();
  }
}
