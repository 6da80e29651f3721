import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';
import { type Clock, systemClock } from '../../core/clock.ts';
import type { ConnectionCounts, DataPlane, Pair } from '../data-plane.ts';
import { type Endpoint, formatEndpoint } from '../endpoint.ts';
import { type Listening, listenOn } from '../listening.ts';
import type { RecorderLink } from '../recorder-link.ts';
import { ClientConnection } from './client-connection.ts';
import { type ExchangeHost, GatewayExchange } from './exchange.ts';
import { forwardedHeaders, lookAtRequest, type RefusalReason, type RequestLook } from './guard.ts';
import { GATEWAY_HEAD_BYTES, type GatewayOptions } from './options.ts';
import { reasonOfClientError } from './refusals.ts';
import { type Destination, RouteTable } from './routes.ts';
import { TimeLimits } from './time-limits.ts';
import { Upstream } from './upstream.ts';
import { asksForWebSocket, WebSocketTunnel } from './websocket.ts';

/** How often Node looks for clients that are too slow with a head or a body. */
const CHECKING_MS = 2_000;
/** While draining, a connection ends after it was quiet for that long; sooner, a request may be on its way. */
const QUIET_MS = 1_000;

/** What a gateway did beside forwarding. */
export interface GatewayCounts {
  readonly inFlight: number;
  readonly tunnels: number;
  /** Requests that the gateway answered itself, by reason. */
  readonly refused: Readonly<Partial<Record<RefusalReason, number>>>;
}

/**
 * The gateway plane: an HTTP reverse proxy. Requests are judged before any library sees them, passed on with
 * their header lines as received, and never sent twice. Each exchange is told to the recorder as a connection
 * of its own, so that assembly and sink are those of the wire.
 */
export class Gateway implements DataPlane, ExchangeHost {
  readonly link: RecorderLink;
  readonly limits: TimeLimits;
  readonly timeouts: GatewayOptions['timeouts'];
  draining = false;
  readonly #options: GatewayOptions;
  readonly #servers: readonly Server[];
  readonly #upstreams = new Map<string, Upstream>();
  readonly #routes: RouteTable<Upstream>;
  readonly #connections = new Map<Socket, ClientConnection>();
  readonly #listening: Listening[] = [];
  readonly #refused: Partial<Record<RefusalReason, number>> = {};
  #inFlight = 0;
  #tunnels = 0;
  #turnedAway = 0;
  #cut = 0;
  #onIdle: (() => void) | null = null;

  /** @throws AppError OPTION_INVALID when certificates cannot be read */
  constructor(options: GatewayOptions, link: RecorderLink, clock: Clock = systemClock) {
    this.#options = options;
    this.link = link;
    this.limits = new TimeLimits(clock);
    this.timeouts = options.timeouts;
    this.#routes = new RouteTable(options.routes, (endpoint) => this.#upstreamOf(endpoint));
    this.#servers = options.pairs.map((pair, index) => this.#serverOf(pair, index));
  }

