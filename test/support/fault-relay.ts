import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { Agent, request } from 'undici';
import { FaultControl } from '../../src/app/fault-control.ts';
import {
  FAULTS_OPTIONS,
  type RunningFaults,
  resolveFaultsOptions,
  startFaults,
} from '../../src/app/fault-relay.ts';
import { byProgram, type StatedOptions } from '../../src/core/options.ts';
import { afterwards } from './leftovers.ts';
import { RawServer } from './raw-server.ts';

const SILENT = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** A relay in this process. It ends with the test. */
export interface RelayUnderTest {
  readonly running: RunningFaults;
  readonly control: FaultControl;
  readonly origin: string;
  /** Port of its first proxy. */
  readonly port: number;
}

/** Starts a relay with one proxy, `dep`, unless other listeners are given. */
export async function startRelay(
  upstream: string,
  stated: StatedOptions<typeof FAULTS_OPTIONS> = {},
): Promise<RelayUnderTest> {
  const asked = {
    listen: ['dep=127.0.0.1:0'],
    target: [upstream],
    control: '127.0.0.1:0',
    ...stated,
  };
  const running = await startFaults(resolveFaultsOptions(byProgram(FAULTS_OPTIONS, asked)), SILENT);
  afterwards(() => running.stop());
  const [first] = running.proxies;
  return {
    running,
    control: new FaultControl(running.control),
    origin: `http://${running.control}`,
    port: Number(first?.listen.split(':').at(-1) ?? 0),
  };
}

/** A server of plain sockets on a free port. It ends with the test. */
export async function plainServer(serve: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    serve(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  afterwards(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as { port: number }).port;
}

/** A server that sends back what it gets, and ends when the client ends. */
export async function echoServer(): Promise<number> {
  return await plainServer((socket) => socket.pipe(socket));
}

/** A client of plain sockets that keeps what it received and how it ended. */
export class PlainClient {
  readonly socket: Socket;
  readonly chunks: Buffer[] = [];
  readonly ended: Promise<'end' | string>;

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    afterwards(() => this.socket.destroy());
    this.socket.on('data', (bytes: Buffer) => this.chunks.push(bytes));
    this.ended = new Promise((resolve) => {
      this.socket.once('end', () => resolve('end'));
      this.socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
      this.socket.once('close', () => resolve('close'));
    });
  }

  static async to(port: number): Promise<PlainClient> {
    const client = new PlainClient(port);
    await once(client.socket, 'connect');
    return client;
  }

  get received(): Buffer {
    return Buffer.concat(this.chunks);
  }

  /** Sends bytes and waits for the same number of received bytes. @returns how long that took, ms */
  async echo(bytes: Buffer): Promise<number> {
    const wanted = this.received.length + bytes.length;
    const startNs = process.hrtime.bigint();
    this.socket.write(bytes);
    while (this.received.length < wanted) await once(this.socket, 'data');
    return Number(process.hrtime.bigint() - startNs) / 1e6;
  }
}

/** A server behind a relay, and a client that sends to it on one connection. */
export async function httpBehindRelay() {
  const server = await RawServer.start();
  const relay = await startRelay(`127.0.0.1:${server.port}`);
  const agent = new Agent({ connections: 1, pipelining: 1 });
  const ask = async (body?: string) => {
    const start = performance.now();
    const response = await request(`http://127.0.0.1:${relay.port}/x`, {
      dispatcher: agent,
      method: body === undefined ? 'GET' : 'POST',
      ...(body !== undefined && { body }),
    });
    const text = await response.body.text();
    return { status: response.statusCode, text, ms: performance.now() - start };
  };
  return { ...relay, server, ask };
}
