import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, request } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from 'node:net';
import { latin1, type ReadMessage } from './harness.ts';

/** A message as Node read it; `body` null where Node's interface does not show it (upgrades). */
export interface NodeMessage extends Omit<ReadMessage, 'body'> {
  readonly body: string | null;
}

/** Sends bytes to a real `node:http` server and tells which it read whole. */
export class NodeRequestParser {
  readonly #server = createServer({ requireHostHeader: false, keepAliveTimeout: 1_000 });
  #messages: NodeMessage[] = [];

  async start(): Promise<void> {
    const take = (message: IncomingMessage): void => {
      const messages = this.#messages;
      collect(message, (read) => messages.push(read), [message.method ?? '', message.url ?? '']);
    };
    this.#server.on('request', (message, response) => {
      take(message);
      response.end();
    });
    // A tunnel's or an upgrade's request has no body to wait for; what follows it is not HTTP.
    for (const event of ['connect', 'upgrade'] as const) {
      this.#server.on(event, (message: IncomingMessage, socket) => {
        this.#messages.push(readingOf(message, [message.method ?? '', message.url ?? ''], null));
        socket.end();
      });
    }
    this.#server.on('clientError', (_error, socket) => {
      socket.destroy();
    });
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  async read(bytes: Buffer): Promise<NodeMessage[]> {
    const messages: NodeMessage[] = [];
    this.#messages = messages;
    const socket = connect(portOf(this.#server), '127.0.0.1');
    socket.on('error', () => undefined);
    socket.resume();
    socket.end(bytes);
    await once(socket, 'close');
    return messages;
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }
}

/** Answers a real `node:http` client with the bytes and tells what it made of the first response. */
export class NodeResponseParser {
  readonly #server = createTcpServer({ allowHalfOpen: true });
  #answer: Buffer = Buffer.alloc(0);

  async start(): Promise<void> {
    this.#server.on('connection', (socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end(this.#answer));
      socket.resume();
    });
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  async read(bytes: Buffer): Promise<NodeMessage[]> {
    this.#answer = bytes;
    const agent = new Agent({ keepAlive: false });
    const messages: NodeMessage[] = [];
    let failed = false;
    await new Promise<void>((resolve) => {
      const call = request({ port: portOf(this.#server), host: '127.0.0.1', agent });
      const done = (): void => {
        call.destroy();
        resolve();
      };
      call.on('error', () => {
        // What it dropped of the body with the rest is unknown: Node has not read this message.
        failed = true;
        done();
      });
      call.on('upgrade', done);
      call.on('close', done);
      call.on('response', (message) => {
        const version = `HTTP/${message.httpVersion}`;
        const start = [version, message.statusCode ?? 0, message.statusMessage ?? ''];
        collect(message, (read) => failed || messages.push(read), start);
      });
      call.end();
    });
    agent.destroy();
    return messages;
  }

  async stop(): Promise<void> {
    this.#server.close();
    await once(this.#server, 'close');
  }
}

function collect(
  message: IncomingMessage,
  whole: (read: NodeMessage) => unknown,
  start: readonly (string | number)[],
): void {
  const chunks: Buffer[] = [];
  message.on('data', (chunk: Buffer) => chunks.push(chunk));
  message.on('error', () => undefined);
  message.on('end', () => {
    if (message.complete) whole(readingOf(message, start, latin1(Buffer.concat(chunks))));
  });
}

function readingOf(
  message: IncomingMessage,
  start: readonly (string | number)[],
  body: string | null,
): NodeMessage {
  return { start, headers: pairs(message.rawHeaders), body, trailers: null };
}

function pairs(flat: readonly string[]): (readonly [string, string])[] {
  const list: (readonly [string, string])[] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) list.push([flat[at] ?? '', flat[at + 1] ?? '']);
  return list;
}

function portOf(server: { address(): AddressInfo | string | null } | Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not listening');
  return address.port;
}
