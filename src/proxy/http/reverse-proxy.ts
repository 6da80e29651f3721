import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { type Clock, systemClock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import { WIRE } from '../../core/limits.ts';
import type { Notice } from '../../core/ports.ts';
import { type ConnectionCounts, type ConnectionFailure, DataPlane, type Pair } from '../data-plane.ts';
import { type Endpoint, formatEndpoint, speaksTls } from '../net/endpoint.ts';
import { PausedPeers } from '../net/peer-socket.ts';
import { listenerFiles, type TlsFiles } from '../net/tls-files.ts';
import { failureOf, lacksCertificate, UpstreamNotice } from '../net/upstream-notice.ts';
import type { Border } from '../tap/border.ts';
import { ClientConnection, TimeLimits } from './client-connection.ts';
import { type ExchangeHost, GatewayExchange } from './exchange.ts';
import {
  forwardedHeaders,
  type InspectedRequest,
  inspectRequest,
  type RefusalReason,
  reasonOfClientError,
} from './headers.ts';
import { GATEWAY_HEAD_BYTES, type GatewayOptions, type GatewayRoute } from './options.ts';
import { Upstream } from './upstream.ts';
import { asksForWebSocket, WebSocketUpgrade } from './websocket.ts';

/** While draining, a connection is closed after this quiet time. Before that, a request may be on its way. */
const QUIET_MS = 1_000;

interface ReverseProxyCounts {
  /** Open requests. WebSocket requests are included until they are answered. */
  readonly inFlight: number;
  readonly tunnels: number;
  readonly refused: Readonly<Partial<Record<RefusalReason, number>>>;
}

/**
 * The gateway plane: an HTTP reverse proxy. Requests are checked before any library sees them, passed on with their
 * header lines as received, and never sent twice. Each exchange is reported to the recorder as a separate connection,
 * so that it shares assembly and sink with the wire plane.
 */
export class ReverseProxy extends DataPlane<GatewayOptions> implements ExchangeHost {
  readonly border: Border;
  readonly limits: TimeLimits;
  readonly paused = new PausedPeers();
  readonly timeouts: GatewayOptions['timeouts'];
  readonly tellsPeer: boolean;
  readonly #upstreams = new Map<string, Upstream>();
  #routes: RouteTable<Upstream> | null = null;
  #certificate: TlsFiles | null = null;
  /** Open connections, by the socket that Node's events name. */
  readonly #connections = new Map<Socket, ClientConnection>();
  readonly #refused: Partial<Record<RefusalReason, number>> = {};
  #inFlight = 0;
  #tunnels = 0;

  constructor(
    options: GatewayOptions,
    border: Border,
    notify: (notice: Notice) => void = () => undefined,
    clock: Clock = systemClock,
  ) {
    super(options, notify);
    this.border = border;
    this.limits = new TimeLimits(clock);
    this.timeouts = options.timeouts;
    this.tellsPeer = options.forwardedHeaders;
  }

  override get connections(): ConnectionCounts {
    return { ...super.connections, refused: { ...this.#refused } };
  }

  get counts(): ReverseProxyCounts {
    return { inFlight: this.#inFlight, tunnels: this.#tunnels, refused: { ...this.#refused } };
  }

  protected prepare(): void {
    const { routes, tls } = this.options;
    if (tls !== null) {
      this.#certificate = listenerFiles(tls);
      this.#certificate.watch(this.notify);
      this.watched.push(this.#certificate);
    }
    this.#routes = new RouteTable(routes, (endpoint) => this.#upstreamOf(endpoint));
  }

  /**
   * Stops accepting, and ends each connection with the answer to its last request. A connection without requests is
   * ended after it was quiet for a while. Connections that are open at the deadline are cut and counted.
   */
  override async drain(deadlineMs: number): Promise<number> {
    const drained = super.drain(deadlineMs);
    const quietMs = Math.min(QUIET_MS, deadlineMs / 2);
    for (const connection of this.#connections.values()) connection.drain(quietMs);
    const cut = await drained;
    for (const upstream of this.#upstreams.values()) upstream.close();
    return cut;
  }

  protected get openCount(): number {
    return this.#connections.size;
  }

  protected cutOpen(): void {
    for (const connection of [...this.#connections.values()]) connection.cut();
  }

  ended(): void {
    this.#inFlight -= 1;
  }

  tunnelled(change: 1 | -1): void {
    this.#tunnels += change;
  }

  failed(told: ConnectionFailure, error?: Error): void {
    this.noteFailure(failureOf(told, error));
  }

  protected serverOf(pair: Pair, index: number): Server {
    const upstream = this.#upstreamOf(pair.target);
    const server = createListener(pair, this.options, this.#certificate, (request) =>
      this.#mayUpgrade(request, this.#look(request)),
    );
    server.on(speaksTls(pair.listen) ? 'secureConnection' : 'connection', (socket: Socket) =>
      this.#accept(socket, index),
    );
    server.on('tlsClientError', (error: Error, { authorizationError }: TLSSocket) => {
      const isUnverified = authorizationError != null || lacksCertificate(error);
      this.failed(isUnverified ? 'client_certificate' : 'tls_handshake');
    });
    server.on('request', (request, response) => this.#serve(request, response, upstream));
    server.on('checkContinue', (request, response) => this.#serve(request, response, upstream, true));
    server.on('checkExpectation', (request) => this.#refuse('expectation', request.socket, 417));
    server.on('clientError', (error, socket) => this.#onClientError(error, socket as Socket));
    server.on('connect', (_request, socket) => this.#refuse('connect_method', socket as Socket, 501));
    server.on('drop', () => this.turnAway());
    if (this.options.websocket) {
      server.on('upgrade', (request, socket, early) => {
        this.#upgrade(request, socket as Socket, early, upstream);
      });
    }
    return server;
  }

  #upstreamOf(endpoint: Endpoint): Upstream {
    const name = formatEndpoint(endpoint);
    const notice = new UpstreamNotice(endpoint, 'answered 502', this.notify, this.limits.clock);
    const upstream = this.#upstreams.get(name) ?? new Upstream(endpoint, this.options, notice);
    this.#upstreams.set(name, upstream);
    return upstream;
  }

  #accept(socket: Socket, pair: number): void {
    if (!this.mayEnter(socket)) return;
    this.#connections.set(socket, new ClientConnection(socket, pair, this.limits));
    socket.on('close', () => {
      this.#connections.delete(socket);
      this.noteIdle();
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
    const unwelcome = this.#unwelcome(look);
    this.#inFlight += 1;
    connection.answer = response;
    const exchange = new GatewayExchange(this, connection, { request, response }, look);
    if (unwelcome !== null) {
      this.#count(unwelcome);
      exchange.refuse(unwelcome === 'replay_marked' ? 403 : 503);
      return;
    }
    if (expects) response.writeContinue();
    const { target: upstream, requestTarget } = this.#destinationOf(target, fallback);
    exchange.forward(upstream, requestTarget, this.#headersFor(request, connection, look));
  }

  /** Why the gateway itself answers a request that could be forwarded. */
  #unwelcome(look: InspectedRequest): 'replay_marked' | 'in_flight' | null {
    if (look.marked && this.options.refuseMarked) return 'replay_marked';
    return this.#inFlight >= this.options.maxInFlight ? 'in_flight' : null;
  }

  /**
   * Only if the connection has no other open request: a tunnel must not begin between earlier answers, or after a
   * refusal. And only without a body: nobody would read it, and the target would take the tunnel's bytes for the body.
   */
  #mayUpgrade(request: IncomingMessage, look: InspectedRequest): boolean {
    if (!this.options.websocket || !asksForWebSocket(request)) return false;
    if (look.refusal !== null || look.hasBody || this.#unwelcome(look) !== null) return false;
    return this.#connections.get(request.socket)?.quiet ?? false;
  }

  #upgrade(request: IncomingMessage, socket: Socket, early: Buffer, fallback: Upstream): void {
    const connection = this.#connections.get(socket);
    const look = this.#look(request);
    // Older versions of Node ignore `shouldUpgradeCallback` and offer every upgrade here.
    if (connection === undefined || !this.#mayUpgrade(request, look)) {
      this.#refuse('upgrade', socket, 400);
      return;
    }
    const { target: upstream, requestTarget } = this.#destinationOf(request.url ?? '/', fallback);
    const headers = this.#headersFor(request, connection, look);
    headers.push('Connection', 'Upgrade', 'Upgrade', request.headers.upgrade ?? 'websocket');
    this.#inFlight += 1;
    new WebSocketUpgrade(this, connection, { request, early }, () =>
      upstream.upgradeRequest(requestTarget, headers),
    );
  }

  #look(request: IncomingMessage): InspectedRequest {
    return inspectRequest({
      method: request.method ?? '',
      target: request.url ?? '',
      httpVersion: request.httpVersion,
      headers: request.rawHeaders,
    });
  }

  #destinationOf(requestTarget: string, fallback: Upstream): Destination<Upstream> {
    return this.#routes?.find(requestTarget) ?? { target: fallback, requestTarget };
  }

  #headersFor(request: IncomingMessage, connection: ClientConnection, look: InspectedRequest): string[] {
    if (!this.tellsPeer) return forwardedHeaders(request.rawHeaders, look, null);
    const { peer, pair } = connection;
    const proto = speaksTls((this.options.pairs[pair] as Pair).listen) ? 'https' : 'http';
    return forwardedHeaders(request.rawHeaders, look, { peer, proto, host: look.host });
  }

  #onClientError(error: NodeJS.ErrnoException, socket: Socket): void {
    const refusal = reasonOfClientError(error);
    const isSlow = refusal?.reason === 'too_slow';
    if (isSlow && this.#connections.get(socket)?.keepSilent(this.timeouts)) return;
    if (refusal === null) socket.destroy();
    else this.#refuse(refusal.reason, socket, refusal.status);
  }

  /** Answers a request that is not forwarded, and ends its connection. */
  #refuse(reason: RefusalReason, socket: Socket, status: number): void {
    const connection = this.#connections.get(socket);
    if (connection === undefined || connection.refused) return;
    this.#count(reason);
    connection.refuse(status);
  }

  #count(reason: RefusalReason): void {
    this.#refused[reason] = (this.#refused[reason] ?? 0) + 1;
  }
}

/** How often, within the time for a head, Node checks for clients that are too slow. */
const CHECKS = 8;

/**
 * An option that is newer than Node's types: which requests are offered to `upgrade`. The others are served as usual.
 */
type Settings = ServerOptions & { shouldUpgradeCallback: (request: IncomingMessage) => boolean };

/**
 * Node's HTTP server with every limit set explicitly.
 * @param mayUpgrade whether a request is offered to `upgrade`; if not, it is served as an ordinary request
 * @throws AppError OPTION_INVALID for TLS without a certificate
 */
function createListener(
  pair: Pair,
  { timeouts, maxConnections }: GatewayOptions,
  certificate: TlsFiles | null,
  mayUpgrade: (request: IncomingMessage) => boolean,
): Server {
  const settings: Settings = {
    headersTimeout: timeouts.headersMs,
    requestTimeout: timeouts.requestMs,
    keepAliveTimeout: timeouts.keepAliveMs,
    connectionsCheckingInterval: Math.ceil(timeouts.headersMs / CHECKS),
    maxHeaderSize: GATEWAY_HEAD_BYTES,
    // Our own check of the request looks for the host, because it counts refusals.
    requireHostHeader: false,
    insecureHTTPParser: false,
    noDelay: true,
    shouldUpgradeCallback: mayUpgrade,
  };
  const secure = speaksTls(pair.listen);
  if (secure && certificate === null) {
    throw new AppError('OPTION_INVALID', 'a TLS listener has no certificate', {
      hint: 'Give --listen-tls cert=FILE,key=FILE.',
    });
  }
  const server =
    secure && certificate !== null ? createTlsListener(settings, certificate) : createServer(settings);
  server.maxConnections = maxConnections;
  // With its default limit, Node would silently drop header lines. The size of the head is the limit instead.
  server.maxHeadersCount = 0;
  return server;
}

/** New connections get the certificate that is current. */
function createTlsListener(settings: Settings, certificate: TlsFiles): Server {
  const server = createTlsServer({
    ...settings,
    ...certificate.contents,
    handshakeTimeout: WIRE.handshakeMs,
  });
  // Set on the server, because a context chosen by server name would miss clients that send none.
  certificate.onReplaced.push(() => server.setSecureContext(certificate.contents));
  return server;
}

/** Where a request goes: the target, and the request target to send there. */
export interface Destination<Target> {
  readonly target: Target;
  readonly requestTarget: string;
}

interface Rule<Target> {
  readonly route: GatewayRoute;
  readonly target: Target;
}

/**
 * Maps paths to targets. The path is compared as it was sent, byte for byte. Nothing is decoded or resolved. So no
 * other spelling of a path is routed differently from how the server reads it.
 */
export class RouteTable<Target> {
  readonly #rules: readonly Rule<Target>[];

  /** @param targetOf creates or finds the target for an endpoint */
  constructor(routes: readonly GatewayRoute[], targetOf: (endpoint: Endpoint) => Target) {
    const rank = (route: GatewayRoute): number => route.path.length * 2 + (route.match === 'exact' ? 1 : 0);
    this.#rules = [...routes]
      .sort((a, b) => rank(b) - rank(a))
      .map((route) => ({ route, target: targetOf(route.target) }));
  }

  /** @returns null if no route matches */
  find(requestTarget: string): Destination<Target> | null {
    if (this.#rules.length === 0) return null;
    const query = requestTarget.indexOf('?');
    const path = query < 0 ? requestTarget : requestTarget.slice(0, query);
    for (const { route, target } of this.#rules) {
      if (!matches(route, path)) continue;
      return { target, requestTarget: route.stripPrefix ? stripped(requestTarget, route) : requestTarget };
    }
    return null;
  }
}

function matches({ match, path: wanted }: GatewayRoute, path: string): boolean {
  if (match === 'exact') return path === wanted;
  return (
    path.startsWith(wanted) &&
    (path.length === wanted.length || wanted.endsWith('/') || path[wanted.length] === '/')
  );
}

/** The rest of a request target, which always begins with a slash. */
function stripped(requestTarget: string, { path }: GatewayRoute): string {
  const rest = requestTarget.slice(path.endsWith('/') ? path.length - 1 : path.length);
  return rest.startsWith('/') ? rest : `/${rest}`;
}
