import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { askPeer, PeerSocket, resetSocket } from '../net/peer-socket.ts';
import type { CloseCause } from '../tap/frames.ts';
import { ProxiedConnection } from '../tcp/connection.ts';
import { type ClientConnection, isLate, type Timed, type Underway } from './client-connection.ts';
import { type ExchangeHost, ExchangeTap, headOf, Progress } from './exchange.ts';
import { passableResponse } from './headers.ts';
import { whenConnected } from './upstream.ts';

/** For a target to answer an upgrade, where no other limit is set. */
const UPGRADE_MS = 60_000;

/** Whether a request asks for WebSocket, and for nothing else, in a way that can be upgraded. */
export function asksForWebSocket({ method, httpVersion, headers }: IncomingMessage): boolean {
  return method === 'GET' && httpVersion === '1.1' && headers.upgrade?.toLowerCase() === 'websocket';
}

/**
 * A request for WebSocket until it has come to something: a tunnel, or the answer of a target that declines. It is
 * a request under way for as long, with the limits of any other. The library has no part in it: it sends the
 * answer's head in another form than it came in, and leaves sockets behind.
 */
export class WebSocketUpgrade implements Timed, Underway {
  readonly requestWhole = true;
  readonly #host: ExchangeHost;
  readonly #connection: ClientConnection;
  readonly #client: Socket;
  readonly #tap: ExchangeTap;
  readonly #toTarget: ClientRequest;
  readonly #progress: Progress;
  #connecting = true;
  /** A target that declines has begun to say so. */
  #declining = false;
  #cause: CloseCause | null = null;
  #over = false;

  /** @param early what the client sent behind its request: it stays readable on the socket */
  constructor(
    host: ExchangeHost,
    connection: ClientConnection,
    asked: { request: IncomingMessage; early: Buffer },
    open: () => ClientRequest,
  ) {
    this.#host = host;
    this.#connection = connection;
    this.#client = connection.socket;
    host.limits.add(this);
    this.#progress = new Progress(host.limits);
    this.#tap = new ExchangeTap(host.link, connection, asked.request, false);
    connection.begin(this);
    this.#client.setTimeout(0);
    if (asked.early.length > 0) this.#client.unshift(asked.early);
    this.#client.on('error', () => this.clientGone());
    this.#client.on('end', () => this.clientGone());
    this.#toTarget = open();
    this.#listen();
    this.#toTarget.end();
  }

  clientGone(): void {
    this.#ended('client_reset');
  }

  cut(): void {
    this.#ended('shutdown');
  }

  checkTime(): void {
    const { timeouts } = this.#host;
    const standing = {
      ageMs: this.#progress.ageMs,
      quietMs: this.#progress.quietMs,
      connecting: this.#connecting,
      waiting: !this.#declining,
      flowing: this.#declining,
    };
    const firstByteMs = timeouts.firstByteMs || UPGRADE_MS;
    if (isLate(standing, { ...timeouts, firstByteMs })) this.#ended('timed_out');
    // Its data is read and discarded, so that it gets no reset.
    else askPeer(this.#client);
  }

  #listen(): void {
    const request = this.#toTarget;
    const connected = () => {
      this.#connecting = false;
    };
    request.on('socket', () => {
      if (whenConnected(request, connected)) connected();
    });
    request.on('upgrade', (answer, socket, early) => this.#upgraded(answer, socket as Socket, early));
    request.on('response', (answer) => this.#declined(answer));
    request.on('error', (error) => this.#ended('server_reset', error));
    request.on('close', () => {
      if (!this.#declining) this.#ended('server_reset');
    });
  }

  #upgraded(answer: IncomingMessage, target: Socket, early: Buffer): void {
    if (this.#over) {
      target.destroy();
      return;
    }
    const line = `HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`;
    this.#tap.responseHead(line, answer.rawHeaders, 'none');
    this.#client.write(headOf(line, answer.rawHeaders));
    if (early.length > 0) target.unshift(early);
    beginTunnel(this.#host, this.#connection, target, this.#tap);
    this.#leave();
  }

  /** The target answers as if nothing had been asked: its answer is passed on, and the connection ends with it. */
  #declined(answer: IncomingMessage): void {
    const { statusCode: status = 0, statusMessage: reason = '', rawHeaders: headers } = answer;
    const passable = passableResponse({ status, reason, headers }, { method: 'GET', httpVersion: '1.0' });
    if (this.#over || passable === null) {
      answer.destroy();
      this.#ended('server_reset');
      return;
    }
    this.#declining = true;
    this.#progress.moved();
    const line = `HTTP/1.1 ${status} ${reason}`;
    this.#tap.responseHead(line, headers, passable.body);
    const client = this.#client;
    client.write(headOf(line, [...passable.headers, 'Connection', 'close']));
    // What it says now is meant for a tunnel. Left unread, it would make a reset of the answer's end.
    client.resume();
    answer.on('data', (chunk: Buffer) => {
      this.#progress.moved();
      if (client.writable && !client.write(chunk)) answer.pause();
      this.#tap.responseBytes(chunk);
    });
    client.on('drain', () => answer.resume());
    answer.on('error', () => this.#ended('server_reset'));
    answer.on('end', () => {
      if (!answer.complete) return;
      this.#tap.responseEnd(answer.rawTrailers);
      this.#cause = 'client_end';
      client.end(() => this.#ended('client_end'));
    });
  }

  #ended(cause: CloseCause, error?: Error): void {
    if (this.#over) return;
    this.#cause ??= cause;
    this.#toTarget.destroy();
    this.#tap.close(this.#cause);
    this.#leave();
    if (this.#declining) this.#endAnswer();
    else if (this.#cause === 'server_reset') this.#refuse(502, error);
    else if (this.#cause === 'timed_out') this.#refuse(504);
    else this.#client.destroy();
  }

  /** Where a close would look like the end of an answer, one that broke off ends in a reset. */
  #endAnswer(): void {
    if (this.#client.writableFinished) this.#client.destroySoon();
    else resetSocket(this.#client);
  }

  #refuse(status: 502 | 504, error?: Error): void {
    const isLate = status === 504;
    if (this.#connecting) this.#host.failed(isLate ? 'upstream_timeout' : 'upstream_refused', error);
    else if (!isLate) this.#host.failed('upstream_gone', error);
    this.#connection.refuse(status);
  }

  #leave(): void {
    this.#over = true;
    this.#host.limits.remove(this);
    this.#connection.end(this);
    this.#host.ended();
  }
}

/**
 * A connection that was upgraded is forwarded as a wire is, to which the end of one side is the end of the other. No
 * time is too long for it.
 */
function beginTunnel(
  host: ExchangeHost,
  connection: ClientConnection,
  target: Socket,
  tap: ExchangeTap,
): void {
  const tunnel = new ProxiedConnection(
    PeerSocket.ofNode(connection.socket),
    () => ({ side: PeerSocket.ofNode(target), ready: null }),
    tap.wire,
    {
      paused: host.paused,
      refused: 'reset',
      target: null,
      // The target was there: whatever ends the tunnel is told by its close.
      failed: () => undefined,
      look: () => undefined,
      closed: () => {
        connection.end(underway);
        host.tunnelled(-1);
      },
    },
  );
  // The tunnel itself hears of a client that left.
  const underway = { requestWhole: true, clientGone: () => undefined, cut: () => tunnel.cut() };
  target.setTimeout(0);
  host.tunnelled(1);
  connection.begin(underway);
}
