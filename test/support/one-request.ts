import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export const REQUEST = 'POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody';

/** A client on one connection. */
export class Client {
  readonly #socket: Socket;

  constructor(port: number) {
    this.#socket = connect({ port, host: '127.0.0.1' });
  }

  /** Sends a request and waits for its answer, which must come in one piece. */
  async ask(request = REQUEST): Promise<string> {
    this.#socket.write(request);
    const [answer] = (await once(this.#socket, 'data')) as [Buffer];
    return answer.toString('latin1');
  }

  async end(): Promise<void> {
    this.#socket.end();
    this.#socket.resume();
    await once(this.#socket, 'close');
  }
}

/**
 * Sends one request on a new connection and waits for the answer and the end of the connection.
 * @throws Error if the connection ends without an answer
 */
export async function askOnce(port: number, request = REQUEST): Promise<string> {
  const client = connect({ port, host: '127.0.0.1' });
  client.write(request);
  const closed = once(client, 'close');
  const answer = await Promise.race([once(client, 'data'), closed.then(() => null)]);
  if (answer === null) throw new Error('the connection ended unanswered');
  client.end();
  client.resume();
  await closed;
  return (answer[0] as Buffer).toString('latin1');
}
