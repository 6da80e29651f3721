import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/**
 * The open connections of a small server. If all places are taken, a new one replaces the one that has waited longest
 * for a head. So a client that holds connections open cannot keep others out. Connections with an answer in progress
 * are dropped last.
 */
export class Places {
  readonly #most: number;
  readonly #dropped: () => void;
  /** In the order in which they began to wait. */
  readonly #waiting = new Set<Socket>();
  readonly #answered = new Set<Socket>();

  /** @param dropped called when a connection is dropped for a new one */
  constructor(most: number, dropped: () => void = () => undefined) {
    this.#most = most;
    this.#dropped = dropped;
  }

  take(socket: Socket): void {
    if (this.#waiting.size + this.#answered.size >= this.#most) this.#dropOldest();
    this.#waiting.add(socket);
    socket.once('close', () => {
      this.#waiting.delete(socket);
      this.#answered.delete(socket);
    });
  }

  answers(socket: Socket, response: ServerResponse): void {
    this.#waiting.delete(socket);
    this.#answered.add(socket);
    response.once('finish', () => {
      if (this.#answered.delete(socket) && !socket.destroyed) this.#waiting.add(socket);
    });
  }

  #dropOldest(): void {
    for (const connections of [this.#waiting, this.#answered]) {
      for (const oldest of connections) {
        connections.delete(oldest);
        oldest.destroy();
        this.#dropped();
        return;
      }
    }
  }
}
