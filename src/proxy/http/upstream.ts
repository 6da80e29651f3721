import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
  type ServerResponse,
} from 'node:http';
import { Agent as TlsAgent, type AgentOptions as TlsAgentOptions, request as tlsRequest } from 'node:https';
import { TLSSocket } from 'node:tls';
import httpProxy from 'http-proxy';
import { AppError } from '../../core/errors.ts';
import type { UpstreamTls } from '../data-plane.ts';
import { type Endpoint, speaksTls } from '../net/endpoint.ts';
import { TlsFiles } from '../net/tls-files.ts';
import type { UpstreamNotice } from '../net/upstream-notice.ts';
import { GATEWAY_HEAD_BYTES, type GatewayOptions } from './options.ts';

/** What the library tells of one request: it may do so more than once, and in any state. */
export interface Forwarding {
  /** The request to the target exists, has its socket, and has sent nothing yet. */
  begin(toTarget: ClientRequest): void;
  answer(fromTarget: IncomingMessage): void;
  fail(error: Error): void;
}

interface Pass {
  readonly name: string;
}

const FREE_SOCKETS = 1_024;

/** Whom the library's events of a request are for. */
const FORWARDINGS = new WeakMap<IncomingMessage, Forwarding>();

/**
 * One target behind http-proxy. Of the library's steps only the one that forwards is left: another takes the
 * framing off bodies of DELETE and OPTIONS, which sends them on as a second request. The library sees a neutral
 * URL and no headers; both are set on the outgoing request before it is sent.
 */
export class Upstream {
  readonly endpoint: Endpoint;
  readonly #proxy: httpProxy;
  readonly #agent: HttpAgent;
  readonly #upgrades: HttpAgent;
  readonly #address: RequestOptions;
  readonly #isTls: boolean;
  readonly #notice: UpstreamNotice;

  constructor(
    endpoint: Endpoint,
    options: Pick<GatewayOptions, 'upstreamReuse' | 'freeSocketMs' | 'upstreamTls'>,
    notice: UpstreamNotice,
  ) {
    this.endpoint = endpoint;
    this.#notice = notice;
    this.#isTls = speaksTls(endpoint);
    this.#address =
      endpoint.kind === 'unix' ? { socketPath: endpoint.path } : { host: endpoint.host, port: endpoint.port };
    // The time is for idle connections, which end before the target's own limit ends them, or a request would
    // race its end. A busy one outlives it: only what lies idle is closed for it.
    const pooled = {
      keepAlive: options.upstreamReuse,
      maxFreeSockets: FREE_SOCKETS,
      timeout: options.freeSocketMs,
    };
    const trusted = this.#isTls ? trust(options.upstreamTls) : {};
    this.#agent = this.#isTls ? new TlsAgent({ ...pooled, ...trusted }) : new HttpAgent(pooled);
    this.#upgrades = this.#isTls ? new TlsAgent({ keepAlive: false, ...trusted }) : new HttpAgent();
    this.#proxy = guardedProxy(this.#address, this.#isTls, this.#agent);
  }

