import type { Socket } from 'node:net';
import type { CloseCause } from '../frames.ts';
import type { TapConnection } from '../tap-connection.ts';

/**
 * One client socket and one upstream socket: bytes both ways, unchanged, with back-pressure. The tap is told of
 * each chunk after it has been passed on. Half-closes are passed on as half-closes and resets as resets.
 */
export class Link {
  readonly #client: Socket;
  readonly #upstream: Socket;
  readonly #tap: TapConnection;
  readonly #onClosed: (link: Link) => void;
  #clientEnded = false;
  #upstreamEnded = false;
  #cause: CloseCause | null = null;
  #open = 2;

  constructor(client: Socket, upstream: Socket, tap: TapConnection, onClosed: (link: Link) => void) {
    this.#client = client;
    this.#upstream = upstream;
    this.#tap = tap;
    this.#onClosed = onClosed;
    client.setNoDelay(true);
    upstream.setNoDelay(true);
    this.#forward(client, upstream, (chunk) => tap.client(chunk));
    this.#forward(upstream, client, (chunk) => tap.server(chunk));
    client.on('end', () => this.#onClientEnd());
    upstream.on('end', () => this.#onUpstreamEnd());
    client.on('error', () => this.#abort('client_reset', upstream));
    upstream.on('error', () => this.#abort('server_reset', client));
    client.on('close', () => this.#onSocketClosed(upstream));
    upstream.on('close', () => this.#onSocketClosed(client));
  }

  /** Ends both sides at once. */
  cut(): void {
    this.#cause ??= 'shutdown';
    reset(this.#client);
    reset(this.#upstream);
  }

  #forward(from: Socket, to: Socket, tap: (chunk: Buffer) => void): void {
    from.on('data', (chunk: Buffer) => {
      // A side that is gone takes nothing more; its close ends this one too.
      if (to.writable && !to.write(chunk)) from.pause();
      tap(chunk);
    });
    to.on('drain', () => from.resume());
  }

  #onClientEnd(): void {
    this.#clientEnded = true;
    if (this.#upstreamEnded) this.#cause ??= 'server_end';
    this.#tap.clientEnd();
    this.#upstream.end();
  }

  #onUpstreamEnd(): void {
    this.#upstreamEnded = true;
    if (this.#clientEnded) this.#cause ??= 'client_end';
    this.#tap.serverEnd();
    this.#client.end();
  }

  /**
   * One side failed. The other is reset at once, unless the failing upstream had already said all it had to say:
   * then the client first gets what is still on its way to it.
   */
  #abort(cause: CloseCause, other: Socket): void {
    this.#cause ??= cause;
    if (cause === 'server_reset' && this.#upstreamEnded) other.destroySoon();
    else reset(other);
  }

  #onSocketClosed(other: Socket): void {
    this.#open -= 1;
    if (this.#open === 1) {
      if (!other.destroyed) other.destroySoon();
      return;
    }
    this.#tap.close(this.#cause ?? (this.#upstreamEnded ? 'server_end' : 'client_end'));
    this.#onClosed(this);
  }
}

/**
 * Ends a socket the hard way. While its own end is still on its way out a reset fails without a word, and the
 * socket would neither close nor be freed: then it is dropped with what it still had to send.
 */
function reset(socket: Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}
