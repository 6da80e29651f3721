import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { askPeer, PeerSocket, resetSocket } from '../net/peer-socket.ts';
import type { CloseCause } from '../tap/frames.ts';
import { ProxiedConnection } from '../tcp/connection.ts';
import { type ClientConnection, isLate, type Timed, type Underway } from './client-connection.ts';
import { type ExchangeHost, ExchangeTap, headOf, Progress } from './exchange.ts';
import { passableResponse } from './headers.ts';
import { whenConnected } from './upstream.ts';

/** Time for a target to answer an upgrade, if no other limit is set. */
const UPGRADE_MS = 60_000;

/** Whether a request asks for WebSocket, and for nothing else, in a way that can be upgraded. */
export function asksForWebSocket({ method, httpVersion, headers }: IncomingMessage): boolean {
  return method === 'GET' && httpVersion === '1.1' && headers.upgrade?.toLowerCase() === 'websocket';
}

/**
 * A request for WebSocket until it has a result: a tunnel, or the answer of a target that declines. Until then it is an
 * open request with the usual limits. The library is not used, because it changes the form of the answer's head and
 * leaves sockets open.
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
  /** A target that declines has begun its answer. */
  #declining = false;
  #cause: CloseCause | null = null;
  #over = false;

  /** @param early what the client sent after its request; it stays readable on the socket */
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
    this.#tap = new ExchangeTap(host.border, connection, asked.request, false);
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
    // Nobody reads the client's bytes now, so only a probe notices a reset after them.
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

  /** The target answers without an upgrade. Its answer is passed on, and the connection ends with it. */
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
    // The client's bytes were meant for a tunnel. If they were left unread, the end of the answer would become a reset.
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

  /** A broken answer ends in a reset, because a close would look like its normal end. */
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
 * Forwards an upgraded connection like the wire plane: the end of one side is passed on to the other. It has no time
 * limit.
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
      // The target was reachable. The close event reports any end of the tunnel.
      failed: () => undefined,
      look: () => undefined,
      closed: () => {
        connection.end(underway);
        host.tunnelled(-1);
      },
    },
  );
  // The tunnel itself notices that the client has left.
  const underway = { requestWhole: true, clientGone: () => undefined, cut: () => tunnel.cut() };
  target.setTimeout(0);
  host.tunnelled(1);
  connection.begin(underway);
}
