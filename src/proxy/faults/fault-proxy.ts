import { createServer, type Server, type Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import type { Notice } from '../../core/ports.ts';
import type { InjectedCounts, Toxic, ToxicStream } from '../../documents/faults.ts';
import type { AssemblyBudget } from '../../http1/budget.ts';
import { type Endpoint, formatEndpoint, speaksTls } from '../net/endpoint.ts';
import { type Listening, listenOn } from '../net/listen.ts';
import { type PausedPeers, PeerSocket } from '../net/peer-socket.ts';
import type { TlsFiles } from '../net/tls-files.ts';
import { admit, openUpstream, SOCKET_OPTIONS } from '../tcp/tcp-proxy.ts';
import { RelayedConnection, type RelayHost } from './relayed-connection.ts';
import { ActiveToxic } from './toxics.ts';

export interface RelayParts {
  readonly clock: Clock;
  readonly seed: number;
  readonly paused: PausedPeers;
  readonly budget: AssemblyBudget;
  /** Null if no listener speaks TLS. */
  readonly certificate: TlsFiles | null;
  /** Certificates to verify upstreams that speak TLS. */
  readonly trusted: TlsFiles | null;
  readonly serverName: string | null;
  readonly verify: boolean;
  mayEnter(): boolean;
  countsOf(proxy: string, toxic: Toxic | 'down'): InjectedCounts;
  notify(notice: Notice): void;
}

interface ProxyTraffic {
  readonly receivedBytes: Record<ToxicStream, number>;
  readonly sentBytes: Record<ToxicStream, number>;
  connections: number;
  turnedAway: number;
  unreachable: number;
  /** How often a direction reached the limit of held bytes. */
  throttled: number;
}

/**
 * Listens for the clients of one dependency. Each client gets its own upstream connection, through the active faults.
 */
export class FaultProxy {
  readonly name: string;
  /** The requested address, or the bound one once it listens. */
  listen: Endpoint;
  upstream: Endpoint;
  /** The lease under which it was switched off; null if there was none. */
  downBy: string | null = null;
  readonly traffic: ProxyTraffic = {
    receivedBytes: { upstream: 0, downstream: 0 },
    sentBytes: { upstream: 0, downstream: 0 },
    connections: 0,
    turnedAway: 0,
    unreachable: 0,
    throttled: 0,
  };
  readonly #parts: RelayParts;
  readonly #host: RelayHost;
  readonly #open = new Set<RelayedConnection>();
  readonly #admitting = new Set<Socket>();
  #toxics: ActiveToxic[] = [];
  #server: { readonly server: Server; readonly listening: Listening } | null = null;

  constructor(name: string, listen: Endpoint, upstream: Endpoint, parts: RelayParts) {
    this.name = name;
    this.listen = listen;
    this.upstream = upstream;
    this.#parts = parts;
    const { clock, paused, budget } = parts;
    this.#host = {
      clock,
      paused,
      budget,
      passed: (direction, read, written) => {
        this.traffic.receivedBytes[direction] += read;
        this.traffic.sentBytes[direction] += written;
      },
      throttled: () => {
        this.traffic.throttled += 1;
      },
      unreachable: (error) => {
        this.traffic.unreachable += 1;
        if (this.traffic.unreachable > 1) return;
        const fields = {
          proxy: name,
          upstream: formatEndpoint(this.upstream),
          reason: error?.message ?? 'timed out',
        };
        parts.notify({
          level: 'warn',
          message: 'an upstream cannot be reached; its clients are reset',
          fields,
        });
      },
      closed: (connection) => this.#open.delete(connection),
    };
  }

  get enabled(): boolean {
    return this.#server !== null;
  }

  get toxics(): readonly ActiveToxic[] {
    return this.#toxics;
  }

  get openConnections(): number {
    return this.#open.size + this.#admitting.size;
  }

  /** @throws AppError LISTEN_FAILED */
  async enable(): Promise<void> {
    if (this.#server) return;
    const server = createServer(SOCKET_OPTIONS, (socket) => this.#take(socket));
    const listening = await listenOn(server, this.listen);
    // A connection that cannot be accepted must not end the others.
    server.on('error', () => {
      this.traffic.turnedAway += 1;
    });
    this.#server = { server, listening };
    this.listen = listening.endpoint;
    this.downBy = null;
  }

  /** Refuses new clients and disconnects the others, like a dependency that is down. */
  disable(): void {
    const counts = this.#parts.countsOf(this.name, 'down');
    if (this.#server) {
      counts.connections += this.#open.size;
      counts.injected += Math.max(1, this.#open.size);
    }
    this.stop();
  }

  stop(): void {
    this.#server?.server.close();
    this.#server?.listening.remove();
    this.#server = null;
    for (const socket of this.#admitting) socket.destroy();
    for (const connection of this.#open) connection.close();
  }

  find(name: string): ActiveToxic | null {
    return this.#toxics.find(({ toxic }) => toxic.name === name) ?? null;
  }

  add(toxic: Toxic, lease: string | null): void {
    const active = this.#activate(toxic, lease);
    this.#toxics.push(active);
    for (const connection of this.#open) connection.add(active);
  }

  /** Gives a fault other attributes. It keeps its place in the list. */
  change(active: ActiveToxic, toxic: Toxic): void {
    const changed = this.#activate(toxic, active.lease);
    this.#toxics = this.#toxics.map((each) => (each === active ? changed : each));
    for (const connection of this.#open) {
      connection.remove(active, true);
      connection.add(changed);
    }
  }

  remove(active: ActiveToxic): void {
    this.#toxics = this.#toxics.filter((each) => each !== active);
    for (const connection of this.#open) connection.remove(active, false);
  }

  #activate(toxic: Toxic, lease: string | null): ActiveToxic {
    const { seed, clock } = this.#parts;
    const counts = this.#parts.countsOf(this.name, toxic);
    return new ActiveToxic(toxic, { seed, startedNs: clock.nowNs(), lease, counts });
  }

  #take(socket: Socket): void {
    if (!this.#parts.mayEnter()) {
      this.traffic.turnedAway += 1;
      socket.destroy();
    } else if (speaksTls(this.listen)) void this.#admit(socket);
    else this.#begin(new PeerSocket(socket, socket, this.listen.kind === 'tcp'), null);
  }

  /** Never rejects: any failure of the socket is a result. */
  async #admit(socket: Socket): Promise<void> {
    this.#admitting.add(socket);
    const admitted = await admit(socket, false, this.#parts.certificate);
    this.#admitting.delete(socket);
    if (admitted !== null && typeof admitted === 'object') this.#begin(admitted.side, admitted.protocol);
    else if (admitted !== null) this.traffic.turnedAway += 1;
  }

  #begin(client: PeerSocket, protocol: string | null): void {
    const { trusted, serverName, verify } = this.#parts;
    const security = trusted === null ? null : { context: trusted.context, serverName, verify };
    const upstream = openUpstream(this.upstream, { security, preamble: null, protocol });
    this.traffic.connections += 1;
    this.#open.add(new RelayedConnection(client, upstream, this.#host, this.#toxics));
  }
}
