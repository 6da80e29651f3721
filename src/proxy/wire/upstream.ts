import { connect, isIP, type Socket } from 'node:net';
import { type SecureContext, connect as secureConnect } from 'node:tls';
import { WIRE } from '../../core/limits.ts';
import type { Endpoint } from '../endpoint.ts';
import { Inlet, type Intake } from './inlet.ts';
import { PassingSide } from './passing-side.ts';

/**
 * Of the sockets on both sides. Their peers' own probing ends at us, so that a peer that vanished without a word
 * is noticed here or never.
 */
export const SOCKET_OPTIONS = {
  allowHalfOpen: true,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: WIRE.keepAliveMs,
} as const;

/** How connections to targets that speak TLS are made. */
export interface UpstreamSecurity {
  readonly context: SecureContext;
  readonly serverName: string | null;
  readonly verify: boolean;
}

export interface UpstreamOptions {
  readonly security: UpstreamSecurity | null;
  /** What goes out before anything else, TLS included; null for nothing. */
  readonly preamble: Buffer | null;
  /** What the client agreed to speak; null where it was not asked. */
  readonly protocol: string | null;
}

/** A connection to a target that is on its way. */
export interface Upstream {
  readonly side: PassingSide;
  /** The event of its stream that says it is there. */
  readonly ready: 'connect' | 'secureConnect';
}

/** Begins to connect; what is written meanwhile waits. */
export function openUpstream(target: Endpoint, intake: Intake, options: UpstreamOptions): Upstream {
  const { security, preamble } = options;
  if (target.kind === 'tcp' && target.tls && security) return openSecure(target, security, options);
  const inlet = new Inlet(intake);
  const socket = connectTo(target, inlet);
  if (preamble) socket.write(preamble);
  return { side: new PassingSide(socket, socket, target.kind === 'tcp', inlet), ready: 'connect' };
}

function openSecure(
  target: Extract<Endpoint, { kind: 'tcp' }>,
  security: UpstreamSecurity,
  options: UpstreamOptions,
): Upstream {
  const socket = connectTo(target, null);
  if (options.preamble) socket.write(options.preamble);
  const { context, serverName, verify } = security;
  const name = serverName ?? (isIP(target.host) === 0 ? target.host : null);
  const stream = secureConnect({
    socket,
    secureContext: context,
    // The name that a certificate is held against where none is asked for.
    host: target.host,
    ...(name === null ? {} : { servername: name }),
    rejectUnauthorized: verify,
    // A wire cannot ask the client what it will speak over plain TCP; HTTP/1.1 is what can be recorded.
    ALPNProtocols: [options.protocol ?? 'http/1.1'],
  });
  return { side: new PassingSide(stream, socket, true, null), ready: 'secureConnect' };
}

function connectTo(target: Endpoint, inlet: Inlet | null): Socket {
  const where = target.kind === 'unix' ? { path: target.path } : { host: target.host, port: target.port };
  return connect({ ...where, ...SOCKET_OPTIONS, ...(inlet ? { onread: inlet.onread } : {}) });
}
