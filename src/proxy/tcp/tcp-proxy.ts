import { connect, createServer, isIP, type Server, type Socket } from 'node:net';
import { type SecureContext, connect as secureConnect, TLSSocket } from 'node:tls';
import { type Clock, systemClock } from '../../core/clock.ts';
import { WIRE } from '../../core/limits.ts';
import type { Notice } from '../../core/ports.ts';
import {
  type ConnectionFailure,
  DataPlane,
  type Pair,
  type SharedOptions,
  type UpstreamTls,
} from '../data-plane.ts';
import { type Endpoint, formatEndpoint, placeOfTarget, speaksTls } from '../net/endpoint.ts';
import { PausedPeers, PeerSocket } from '../net/peer-socket.ts';
import {
  type ProxyHeader,
  type ProxyProtocolVersion,
  plainAddress,
  readProxyHeader,
  writeProxyHeader,
} from '../net/proxy-protocol.ts';
import { listenerFiles, type TlsFiles, upstreamFiles } from '../net/tls-files.ts';
import { failureOf, isRefusal, lacksCertificate, UpstreamNotice } from '../net/upstream-notice.ts';
import type { Border } from '../tap/border.ts';
import { type ConnectionHost, ProxiedConnection, type Upstream } from './connection.ts';
import { TargetWatch } from './target-watch.ts';

export interface WireOptions extends SharedOptions {
  /** What a client gets if the upstream is unreachable: a reset, or a 502 if the client can read one. */
  readonly refused: 'reset' | '502';
  /** How long a client waits for an upstream that refused its connection; 0: not at all. */
  readonly connectRetryMs: number;
  /** Whether to stop listening on an address while its upstream refuses connections. */
  readonly refuseWhenDown: boolean;
  /** Whether every client connection must begin with a PROXY protocol header (version 1 or 2). */
  readonly acceptProxyProtocol: boolean;
  /** Whether every upstream connection begins with one. */
  readonly sendProxyProtocol: ProxyProtocolVersion | null;
}

/**
 * Options of the sockets on both sides. The keep-alive probes of one peer do not reach the other peer. So only we can
 * notice a peer that vanished silently.
 */
export const SOCKET_OPTIONS = {
  allowHalfOpen: true,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: WIRE.keepAliveMs,
} as const;

/**
 * The wire plane: accepts connections, and opens one connection to the target for each. It parses nothing, so it can
 * neither change, reject, reorder nor delay a message.
 */
export class TcpProxy extends DataPlane<WireOptions> {
  readonly #border: Border;
  /** Clients whose traffic has not begun. */
  readonly #admitting = new Set<Socket>();
  readonly #open = new Set<ProxiedConnection>();
  /** The host of each pair's connections. */
  readonly #hosts: readonly ConnectionHost[];
  /** The watch of each pair's target. */
  readonly #watches: readonly TargetWatch[];
  #certificate: TlsFiles | null = null;
  #trusted: TlsFiles | null = null;

  constructor(
    options: WireOptions,
    border: Border,
    notify: (notice: Notice) => void = () => undefined,
    clock: Clock = systemClock,
  ) {
    super(options, notify);
    this.#border = border;
    const paused = new PausedPeers();
    this.#watches = options.pairs.map((pair, index) => this.#watchOf(pair, index, clock));
    this.#hosts = options.pairs.map(({ target }, index) => this.#hostOf(target, index, paused, clock));
  }

  /** A wire cannot end a kept-alive connection safely, so connections that are cut at a deadline are counted. */
  protected cutOpen(): void {
    for (const connection of this.#open) connection.cut();
    for (const socket of this.#admitting) socket.destroy();
  }

  protected get openCount(): number {
    return this.#open.size + this.#admitting.size;
  }

  protected prepare(): void {
    const { tls, upstreamTls, pairs } = this.options;
    if (tls) this.#certificate = this.#watch(listenerFiles(tls));
    if (pairs.some(({ target }) => speaksTls(target)))
      this.#trusted = this.#watch(upstreamFiles(upstreamTls));
  }

  #watchOf({ target }: Pair, index: number, clock: Clock): TargetWatch {
    const { connectRetryMs: retryMs, refuseWhenDown } = this.options;
    const changed = (accepts: boolean) => {
      const message = accepts
        ? 'the target accepts connections: its address is listened on again'
        : 'the target refuses connections: its address is not listened on until it accepts';
      this.notify({ level: accepts ? 'info' : 'warn', message, fields: { target: formatEndpoint(target) } });
      this.setListening(index, accepts);
    };
    const watch = new TargetWatch({ target, retryMs, changed: refuseWhenDown ? changed : null }, clock);
    this.watched.push(watch);
    return watch;
  }

  override async listen(): Promise<readonly Endpoint[]> {
    const bound = await super.listen();
    for (const watch of this.#watches) watch.start();
    return bound;
  }

  #watch(files: TlsFiles): TlsFiles {
    files.watch(this.notify);
    this.watched.push(files);
    return files;
  }

  #hostOf(endpoint: Endpoint, index: number, paused: PausedPeers, clock: Clock): ConnectionHost {
    const { refused } = this.options;
    const clientsAre = refused === '502' ? 'answered 502' : 'reset';
    const notice = new UpstreamNotice(endpoint, clientsAre, this.notify, clock);
    const look = (error: Error) => {
      // Otherwise the watch reports it when it stops listening.
      if (!this.options.refuseWhenDown || !isRefusal(error)) notice.look(error);
    };
    return {
      paused,
      refused,
      target: this.#watches[index] as TargetWatch,
      failed: (failure, error) => {
        this.#count(failure && failureOf(failure, error));
        if (error) look(error);
      },
      look,
      closed: (closed) => {
        this.#open.delete(closed);
        this.noteIdle();
      },
    };
  }