  get connections(): ConnectionCounts {
    return { open: this.#connections.size, turnedAway: this.#turnedAway };
  }

  get counts(): GatewayCounts {
    return { inFlight: this.#inFlight, tunnels: this.#tunnels, refused: { ...this.#refused } };
  }

  async listen(): Promise<readonly Endpoint[]> {
    const { pairs, reusePort } = this.#options;
    try {
      for (const [index, server] of this.#servers.entries()) {
        this.#listening.push(await listenOn(server, (pairs[index] as Pair).listen, { reusePort }));
      }
    } catch (error) {
      this.#stopListening();
      throw error;
    }
    return this.#listening.map(({ endpoint }) => endpoint);
  }

  /**
   * Stops accepting, ends each connection with the answer to its last request, and those that ask nothing once
   * they have been quiet for a while. What the deadline finds still open is cut and counted.
   */
  async drain(deadlineMs: number): Promise<number> {
    this.draining = true;
    this.#stopListening();
    if (this.#connections.size > 0) {
      const idle = new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
      const quietMs = Math.min(QUIET_MS, deadlineMs / 2);
      for (const connection of this.#connections.values()) connection.drain(quietMs);
      const timer = setTimeout(() => this.cut(), deadlineMs);
      await idle;
      clearTimeout(timer);
    }
    for (const upstream of this.#upstreams.values()) upstream.close();
    return this.#cut;
  }

  cut(): void {
    this.#cut += this.#connections.size;
    for (const connection of [...this.#connections.values()]) connection.cut();
  }

  /** An exchange is over. */
  ended(_exchange: GatewayExchange): void {
    this.#inFlight -= 1;
  }

  #serverOf(pair: Pair, index: number): Server {
    const { timeouts, websocket } = this.#options;
    const upstream = this.#upstreamOf(pair.target);
    const options: ServerOptions & { shouldUpgradeCallback: (request: IncomingMessage) => boolean } = {
      headersTimeout: timeouts.headersMs,
      requestTimeout: timeouts.requestMs,
      keepAliveTimeout: timeouts.keepAliveMs,
      connectionsCheckingInterval: CHECKING_MS,
      maxHeaderSize: GATEWAY_HEAD_BYTES,
      requireHostHeader: false,
      insecureHTTPParser: false,
      noDelay: true,
      shouldUpgradeCallback: asksForWebSocket,
    };
    const server = createServer(options);
    // Beyond its own default Node would drop header lines without a word; the head's size is the bound.
    server.maxHeadersCount = 0;
    server.on('connection', (socket) => this.#accept(socket, index));
    server.on('request', (request, response) => this.#serve(request, response, upstream));
    server.on('checkContinue', (request, response) => this.#serve(request, response, upstream, true));
    server.on('checkExpectation', (request) => this.#refuse('expectation', request.socket, 417));
    server.on('clientError', (error, socket) => this.#onClientError(error, socket as Socket));
    server.on('connect', (_request, socket) => this.#refuse('connect_method', socket as Socket, 501));
    server.on('error', () => {
      this.#turnedAway += 1;
    });
    if (websocket) {
      server.on('upgrade', (request, socket, early) => {
        this.#upgrade(request, socket as Socket, early, upstream);
      });
    }
    return server;
  }

  #upstreamOf(endpoint: Endpoint): Upstream {
    const name = formatEndpoint(endpoint);
    const upstream = this.#upstreams.get(name) ?? new Upstream(endpoint, this.#options);
    this.#upstreams.set(name, upstream);
    return upstream;
  }

  #accept(socket: Socket, pair: number): void {
    if (this.#connections.size >= this.#options.maxConnections) {
      this.#turnedAway += 1;
      socket.destroy();
      return;
    }
    const connection = new ClientConnection(socket, pair, this.limits);
    this.#connections.set(socket, connection);
    socket.on('close', () => {
      this.#connections.delete(socket);
      if (this.#connections.size === 0) this.#onIdle?.();
    });
  }

  #serve(request: IncomingMessage, response: ServerResponse, fallback: Upstream, expects = false): void {
    const connection = this.#connections.get(request.socket);
    if (connection === undefined || connection.refused) return;
    const look = this.#look(request);
    if (look.refusal !== null) {
      this.#refuse(look.refusal.reason, request.socket, look.refusal.status);
      return;
    }
    const target = request.url ?? '/';
    const isRefused = look.marked && this.#options.refuseMarked;
    const isFull = this.#inFlight >= this.#options.maxInFlight;
    this.#inFlight += 1;
    const exchange = new GatewayExchange(this, connection, { request, response }, look);
    if (isRefused || isFull) {
      this.#count(isRefused ? 'replay_marked' : 'in_flight');
      exchange.refuse(isRefused ? 403 : 503);
      return;
    }
    if (expects) response.writeContinue();
    const { target: upstream, requestTarget } = this.#destinationOf(target, fallback);
    exchange.forward(upstream, requestTarget, this.#headersFor(request, connection, look));
  }

  #upgrade(request: IncomingMessage, socket: Socket, early: Buffer, fallback: Upstream): void {
    const connection = this.#connections.get(socket);
    const look = this.#look(request);
    const refusal = asksForWebSocket(request) ? look.refusal : { reason: 'upgrade' as const, status: 400 };
    if (connection === undefined || refusal !== null) {
      this.#refuse(refusal?.reason ?? 'upgrade', socket, refusal?.status ?? 400);
      return;
    }
    const { target: upstream, requestTarget } = this.#destinationOf(request.url ?? '/', fallback);
    const headers = this.#headersFor(request, connection, look);
    headers.push('Connection', 'Upgrade', 'Upgrade', request.headers.upgrade ?? 'websocket');
    this.#tunnels += 1;
    const open = () => upstream.upgradeRequest(requestTarget, headers);
    new WebSocketTunnel(this, connection, { request, early, look }, open, () => {
      this.#tunnels -= 1;
    });
  }

  #look(request: IncomingMessage): RequestLook {
    return lookAtRequest({
      method: request.method ?? '',
      target: request.url ?? '',
      httpVersion: request.httpVersion,
      headers: request.rawHeaders,
    });
  }

  #destinationOf(requestTarget: string, fallback: Upstream): Destination<Upstream> {
    return this.#routes.find(requestTarget) ?? { target: fallback, requestTarget };
  }

  #headersFor(request: IncomingMessage, connection: ClientConnection, look: RequestLook): string[] {
    const forwarded = this.#options.forwardedHeaders
      ? { peer: connection.peer, proto: 'http' as const, host: look.host }
      : null;
    return forwardedHeaders(request.rawHeaders, look, forwarded);
  }

  #onClientError(error: NodeJS.ErrnoException, socket: Socket): void {
    const refusal = reasonOfClientError(error);
    if (refusal === null) socket.destroy();
    else this.#refuse(refusal.reason, socket, refusal.status);
  }

  /** Answers what is not forwarded, and ends its connection. */
  #refuse(reason: RefusalReason, socket: Socket, status: number): void {
    const connection = this.#connections.get(socket);
    if (connection === undefined || connection.refused) return;
    this.#count(reason);
    connection.refuse(status);
  }

  #count(reason: RefusalReason): void {
    this.#refused[reason] = (this.#refused[reason] ?? 0) + 1;
  }

  #stopListening(): void {
    // Node's own close of an HTTP server would end idle connections at once, and with them requests on their way.
    for (const server of this.#servers) NetServer.prototype.close.call(server);
    for (const listening of this.#listening) listening.remove();
  }
}
