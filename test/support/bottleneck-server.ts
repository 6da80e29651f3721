import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Exchange } from '../../src/core/exchange.ts';
import type { Decoding } from './decoding.ts';
import { exchangeOf, requestMessage, responseMessage, TEST_EPOCH_US } from './exchanges.ts';
import { afterwards } from './leftovers.ts';
import { type PlantedRequest, plantedRequests } from './planted-sends.ts';

const TOKEN = 'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n';
const ANSWER = '{"outputs":[1,2,3,4]}';

/** What a server with a bottleneck answers to a request that arrived so many milliseconds after the first one. */
export interface BottleneckAnswer {
  readonly ms: number;
  readonly status?: number;
}

export interface Bottleneck {
  readonly answer: (request: PlantedRequest, nowMs: number) => BottleneckAnswer;
  /** Metrics in the text format of Prometheus, so many seconds after the first request. */
  readonly metrics?: (second: number) => string;
  /** Answers with streams that are decoded together, a token of each at a step, instead of with `answer`. */
  readonly decoding?: Pick<Decoding, 'tokens' | 'stepMs' | 'prefillMs'>;
  /** Connections that are served at one time. The others are closed. */
  readonly connections?: number;
  /** Connections that are closed after so many requests, of which the first one takes so much longer. */
  readonly renewed?: { readonly requests: number; readonly ms: number };
}

/** The recorded traffic, with the work of each request as its latency. */
export function bottleneckTraffic(load: Parameters<typeof plantedRequests>[0]): {
  readonly requests: readonly PlantedRequest[];
  readonly exchanges: readonly Exchange[];
} {
  const requests = plantedRequests(load);
  const exchanges = requests.map(({ index, atMs, route, model, client, requestBytes, workMs }) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + Math.round(atMs * 1e3),
      ...{ route, model },
      client: Buffer.from(client, 'hex'),
      firstByteOffsetUs: Math.round(workMs * 1e3) - 200,
      lastByteOffsetUs: Math.round(workMs * 1e3),
      request: requestMessage({ target: `/v1/x?n=${index}`, body: 'x'.repeat(requestBytes) }),
      response: responseMessage(200, ANSWER),
    }),
  );
  return { requests, exchanges };
}

/** A model server with one planted bottleneck. It ends with the test. */
export class BottleneckServer {
  readonly #server: Server;
  readonly #requests: readonly PlantedRequest[];
  readonly #bottleneck: Bottleneck;
  readonly #open = new Set<Socket>();
  /** Streams with the number of tokens that are left of each. */
  readonly #batch = new Map<ServerResponse, number>();
  /** Requests of each connection. */
  readonly #served = new WeakMap<Socket, number>();
  #enteredMs = 0;
  #firstMs: number | null = null;

  constructor(requests: readonly PlantedRequest[], bottleneck: Bottleneck) {
    this.#requests = requests;
    this.#bottleneck = bottleneck;
    this.#server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
      request.resume().on('end', () => this.#serve(request.url ?? '', response, request.socket));
    });
    if (bottleneck.connections !== undefined) this.#server.maxConnections = bottleneck.connections;
    this.#server.on('connection', (socket) => this.#open.add(socket));
  }

  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    afterwards(() => {
      this.#server.close();
      for (const socket of this.#open) socket.destroy();
    });
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #serve(url: string, response: ServerResponse, socket: Socket): void {
    const nowMs = performance.now();
    if (url === '/metrics') {
      const second = this.#firstMs === null ? 0 : (nowMs - this.#firstMs) / 1e3;
      response.end(this.#bottleneck.metrics?.(second) ?? '');
      return;
    }
    const request = this.#requests[Number(/n=(\d+)/.exec(url)?.[1] ?? Number.NaN)];
    if (request === undefined) return void response.end('{}');
    this.#firstMs ??= nowMs - request.atMs;
    const { decoding } = this.#bottleneck;
    if (decoding !== undefined) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      this.#batch.set(response, decoding.tokens(request));
      this.#enteredMs += decoding.prefillMs?.(request) ?? 0;
      if (this.#batch.size === 1) this.#decode(decoding);
      return;
    }
    const { ms, status = 200 } = this.#bottleneck.answer(request, nowMs - this.#firstMs);
    const setUpMs = this.#setUpMs(socket, response);
    setTimeout(() => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(status === 200 ? ANSWER : '{"error":"busy"}');
    }, ms + setUpMs);
  }

  #setUpMs(socket: Socket, response: ServerResponse): number {
    const { renewed } = this.#bottleneck;
    if (renewed === undefined) return 0;
    const served = (this.#served.get(socket) ?? 0) + 1;
    this.#served.set(socket, served);
    if (served >= renewed.requests) response.setHeader('connection', 'close');
    return served === 1 ? renewed.ms : 0;
  }

  /** One token of all streams, after a step, for as long as there are streams. */
  #decode(decoding: Pick<Decoding, 'stepMs'>): void {
    const stepMs = decoding.stepMs(this.#batch.size) + this.#enteredMs;
    this.#enteredMs = 0;
    setTimeout(() => {
      for (const [response, left] of this.#batch) {
        response.write(TOKEN);
        this.#batch.set(response, left - 1);
        if (left > 1) continue;
        response.end('data: [DONE]\n\n');
        this.#batch.delete(response);
      }
      if (this.#batch.size > 0) this.#decode(decoding);
    }, stepMs);
  }
}