  protected serverOf({ listen, target }: Pair, index: number): Server {
    const secure = speaksTls(listen);
    const admits = secure || this.options.acceptProxyProtocol;
    return createServer(SOCKET_OPTIONS, (socket) => {
      if (!this.mayEnter(socket)) return;
      if (admits) void this.#admit(socket, secure, target, index);
      else {
        const side = new PeerSocket(socket, socket, listen.kind === 'tcp');
        this.#begin({ side, header: null, protocol: null }, target, index);
      }
    });
  }

  /** Never rejects: any failure of the socket is a result. */
  async #admit(socket: Socket, secure: boolean, target: Endpoint, pair: number): Promise<void> {
    this.#admitting.add(socket);
    const certificate = secure ? this.#certificate : null;
    const admitted = await admit(socket, this.options.acceptProxyProtocol, certificate);
    this.#admitting.delete(socket);
    if (admitted !== null && typeof admitted === 'object') this.#begin(admitted, target, pair);
    else if (admitted) this.#count(admitted);
    this.noteIdle();
  }

  #begin(client: Admitted, target: Endpoint, pair: number): void {
    const { socket } = client.side;
    const preamble = this.#preamble(socket, client.header);
    const reach = () =>
      openUpstream(target, { security: this.#security(), preamble, protocol: client.protocol });
    const peer = client.header?.source?.host ?? socket.remoteAddress ?? null;
    const origin = { peer: peer === null ? null : plainAddress(peer), pair, clientConnection: null };
    const host = this.#hosts[pair] as ConnectionHost;
    this.#open.add(new ProxiedConnection(client.side, reach, this.#border.openWire(origin), host));
  }

  #security(): UpstreamOptions['security'] {
    if (!this.#trusted) return null;
    const { serverName = null, verify = true } = this.options.upstreamTls ?? {};
    return { context: this.#trusted.context, serverName, verify };
  }

  /** The PROXY protocol header for an upstream: from the client's own header, or else from its socket. */
  #preamble(socket: Socket, received: ProxyHeader | null): Buffer | null {
    if (this.options.sendProxyProtocol === null) return null;
    const { remoteAddress, remotePort = 0, localAddress, localPort = 0 } = socket;
    return writeProxyHeader(this.options.sendProxyProtocol, {
      source: received?.source ?? (remoteAddress ? { host: remoteAddress, port: remotePort } : null),
      destination: received?.destination ?? (localAddress ? { host: localAddress, port: localPort } : null),
    });
  }

  /** `null`: there was no file descriptor for it, which is no fault of the upstream. */
  #count(failure: ConnectionFailure | null): void {
    if (failure === null) this.turnAway();
    else this.noteFailure(failure);
  }
}

interface Admitted {
  readonly side: PeerSocket;
  /** Its PROXY protocol header; null if none was required. */
  readonly header: ProxyHeader | null;
  /** The protocol that was agreed on in TLS; null without one. */
  readonly protocol: string | null;
}

/**
 * Reads a client's PROXY protocol header, and then does its TLS handshake, if these are required.
 * @returns the admitted client, or why it was sent away; null if it left before it had sent anything
 */
export async function admit(
  socket: Socket,
  acceptProxyProtocol: boolean,
  certificate: TlsFiles | null,
): Promise<Admitted | ConnectionFailure | null> {
  // Until another listener is added. An error is followed by a close, which the steps below wait for.
  socket.on('error', () => undefined);
  let header: ProxyHeader | null = null;
  if (acceptProxyProtocol) {
    const read = await readHeader(socket);
    if (read === null || typeof read === 'string') return sentAway(socket, read);
    header = read;
  }
  const stream = certificate === null ? socket : await handshake(socket, certificate);
  if (stream === null || typeof stream === 'string') return sentAway(socket, stream);
  const agreed = stream instanceof TLSSocket ? stream.alpnProtocol : null;
  if (stream.destroyed) return null;
  return {
    side: new PeerSocket(stream, socket, socket.remoteAddress !== undefined),
    header,
    protocol: agreed || null,
  };
}

