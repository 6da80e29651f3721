import type { Pair } from '../data-plane.ts';
import type { ProxyProtocolVersion } from '../proxy-protocol.ts';

/** What a forwarder of the wire plane is asked to do; plain data, because it travels between processes. */
export interface WireOptions {
  /** Each address that is listened on, with the one it is forwarded to. */
  readonly pairs: readonly Pair[];
  /** Whether other forwarders listen on the same ports and the kernel deals connections out among them. */
  readonly reusePort: boolean;
  /** Client connections at most, over all pairs of this process; more are turned away and counted. */
  readonly maxConnections: number;
  /** How a client is told that the upstream cannot be reached: by a reset, or by a 502 where one can be read. */
  readonly refused: 'reset' | '502';
  /** Certificate and key of the listen addresses that speak TLS; null where none does. */
  readonly tls: ListenerTls | null;
  /** How targets that speak TLS are verified; null for the defaults of the host. */
  readonly upstreamTls: UpstreamTls | null;
  /** Whether every client connection must begin with a PROXY protocol header (version 1 or 2). */
  readonly acceptProxyProtocol: boolean;
  /** Whether every upstream connection begins with one. */
  readonly sendProxyProtocol: ProxyProtocolVersion | null;
}

export interface ListenerTls {
  readonly certPath: string;
  readonly keyPath: string;
}

export interface UpstreamTls {
  /** Certificates that are trusted instead of the host's; null for the host's. */
  readonly caPath: string | null;
  /** The name that is asked for and verified; null for the host of the target. */
  readonly serverName: string | null;
  readonly verify: boolean;
}