  /** Hands a request to the library; the result is reported to `forwarding`. */
  forward(request: IncomingMessage, response: ServerResponse, forwarding: Forwarding): void {
    FORWARDINGS.set(request, forwarding);
    request.url = '/';
    request.headers = {};
    this.#proxy.web(request, response, undefined, (error) => {
      this.#notice.look(error);
      forwarding.fail(error);
    });
  }

  /**
   * A request that may be upgraded; header lines are sent exactly as given. Its connection is made for it and
   * serves nothing else, whatever the target answers: what a target still expects on it is not for us to know.
   */
  upgradeRequest(path: string, headers: string[]): ClientRequest {
    const request = this.#isTls ? tlsRequest : httpRequest;
    const asked = request({
      ...this.#address,
      method: 'GET',
      path,
      headers,
      agent: this.#upgrades,
      maxHeaderSize: GATEWAY_HEAD_BYTES,
    });
    return asked.on('error', (error) => this.#notice.look(error));
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** @throws AppError OPTION_INVALID when the certificates cannot be read */
function trust(tls: UpstreamTls | null): TlsAgentOptions {
  // Said in any case: what is left unsaid, the environment decides.
  if (tls === null) return { rejectUnauthorized: true };
  const files = new TlsFiles(tls.caPath === null ? {} : { ca: tls.caPath }, '--upstream-ca');
  return {
    rejectUnauthorized: tls.verify,
    secureContext: files.context,
    ...(tls.serverName === null ? {} : { servername: tls.serverName }),
  };
}

function guardedProxy(address: RequestOptions, isTls: boolean, agent: HttpAgent): httpProxy {
  const { host, port, socketPath } = address;
  const target = { protocol: isTls ? 'https:' : 'http:', host, hostname: host, port, socketPath, path: '' };
  const proxy = httpProxy.createProxyServer({
    target: target as unknown as httpProxy.ProxyTarget,
    agent,
    selfHandleResponse: true,
    toProxy: true,
    // The library takes this very object for the options of each request.
    ssl: requestOptions(),
  });
  keepOnlyForwarding(proxy as unknown as { webPasses: Pass[] });
  proxy.on('proxyReq', (toTarget, request) => FORWARDINGS.get(request)?.begin(toTarget));
  proxy.on('proxyRes', (fromTarget, request) => FORWARDINGS.get(request)?.answer(fromTarget));
  // Of the two ways the library tells of an error, this one is for connections whose client is gone already.
  proxy.on('econnreset', (error, request) => FORWARDINGS.get(request)?.fail(error));
  return proxy;
}

/** What the library sets for each request, and that its agent knows already, or its head says, or `host`. */
const NEEDLESS_OPTIONS = [
  ...['pfx', 'key', 'passphrase', 'cert', 'ca', 'ciphers', 'secureProtocol', 'rejectUnauthorized'],
  ...['localAddress', 'path', 'headers', 'hostname'],
];

/**
 * The options of all requests to a target. The library sets them anew for each, and Node copies them three times into
 * tables: of some twenty that was a tenth of what a request cost. Node copies what is enumerable; the rest is not.
 */
function requestOptions(): object {
  const hidden = { writable: true, enumerable: false, value: undefined };
  const needless = Object.fromEntries(NEEDLESS_OPTIONS.map((name) => [name, hidden]));
  // A `Host` of Node's own making would be made for nothing.
  return Object.defineProperties({ setHost: false, maxHeaderSize: GATEWAY_HEAD_BYTES }, needless);
}

/** @throws AppError INTERNAL when the library is not the one this was written for */
function keepOnlyForwarding(proxy: { webPasses: Pass[] }): void {
  proxy.webPasses = proxy.webPasses.filter(({ name }) => name === 'stream');
  if (proxy.webPasses.length !== 1) {
    throw new AppError('INTERNAL', 'http-proxy lacks the expected forwarding step');
  }
}

/** A request of Node's whose head can be set as it is to be sent, line by line. */
interface HeadStoring {
  useChunkedEncodingByDefault: boolean;
  _storeHeader(line: string, headers: readonly string[]): void;
}

/**
 * Sets what is sent before the body. Node's public way keeps neither the order of lines that repeat nor, for a
 * request without a body, the absence of a length.
 * @throws TypeError for what cannot stand in a head
 */
export function storeHead(request: ClientRequest, line: string, headers: readonly string[]): void {
  const storing = request as unknown as HeadStoring;
  storing.useChunkedEncodingByDefault = false;
  storing._storeHeader(line, headers);
}

/** Calls back when the target can be spoken to. @returns true, without a call, when it can be already */
export function whenConnected(request: ClientRequest, connected: () => void): boolean {
  const { socket } = request;
  if (socket === null || !socket.connecting) return true;
  socket.once(socket instanceof TLSSocket ? 'secureConnect' : 'connect', connected);
  return false;
}