function sentAway(socket: Socket, failure: ConnectionFailure | null): ConnectionFailure | null {
  socket.destroy();
  return failure;
}

function readHeader(socket: Socket): Promise<ProxyHeader | 'proxy_header' | null> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0);
    const settle = (outcome: ProxyHeader | 'proxy_header' | null) => {
      clearTimeout(timer);
      socket.off('data', take).off('end', gone).off('close', gone).pause();
      resolve(outcome);
    };
    const gone = () => settle(bytes.length === 0 ? null : 'proxy_header');
    const take = (chunk: Buffer) => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      const reading = readProxyHeader(bytes);
      if (reading.kind === 'more') return;
      if (reading.kind === 'malformed') settle('proxy_header');
      else {
        settle(reading.header);
        if (reading.bytes < bytes.length) socket.unshift(bytes.subarray(reading.bytes));
      }
    };
    const timer = setTimeout(() => settle('proxy_header'), WIRE.proxyHeaderMs);
    socket.on('data', take).once('end', gone).once('close', gone);
  });
}

/**
 * Chooses HTTP/1.1 if the client offers it: what the upstream speaks is not known yet, and nearly all of them speak
 * that. A client that offers only other protocols (gRPC, say) gets its first one: the upstream probably speaks what its
 * clients speak.
 */
function chooseProtocol({ protocols }: { protocols: string[] }): string | undefined {
  return protocols.includes('http/1.1') ? 'http/1.1' : protocols[0];
}

type Handshake = TLSSocket | 'tls_handshake' | 'client_certificate' | null;

function handshake(socket: Socket, { context, requiresClient }: TlsFiles): Promise<Handshake> {
  return new Promise((resolve) => {
    const stream = new TLSSocket(socket, {
      isServer: true,
      secureContext: context,
      ALPNCallback: chooseProtocol,
      requestCert: requiresClient,
      rejectUnauthorized: requiresClient,
    });
    let failure: 'tls_handshake' | 'client_certificate' = 'tls_handshake';
    const settle = (outcome: Handshake) => {
      clearTimeout(timer);
      stream.off('end', gone).off('close', gone);
      resolve(outcome);
    };
    const gone = () => settle(socket.bytesRead === 0 ? null : failure);
    const timer = setTimeout(() => settle('tls_handshake'), WIRE.handshakeMs);
    stream.on('error', (error) => {
      if (lacksCertificate(error)) failure = 'client_certificate';
    });
    stream
      .once('end', gone)
      .once('close', gone)
      .once('secure', () => settle(requiresClient && !isVerified(stream) ? 'client_certificate' : stream));
  });
}

/** Whether a client showed a certificate of the required authority. Only Node's own servers ask for it publicly. */
function isVerified(stream: TLSSocket): boolean {
  const { _handle: handle } = stream as unknown as { _handle?: { verifyError?(): Error | null } | null };
  // A Node without it must refuse everybody, not admit anybody.
  return handle?.verifyError !== undefined && !handle.verifyError();
}

interface UpstreamOptions {
  /** How a target that speaks TLS is verified; null if none does. */
  readonly security:
    | ({ readonly context: SecureContext } & Pick<UpstreamTls, 'serverName' | 'verify'>)
    | null;
  /** Bytes that are sent before anything else, even before TLS; null for none. */
  readonly preamble: Buffer | null;
  /** The protocol that was agreed on with the client; null if none was negotiated. */
  readonly protocol: string | null;
}

/** Begins to connect. Bytes that are written meanwhile wait. */
export function openUpstream(target: Endpoint, { security, preamble, protocol }: UpstreamOptions): Upstream {
  const socket = connect({ ...placeOfTarget(target), ...SOCKET_OPTIONS });
  if (preamble) socket.write(preamble);
  if (target.kind === 'unix' || !target.tls || security === null)
    return { side: new PeerSocket(socket, socket, target.kind === 'tcp'), ready: 'connect' };
  const name = security.serverName ?? (isIP(target.host) === 0 ? target.host : null);
  const stream = secureConnect({
    socket,
    secureContext: security.context,
    // The name that the certificate is checked against if no server name is requested.
    host: target.host,
    ...(name === null ? {} : { servername: name }),
    rejectUnauthorized: security.verify,
    // Over plain TCP, a wire cannot ask the client for its protocol. Nearly all targets speak HTTP/1.1.
    ALPNProtocols: [protocol ?? 'http/1.1'],
  });
  return { side: new PeerSocket(stream, socket, true), ready: 'secureConnect' };
}
