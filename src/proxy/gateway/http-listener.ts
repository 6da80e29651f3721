import { createServer, type IncomingMessage, type Server, type ServerOptions } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import { AppError } from '../../core/errors.ts';
import { WIRE } from '../../core/limits.ts';
import type { Notice, Pair } from '../data-plane.ts';
import { TlsFiles } from '../tls-files.ts';
import { GATEWAY_HEAD_BYTES, type GatewayOptions, type GatewayTls } from './options.ts';

/** Node looks so often, within the time for a head, for clients that are too slow with one, or with a body. */
const CHECKS = 8;

/** Newer than the types of Node: which requests are offered to `upgrade`; the others are served as usual. */
type Settings = ServerOptions & { shouldUpgradeCallback: (request: IncomingMessage) => boolean };

/** Certificate and key of the listeners that speak TLS: whoever connects gets those of the moment. */
export class ListenerCertificate {
  readonly #files: TlsFiles;
  readonly #servers: TlsServer[] = [];

  /** @throws AppError OPTION_INVALID when they are of no use */
  constructor(tls: GatewayTls, notify: (notice: Notice) => void) {
    this.#files = new TlsFiles({ cert: tls.certPath, key: tls.keyPath }, '--tls-cert, --tls-key');
    // Set on the servers, because one chosen by the name of the host would miss clients that name none.
    this.#files.onReplaced = () => {
      for (const server of this.#servers) server.setSecureContext(this.#files.contents);
    };
    this.#files.watch(notify);
  }

  /** A server that speaks TLS. */
  createServer(settings: ServerOptions): Server {
    const tls = { ...this.#files.contents, handshakeTimeout: WIRE.handshakeMs };
    const server = createTlsServer({ ...settings, ...tls });
    this.#servers.push(server);
    return server;
  }

  close(): void {
    this.#files.close();
  }
}

export function isSecure({ listen }: Pair): boolean {
  return listen.kind === 'tcp' && listen.tls;
}

/**
 * Node's HTTP server with every bound stated.
 * @param mayUpgrade whether a request is offered to `upgrade`; else it is served as the ordinary one it also is
 * @throws AppError OPTION_INVALID for TLS without a certificate
 */
export function createListener(
  pair: Pair,
  { timeouts, maxConnections }: GatewayOptions,
  certificate: ListenerCertificate | null,
  mayUpgrade: (request: IncomingMessage) => boolean,
): Server {
  const settings: Settings = {
    headersTimeout: timeouts.headersMs,
    requestTimeout: timeouts.requestMs,
    keepAliveTimeout: timeouts.keepAliveMs,
    connectionsCheckingInterval: Math.ceil(timeouts.headersMs / CHECKS),
    maxHeaderSize: GATEWAY_HEAD_BYTES,
    // The guard looks for the host itself: it counts what it refuses.
    requireHostHeader: false,
    insecureHTTPParser: false,
    noDelay: true,
    shouldUpgradeCallback: mayUpgrade,
  };
  if (isSecure(pair) && certificate === null) {
    throw new AppError('OPTION_INVALID', 'a listener that speaks TLS has no certificate', {
      hint: 'Give --tls-cert and --tls-key.',
    });
  }
  const server =
    isSecure(pair) && certificate !== null ? certificate.createServer(settings) : createServer(settings);
  server.maxConnections = maxConnections;
  // Beyond its own default Node would drop header lines without a word; the head's size is the bound.
  server.maxHeadersCount = 0;
  return server;
}
