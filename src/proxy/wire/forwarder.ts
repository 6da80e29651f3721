import { createServer, type Server, type Socket } from 'node:net';
import { type Clock, systemClock } from '../../core/clock.ts';
import { LinkedList } from '../../core/linked-list.ts';
import { Roster } from '../../core/roster.ts';
import type { ConnectionCounts, ConnectionFailure, DataPlane, Notice, Pair } from '../data-plane.ts';
import type { Endpoint } from '../endpoint.ts';
import { type Listening, listenOn } from '../listening.ts';
import { type ProxyHeader, plainAddress, writeProxyHeader } from '../proxy-protocol.ts';
import type { RecorderLink } from '../recorder-link.ts';
import { failureOf, TlsFailureNotice } from '../tls-failure-notice.ts';
import { TlsFiles } from '../tls-files.ts';
import { type Admitted, admit } from './admission.ts';
import { DeafSides } from './deaf-sides.ts';
import { Intake, readThrough } from './inlet.ts';
import { Link, type LinkHost } from './link.ts';
import type { WireOptions } from './options.ts';
import { PassingSide } from './passing-side.ts';
import { openUpstream, SOCKET_OPTIONS, type UpstreamSecurity } from './upstream.ts';

/**
 * The wire plane: accepts connections and ties each to one of its own to the target. It parses nothing, so it
 * can neither change, reject, reorder nor delay a message.
 */
export class Forwarder implements DataPlane {
  readonly #options: WireOptions;
  readonly #link: RecorderLink;
  readonly #notify: (notice: Notice) => void;
  readonly #servers: Server[];
  readonly #listening: Listening[] = [];
  /** Clients whose traffic has not begun. */
  readonly #admitting = new LinkedList<Socket>();
  readonly #links = new Roster<Link>();
  /** Of the links of each pair. */
  readonly #hosts: readonly LinkHost[];
  readonly #intake: Intake;
  readonly #failed: Partial<Record<ConnectionFailure, number>> = {};
  #certificate: TlsFiles | null = null;
  #trusted: TlsFiles | null = null;
  #turnedAway = 0;
  #cut = 0;
  #onIdle: (() => void) | null = null;

  /** @param notify is told what the log should say, such as that a certificate was replaced */
  constructor(
    options: WireOptions,
    link: RecorderLink,
    notify: (notice: Notice) => void = () => undefined,
    clock: Clock = systemClock,
  ) {
    this.#options = options;
    this.#link = link;
    this.#notify = notify;
    this.#servers = options.pairs.map((pair, index) => this.#serverOf(pair, index));
    this.#intake = new Intake(link.queue.pool);
    const deaf = new DeafSides();
    this.#hosts = options.pairs.map(({ target }) => this.#hostOf(target, deaf, clock));
  }

  get connections(): ConnectionCounts {
    return { open: this.#open, turnedAway: this.#turnedAway, failed: { ...this.#failed } };
  }

  /** @throws AppError LISTEN_FAILED, or OPTION_INVALID for a certificate that is of no use */
  async listen(): Promise<readonly Endpoint[]> {
    try {
      this.#readCertificates();
      for (const [index, { listen }] of this.#options.pairs.entries()) {
        const server = this.#servers[index] as Server;
        this.#listening.push(await listenOn(server, listen, { reusePort: this.#options.reusePort }));
      }
    } catch (error) {
      this.#close();
      this.#remove();
      throw error;
    }
    return this.#listening.map(({ endpoint }) => endpoint);
  }

  /**
   * Stops accepting and forwards until either peer of each connection closes it, or the deadline ends. A wire
   * cannot end a kept-alive connection safely, so what the deadline cuts is counted.
   * @returns how many connections were cut
   */
  async drain(deadlineMs: number): Promise<number> {
    this.#close();
    if (this.#open > 0) await this.#idle(deadlineMs);
    this.#remove();
    return this.#cut;
  }

  async #idle(deadlineMs: number): Promise<void> {
    const idle = new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
    const timer = setTimeout(() => this.cut(), deadlineMs);
    await idle;
    clearTimeout(timer);
  }

  cut(): void {
    this.#cut += this.#open;
    this.#links.each((link) => link.cut());
    for (const socket of this.#admitting) socket.destroy();
  }

  get #open(): number {
    return this.#links.size + this.#admitting.size;
  }

  #noteIdle(): void {
    if (this.#open === 0) this.#onIdle?.();
  }

  #close(): void {
    for (const server of this.#servers) server.close();
    this.#certificate?.close();
    this.#trusted?.close();
  }

  #remove(): void {
    for (const listening of this.#listening.splice(0)) listening.remove();
  }

  #readCertificates(): void {
    const { tls, upstreamTls, pairs } = this.#options;
    if (tls) {
      this.#certificate = new TlsFiles({ cert: tls.certPath, key: tls.keyPath }, '--tls-cert, --tls-key');
      this.#certificate.watch(this.#notify);
    }
    if (pairs.some(({ target }) => target.kind === 'tcp' && target.tls)) {
      const ca = upstreamTls?.caPath ?? null;
      this.#trusted = new TlsFiles(ca === null ? {} : { ca }, '--upstream-ca');
      this.#trusted.watch(this.#notify);
    }
  }

