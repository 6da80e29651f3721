import { once } from 'node:events';
import {
  Agent,
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const ID = /[?&]id=(\d+)/;

/** A model server that logs the id of every request it answers. */
export class NumberedOrigin {
  readonly answered: number[] = [];
  readonly #server: Server;
  readonly #answerBytes: number;
  readonly #answerMs: number;
  port = 0;

  /** @param answerMs how long it takes for each answer */
  constructor(answerBytes = 200, answerMs = 0) {
    this.#answerBytes = answerBytes;
    this.#answerMs = answerMs;
    this.#server = createServer((incoming, response) => this.#answer(incoming, response));
    this.#server.keepAliveTimeout = 0;
  }

  async listen(port = 0): Promise<this> {
    this.#server.listen(port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  #answer(incoming: IncomingMessage, response: ServerResponse): void {
    incoming.resume();
    incoming.on('end', async () => {
      if (this.#answerMs > 0) await sleep(this.#answerMs);
      const id = Number(ID.exec(incoming.url ?? '')?.[1]);
      this.answered.push(id);
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ id, answer: 'a'.repeat(this.#answerBytes) }));
    });
  }
}

export interface TrafficOptions {
  readonly clients?: number;
  readonly bodyBytes?: number;
  /** Pause between an answer and the client's next request. */
  readonly thinkMs?: number;
  /** Whether a refused connection ends a client without a failure: nothing was sent on it. */
  readonly endWhenRefused?: boolean;
}

/**
 * Clients on kept-alive connections. Each request has its own number, so that requests of the clients, of the server
 * and of the capture can be compared.
 */
export class NumberedTraffic {
  /** Ids with a complete answer that contains the same id. */
  readonly succeeded: number[] = [];
  readonly failed: { id: number; reason: string }[] = [];
  /** Longest time of an answer so far, ms. The reader resets it. */
  slowestMs = 0;
  #nextId = 1;
  #stopped = false;
  readonly #agent: Agent;
  readonly #port: number;
  readonly #thinkMs: number;
  readonly #endWhenRefused: boolean;
  readonly #filler: string;
  readonly #loops: Promise<void>[];

  constructor(port: number, options: TrafficOptions = {}) {
    const clients = options.clients ?? 8;
    this.#port = port;
    this.#thinkMs = options.thinkMs ?? 5;
    this.#endWhenRefused = options.endWhenRefused ?? false;
    this.#filler = 'x'.repeat(options.bodyBytes ?? 300);
    this.#agent = new Agent({ keepAlive: true, maxSockets: clients });
    this.#loops = Array.from({ length: clients }, () => this.#loop());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
    this.#agent.destroy();
  }

  async #loop(): Promise<void> {
    while (!this.#stopped) {
      const id = this.#nextId++;
      const sinceMs = performance.now();
      const reason = await this.#ask(id);
      this.slowestMs = Math.max(this.slowestMs, performance.now() - sinceMs);
      if (reason === null) this.succeeded.push(id);
      else if (this.#endWhenRefused && reason.includes('ECONNREFUSED')) return;
      else this.failed.push({ id, reason });
      await sleep(this.#thinkMs);
    }
  }

  /** Sends a request. @returns null if the answer is right, else the problem */
  #ask(id: number): Promise<string | null> {
    const body = JSON.stringify({ id, filler: this.#filler });
    return new Promise((resolve) => {
      const asked = request(
        {
          host: '127.0.0.1',
          port: this.#port,
          agent: this.#agent,
          method: 'POST',
          path: `/v1/models/m:predict?id=${id}`,
          headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
        },
        (answer) => {
          let text = '';
          answer.setEncoding('utf8').on('data', (piece: string) => {
            text += piece;
          });
          answer.on('end', () =>
            resolve(text.startsWith(`{"id":${id},`) ? null : `answered ${text.slice(0, 80)}`),
          );
          answer.on('error', (error) => resolve(error.message));
        },
      );
      asked.on('error', (error) => resolve(error.message));
      asked.end(body);
    });
  }
}
