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
import { upstreamFiles } from '../net/tls-files.ts';
import type { UpstreamNotice } from '../net/upstream-notice.ts';
import { GATEWAY_HEAD_BYTES, type GatewayOptions } from './options.ts';

/** The library's events for one request. Each may come more than once, and in any state. */
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

/** The receiver of the library's events, by request. */
const FORWARDINGS = new WeakMap<IncomingMessage, Forwarding>();

/**
 * One target behind http-proxy. Of the library's steps, only the forwarding one is kept. Another step would remove the
 * framing from bodies of DELETE and OPTIONS, so that a body would arrive as a second request. The library sees a
 * neutral URL and no headers; both are set on the outgoing request before it is sent.
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
    // The timeout is for idle connections only; busy ones stay open. It must end a connection before the target's own
    // limit does, or a request could meet that close.
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
   * A request that may be upgraded; header lines are sent exactly as given. Its connection is made for it and serves
   * nothing else after any answer. We cannot know what the target still expects on it.
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
  // Always set explicitly. Otherwise an environment variable decides.
  if (tls === null) return { rejectUnauthorized: true };
  return {
    rejectUnauthorized: tls.verify,
    secureContext: upstreamFiles(tls).context,
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
    // The library uses this same object as the options of each request.
    ssl: requestOptions(),
  });
  keepOnlyForwarding(proxy as unknown as { webPasses: Pass[] });
  proxy.on('proxyReq', (toTarget, request) => FORWARDINGS.get(request)?.begin(toTarget));
  proxy.on('proxyRes', (fromTarget, request) => FORWARDINGS.get(request)?.answer(fromTarget));
  // The library reports errors in two ways. This one is for connections whose client has already left.
  proxy.on('econnreset', (error, request) => FORWARDINGS.get(request)?.fail(error));
  return proxy;
}

/** Options that the library sets for each request, although the agent, the head or `host` already has them. */
const NEEDLESS_OPTIONS = [
  ...['pfx', 'key', 'passphrase', 'cert', 'ca', 'ciphers', 'secureProtocol', 'rejectUnauthorized'],
  ...['localAddress', 'path', 'headers', 'hostname'],
];

/**
 * The options of all requests to a target. The library sets them for each request, and Node copies them three times
 * into hash tables. With about twenty options, that was a tenth of the cost of a request. Node copies only enumerable
 * ones, so the needless ones are not enumerable.
 */
function requestOptions(): object {
  const hidden = { writable: true, enumerable: false, value: undefined };
  const needless = Object.fromEntries(NEEDLESS_OPTIONS.map((name) => [name, hidden]));
  // Node would build a `Host` header that is never used.
  return Object.defineProperties({ setHost: false, maxHeaderSize: GATEWAY_HEAD_BYTES }, needless);
}

/** @throws AppError INTERNAL if the library is not the expected one */
function keepOnlyForwarding(proxy: { webPasses: Pass[] }): void {
  proxy.webPasses = proxy.webPasses.filter(({ name }) => name === 'stream');
  if (proxy.webPasses.length !== 1) {
    throw new AppError('INTERNAL', 'http-proxy lacks the expected forwarding step');
  }
}

/** A Node request whose head can be set line by line, exactly as it is sent. */
interface HeadStoring {
  useChunkedEncodingByDefault: boolean;
  _storeHeader(line: string, headers: readonly string[]): void;
}

/**
 * Sets what is sent before the body. Node's public functions change the order of repeated lines, and add a length to a
 * request without a body.
 * @throws TypeError for text that is not allowed in a head
 */
export function storeHead(request: ClientRequest, line: string, headers: readonly string[]): void {
  const storing = request as unknown as HeadStoring;
  storing.useChunkedEncodingByDefault = false;
  storing._storeHeader(line, headers);
}

/** Calls back when the connection to the target is ready. @returns true, without a call, if it is ready already */
export function whenConnected(request: ClientRequest, connected: () => void): boolean {
  const { socket } = request;
  if (socket === null || !socket.connecting) return true;
  socket.once(socket instanceof TLSSocket ? 'secureConnect' : 'connect', connected);
  return false;
}
