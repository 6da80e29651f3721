import { once } from 'node:events';
import { connect, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import type { Notice } from '../../src/core/ports.ts';
import type { Endpoint } from '../../src/proxy/net/endpoint.ts';
import type { Border } from '../../src/proxy/tap/border.ts';
import { Counters } from '../../src/proxy/tap/counters.ts';
import type { RecorderClient } from '../../src/proxy/tap/recorder-client.ts';
import { TcpProxy, type WireOptions } from '../../src/proxy/tcp/tcp-proxy.ts';
import { afterwards } from './leftovers.ts';
import { tapSide } from './tap-side.ts';

/** A TCP address of this machine; port 0 means any free port. */
export function local(port = 0, tls = false): Endpoint {
  return { kind: 'tcp', host: '127.0.0.1', port, tls };
}

export function portOf(endpoint: Endpoint | undefined): number {
  if (endpoint?.kind !== 'tcp') throw new Error('no port');
  return endpoint.port;
}

export interface PlainWire extends Partial<WireOptions> {
  readonly listen?: Endpoint;
  readonly target?: Endpoint;
  /** Clock of the recording. */
  readonly clock?: Clock;
  readonly onTapFailure?: (error: unknown) => void;
}

/** Options of a wire with one pair, plain except for the given ones. */
export function wireOptions({
  listen = local(),
  target = local(9),
  ...rest
}: Omit<PlainWire, 'clock' | 'onTapFailure'>): WireOptions {
  return {
    pairs: [{ listen, target }],
    maxConnections: 1_000,
    refused: 'reset',
    connectRetryMs: 0,
    refuseWhenDown: false,
    tls: null,
    upstreamTls: null,
    acceptProxyProtocol: false,
    sendProxyProtocol: null,
    ...rest,
  };
}

/** A listening wire. It is closed when the test ends. */
export interface WireStage {
  readonly bound: readonly Endpoint[];
  /** Port of the first pair; 0 if that is a unix socket. */
  readonly port: number;
  readonly ledger: Counters;
  readonly link: RecorderClient;
  readonly border: Border;
  readonly forwarder: TcpProxy;
  readonly notices: Notice[];
}

export async function startWire(options: PlainWire): Promise<WireStage> {
  const ledger = new Counters();
  const { clock = systemClock, onTapFailure = () => undefined, ...wire } = options;
  const { link, border } = tapSide({ clock, counters: ledger, onTapFailure });
  const notices: Notice[] = [];
  const forwarder = new TcpProxy(wireOptions(wire), border, (notice) => void notices.push(notice));
  const bound = await forwarder.listen();
  afterwards(() => forwarder.drain(0));
  const port = bound[0]?.kind === 'tcp' ? bound[0].port : 0;
  return { bound, port, ledger, link, border, forwarder, notices };
}

/** Starts a server that parses nothing and passes each socket to the test. @returns its port, or 0 for a path */
export async function upstreamServer(onSocket: (socket: Socket) => void, path?: string): Promise<number> {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    onSocket(socket);
  }).listen(path === undefined ? { port: 0, host: '127.0.0.1' } : { path });
  await once(server, 'listening');
  afterwards(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : 0;
}

/** A connected client. It is closed when the test ends. */
export async function client(to: number | NetConnectOpts): Promise<Socket> {
  const where = typeof to === 'number' ? { port: to, host: '127.0.0.1' } : to;
  const socket = connect({ ...where, allowHalfOpen: true });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  afterwards(() => socket.destroy());
  return socket;
}

/** All bytes until the other side ends. This side stays open. */
export async function everything(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(socket, 'end');
  return Buffer.concat(chunks);
}

/** The error that ends a socket. */
export function failure(socket: Socket): Promise<NodeJS.ErrnoException> {
  return new Promise((resolve) => socket.once('error', resolve));
}
