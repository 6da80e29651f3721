import type { Endpoint } from '../../src/proxy/endpoint.ts';
import type { WireOptions } from '../../src/proxy/wire/options.ts';

/** A TCP address of this machine; port 0 is any free one. */
export function local(port = 0, tls = false): Endpoint {
  return { kind: 'tcp', host: '127.0.0.1', port, tls };
}

export function portOf(endpoint: Endpoint | undefined): number {
  if (endpoint?.kind !== 'tcp') throw new Error('no port');
  return endpoint.port;
}

/** Options of a wire with one pair, plain but for what is given. */
export function wireOptions({
  listen = local(),
  target,
  ...rest
}: Partial<WireOptions> & { listen?: Endpoint; target: Endpoint }): WireOptions {
  return {
    pairs: [{ listen, target }],
    reusePort: false,
    maxConnections: 1_000,
    refused: 'reset',
    tls: null,
    upstreamTls: null,
    acceptProxyProtocol: false,
    sendProxyProtocol: null,
    ...rest,
  };
}
