import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A received request. The header list keeps order, case and duplicates. */
export interface LoggedRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
}

/** A server on a free port of 127.0.0.1 that keeps every request and answers with a callback. */
export class RequestLogServer {
  readonly requests: LoggedRequest[] = [];
  readonly #server: Server;
  port = 0;

  /**
   * `answer` is called with each complete request; by default it sends 200. If it does not end the response, it hangs.
   */
  constructor(
    answer: (request: LoggedRequest, response: ServerResponse) => void = (_, response) =>
      response.end('{"outputs":[]}'),
  ) {
    this.#server = createServer((incoming, response) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => {
        const request = loggedOf(incoming, Buffer.concat(chunks));
        this.requests.push(request);
        answer(request, response);
      });
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async listen(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
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
}

function loggedOf(incoming: IncomingMessage, body: Buffer): LoggedRequest {
  const { rawHeaders } = incoming;
  const headers: [string, string][] = [];
  for (let at = 0; at < rawHeaders.length; at += 2)
    headers.push([rawHeaders[at] ?? '', rawHeaders[at + 1] ?? '']);
  return { method: incoming.method ?? '', target: incoming.url ?? '', headers, body };
}
