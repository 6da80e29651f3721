import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import type { Notice } from '../../../src/core/ports.ts';
import { GATEWAY_DEFAULTS, GATEWAY_TIMEOUTS, type GatewayOptions } from '../../../src/proxy/http/options.ts';
import { ReverseProxy } from '../../../src/proxy/http/reverse-proxy.ts';
import { PipeServer } from '../../../src/proxy/recorder/pipe-server.ts';
import { Counters } from '../../../src/proxy/tap/counters.ts';
import { CountingSink } from '../../support/counting-sink.ts';
import { afterwards } from '../../support/leftovers.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { socketPair } from '../../support/socket-pair.ts';
import { tapSide } from '../../support/tap-side.ts';
import { makeContext } from '../recorder/harness.ts';

export type GatewayUnderTest = Awaited<ReturnType<typeof startGateway>>;

type Asked = Partial<Omit<GatewayOptions, 'timeouts'>> & { timeouts?: Partial<GatewayOptions['timeouts']> };

/** A gateway in front of a port, with a real recorder behind a real pipe and a sink that keeps what it is told. */
export async function startGateway(
  targetPort: number,
  asked: Asked = {},
  notify: (notice: Notice) => void = () => undefined,
  clock: Clock = systemClock,
) {
  const [forwarderEnd, recorderEnd] = await socketPair();
  const sink = new CountingSink();
  const ledger = new Counters();
  const { link, border } = tapSide({ clock: systemClock, counters: ledger });
  const recorder = new PipeServer({ sink, context: makeContext(), clock: systemClock });
  recorder.attach(recorderEnd);
  link.attach(forwarderEnd);
  const listen = { kind: 'tcp', host: '127.0.0.1', port: 0, tls: false } as const;
  const gateway = new ReverseProxy(
    {
      ...GATEWAY_DEFAULTS,
      pairs: [{ listen, target: tcp(targetPort) }],
      ...asked,
      timeouts: { ...GATEWAY_TIMEOUTS, ...asked.timeouts },
    },
    border,
    notify,
    clock,
  );
  const bound = await gateway.listen();
  const tick = setInterval(() => recorder.commitIfDue(), 5);
  afterwards(async () => {
    gateway.cut();
    await gateway.drain(0);
    clearInterval(tick);
    forwarderEnd.destroy();
    recorderEnd.destroy();
  });
  const ports = bound.map((endpoint) => (endpoint.kind === 'tcp' ? endpoint.port : 0));
  return {
    gateway,
    ledger,
    sink,
    border,
    bound,
    port: ports[0] ?? 0,
    /** Waits until everything fed is committed and settled. */
    settle: async () => {
      await until(() => ledger.read().unsettledConnections === 0);
      await link.finish(5_000);
      return ledger.read();
    },
  };
}

/** A gateway whose time limits know no time but what `pass` says: a machine that stands still uses none of them up. */
export async function startTimedGateway(targetPort: number, asked: Asked = {}) {
  const clock = new ManualClock();
  const started = await startGateway(targetPort, asked, undefined, clock);
  return {
    ...started,
    pass: (ms: number) => {
      clock.advance(ms * 1e6);
      started.gateway.limits.readTime();
      started.gateway.limits.walk();
    },
  };
}

export function tcp(port: number) {
  return { kind: 'tcp', host: '127.0.0.1', port, tls: false } as const;
}

export async function until(condition: () => boolean, limitMs = 20_000): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`not within ${limitMs} ms: ${condition}`);
    await sleep(5);
  }
}

/** A TCP server that hands each accepted socket to the test; everything it sends is the test's. */
export async function rawUpstream(onSocket: (socket: Socket, nth: number) => void): Promise<number> {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: false, noDelay: true }, (socket) => {
    socket.on('error', () => undefined);
    onSocket(socket, sockets.push(socket) - 1);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  afterwards(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** A client socket that keeps all it was sent. */
export class RawClient {
  readonly socket: Socket;
  readonly closed: Promise<'end' | 'reset'>;
  received = '';

  private constructor(socket: Socket) {
    this.socket = socket;
    let failed = false;
    socket.on('data', (chunk: Buffer) => {
      this.received += chunk.toString('latin1');
    });
    socket.on('error', () => {
      failed = true;
    });
    this.closed = new Promise((resolve) => {
      socket.on('close', () => resolve(failed ? 'reset' : 'end'));
    });
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    afterwards(() => socket.destroy());
    const client = new RawClient(socket);
    await once(socket, 'connect');
    return client;
  }

  send(text: string): this {
    this.socket.write(text, 'latin1');
    return this;
  }

  /** Waits until `pattern` stands in what came, takes it off up to its end, and answers it. */
  async read(pattern: RegExp): Promise<string> {
    await until(() => pattern.test(this.received) || this.socket.destroyed);
    const match = pattern.exec(this.received);
    if (match === null) throw new Error(`closed without ${pattern}: ${JSON.stringify(this.received)}`);
    const end = match.index + match[0].length;
    const taken = this.received.slice(0, end);
    this.received = this.received.slice(end);
    return taken;
  }
}

/** What one connection got for what it sent: up to its end, or a silence after a whole answer. */
export async function ask(port: number, text: string, quietMs = 50): Promise<string> {
  const client = await RawClient.connect(port);
  client.send(text);
  const isWhole = () => isWholeAnswer(client.received, text.startsWith('HEAD '));
  await until(() => isWhole() || client.socket.destroyed);
  let last = 0;
  while (!client.socket.destroyed && last !== client.received.length) {
    last = client.received.length;
    await Promise.race([sleep(quietMs), client.closed]);
  }
  client.socket.destroy();
  return client.received;
}

/** Whether `text` begins with all of an answer; of one that goes on up to the close only the close can tell. */
function isWholeAnswer(text: string, toHead: boolean): boolean {
  const headEnd = text.indexOf('\r\n\r\n') + 4;
  if (headEnd < 4) return false;
  const head = text.slice(0, headEnd);
  if (/^HTTP\/1\.\d 1/.test(head)) return isWholeAnswer(text.slice(headEnd), toHead);
  if (toHead || /^HTTP\/1\.\d (?:204|304)/.test(head)) return true;
  if (/\r\ntransfer-encoding: *chunked/i.test(head)) return text.endsWith('0\r\n\r\n');
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  return length !== undefined && text.length >= headEnd + Number(length);
}
