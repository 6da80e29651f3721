import { LIMITS } from '../../core/limits.ts';
import type { SharedOptions } from '../data-plane.ts';
import type { Endpoint } from '../net/endpoint.ts';

/** Which requests go to another server than the pair's own: by the whole path, or by how it begins. */
export interface GatewayRoute {
  readonly match: 'exact' | 'prefix';
  /** Begins with `/`. A prefix matches whole segments only: `/a` matches `/a` and `/a/b`, never `/ab`. */
  readonly path: string;
  readonly target: Endpoint;
  /** Takes the prefix off the path that the target sees. */
  readonly stripPrefix: boolean;
}

/** How long the gateway waits. All milliseconds; 0 waits for ever, where it is allowed. */
export interface GatewayTimeouts {
  /** For a connection to the upstream, TLS included; always limited. */
  readonly connectMs: number;
  /** From the end of the request to the first byte of the answer; 0: no limit, a queue at the model is no failure. */
  readonly firstByteMs: number;
  /** Between two bytes of an answer that has begun, or of a request; 0: no limit. */
  readonly idleMs: number;
  /** For the exchange as a whole; 0: no limit. */
  readonly totalMs: number;
  /** For a client to send a whole request head, and to send a whole request. */
  readonly headersMs: number;
  readonly requestMs: number;
  /** How long an idle client connection is kept; above the load balancer's own limit, or requests race its end. */
  readonly keepAliveMs: number;
}

/** What a gateway is asked to do. A request that no route takes goes to the target of the pair it came in by. */
export interface GatewayOptions extends SharedOptions {
  /** The longest path that matches wins; of equal ones the exact one. */
  readonly routes: readonly GatewayRoute[];
  /** Sets X-Forwarded-For, -Proto and -Host, X-Real-IP and Forwarded, replacing what the client said. */
  readonly forwardedHeaders: boolean;
  /** Lets connections be upgraded to WebSocket. Without it such a request is served as an ordinary one. */
  readonly websocket: boolean;
  /** Requests under way at once; one more is answered 503. */
  readonly maxInFlight: number;
  /** Answers 403 to traffic that carries the replay marker. */
  readonly refuseMarked: boolean;
  readonly timeouts: GatewayTimeouts;
  /** Whether a connection to the upstream serves more than one request. */
  readonly upstreamReuse: boolean;
  /** How long an idle upstream connection is kept: below the model server's own limit. */
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

/** Everything but where it listens and forwards to. */
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

/** Request and response heads up to this size. */
export const GATEWAY_HEAD_BYTES = 64 * 1024;
