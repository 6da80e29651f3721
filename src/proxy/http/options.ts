import { LIMITS } from '../../core/limits.ts';
import type { SharedOptions } from '../data-plane.ts';
import type { Endpoint } from '../net/endpoint.ts';

/** Sends some requests to another server than the pair's target: by their whole path, or by its prefix. */
export interface GatewayRoute {
  readonly match: 'exact' | 'prefix';
  /** Begins with `/`. A prefix matches whole segments only: `/a` matches `/a` and `/a/b`, never `/ab`. */
  readonly path: string;
  readonly target: Endpoint;
  /** Takes the prefix off the path that the target sees. */
  readonly stripPrefix: boolean;
}

/** How long the gateway waits. All in milliseconds; 0 waits for ever, where it is allowed. */
export interface GatewayTimeouts {
  /** For a connection to the upstream, TLS included; always limited. */
  readonly connectMs: number;
  /**
   * From the end of the request to the first byte of the answer. 0: no limit, because a queue at the model is no
   * failure.
   */
  readonly firstByteMs: number;
  /** Between two bytes of an answer that has begun, or of a request; 0: no limit. */
  readonly idleMs: number;
  /** For the exchange as a whole; 0: no limit. */
  readonly totalMs: number;
  /** Time for a client to send a whole request head, and to send a whole request. */
  readonly headersMs: number;
  readonly requestMs: number;
  /**
   * How long an idle client connection is kept. It must exceed the load balancer's limit, or a request may meet the
   * close.
   */
  readonly keepAliveMs: number;
}

/** Options of a gateway. A request that matches no route goes to the target of its pair. */
export interface GatewayOptions extends SharedOptions {
  /** The longest matching path wins; of two equal paths, the exact one. */
  readonly routes: readonly GatewayRoute[];
  /** Sets X-Forwarded-For, -Proto and -Host, X-Real-IP and Forwarded, replacing what the client said. */
  readonly forwardedHeaders: boolean;
  /** Lets connections be upgraded to WebSocket. Without it such a request is served as an ordinary one. */
  readonly websocket: boolean;
  /** Most requests in flight. One more is answered with 503. */
  readonly maxInFlight: number;
  /** Answers 403 to traffic that carries the replay marker. */
  readonly refuseMarked: boolean;
  readonly timeouts: GatewayTimeouts;
  /** Whether a connection to the upstream serves more than one request. */
  readonly upstreamReuse: boolean;
  /** How long an idle upstream connection is kept. It must be below the model server's own limit. */
  readonly freeSocketMs: number;
}

export const GATEWAY_TIMEOUTS: GatewayTimeouts = Object.freeze({
  connectMs: 10_000,
  firstByteMs: 0,
  idleMs: 300_000,
  totalMs: 0,
  headersMs: 15_000,
  requestMs: 300_000,
  keepAliveMs: 75_000,
});

/** All options except the addresses. */
export const GATEWAY_DEFAULTS: Omit<GatewayOptions, 'pairs'> = Object.freeze({
  maxConnections: LIMITS.connections,
  routes: [],
  forwardedHeaders: false,
  websocket: false,
  maxInFlight: 10_000,
  refuseMarked: false,
  timeouts: GATEWAY_TIMEOUTS,
  upstreamReuse: true,
  freeSocketMs: 1_500,
  tls: null,
  upstreamTls: null,
});

/** The largest request or response head. */
export const GATEWAY_HEAD_BYTES = 64 * 1024;