  #hostOf(endpoint: Endpoint, deaf: DeafSides, clock: Clock): LinkHost {
    const { refused } = this.#options;
    const clientsAre = refused === '502' ? 'answered 502' : 'reset';
    const notice = new TlsFailureNotice(endpoint, clientsAre, this.#notify, clock);
    return {
      deaf,
      refused,
      failed: (failure, error) => {
        this.#count(failure && failureOf(failure, error));
        if (error) notice.look(error);
      },
      closed: (closed) => {
        this.#links.remove(closed);
        this.#noteIdle();
      },
    };
  }

  #serverOf(pair: Pair, index: number): Server {
    const { acceptProxyProtocol, maxConnections } = this.#options;
    const secure = pair.listen.kind === 'tcp' && pair.listen.tls;
    const admits = secure || acceptProxyProtocol;
    const server = createServer({ ...SOCKET_OPTIONS, pauseOnConnect: !admits }, (socket) => {
      if (this.#open >= maxConnections) {
        this.#turnedAway += 1;
        socket.destroy();
      } else if (admits) void this.#admit(socket, secure, pair.target, index);
      else this.#begin(this.#plain(socket, pair.listen), pair.target, index);
    });
    // A connection that could not be accepted (no descriptor left, say) must not end those that could.
    server.on('error', () => {
      this.#turnedAway += 1;
    });
    return server;
  }

  /** A client that needs no admission. */
  #plain(accepted: Socket, listen: Endpoint): Admitted {
    const { socket, inlet } = readThrough(this.#intake, accepted);
    const side = new PassingSide(socket, socket, listen.kind === 'tcp', inlet);
    return { side, header: null, protocol: null };
  }

  /** Never rejects: whatever happens to the socket is an outcome. */
  async #admit(socket: Socket, secure: boolean, target: Endpoint, pair: number): Promise<void> {
    const admitting = this.#admitting.push(socket);
    const admitted = await admit(socket, {
      acceptProxyProtocol: this.#options.acceptProxyProtocol,
      secureContext: secure ? (this.#certificate?.context ?? null) : null,
    });
    this.#admitting.remove(admitting);
    if (admitted !== null && typeof admitted === 'object') this.#begin(admitted, target, pair);
    else if (admitted) this.#count(admitted);
    this.#noteIdle();
  }

  #begin(client: Admitted, target: Endpoint, pair: number): void {
    const { socket } = client.side;
    const upstream = openUpstream(target, this.#intake, {
      security: this.#security(),
      preamble: this.#preamble(socket, client.header),
      protocol: client.protocol,
    });
    const peer = client.header?.source?.host ?? socket.remoteAddress ?? null;
    const origin = { peer: peer === null ? null : plainAddress(peer), pair, clientConnection: null };
    this.#links.add(new Link(client.side, upstream, this.#link.open(origin), this.#hosts[pair] as LinkHost));
  }

  #security(): UpstreamSecurity | null {
    if (!this.#trusted) return null;
    const { serverName = null, verify = true } = this.#options.upstreamTls ?? {};
    return { context: this.#trusted.context, serverName, verify };
  }

  /** The PROXY protocol header for an upstream: what the client's own said, else what its socket says. */
  #preamble(socket: Socket, received: ProxyHeader | null): Buffer | null {
    if (this.#options.sendProxyProtocol === null) return null;
    const { remoteAddress, remotePort = 0, localAddress, localPort = 0 } = socket;
    return writeProxyHeader(this.#options.sendProxyProtocol, {
      source: received?.source ?? (remoteAddress ? { host: remoteAddress, port: remotePort } : null),
      destination: received?.destination ?? (localAddress ? { host: localAddress, port: localPort } : null),
    });
  }

  /** `null`: there was no descriptor for it, which is no fault of the upstream. */
  #count(failure: ConnectionFailure | null): void {
    if (failure === null) this.#turnedAway += 1;
    else this.#failed[failure] = (this.#failed[failure] ?? 0) + 1;
  }
}
