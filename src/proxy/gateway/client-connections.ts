import type { Socket } from 'node:net';
import { type Entry, LinkedList } from '../../core/linked-list.ts';
import type { ClientConnection } from './client-connection.ts';

const OWN = Symbol('the connection of a socket');

interface Known extends Socket {
  [OWN]?: Entry<ClientConnection> | null;
}

/** The connections that are open, each known by its socket, which Node names with whatever it has to say of it. */
export class ClientConnections {
  readonly #open = new LinkedList<ClientConnection>();

  get size(): number {
    return this.#open.size;
  }

  /** @param onClosed called once it is here no longer */
  add(connection: ClientConnection, onClosed: () => void): void {
    const socket: Known = connection.socket;
    const entry = this.#open.push(connection);
    socket[OWN] = entry;
    socket.on('close', () => {
      socket[OWN] = null;
      this.#open.remove(entry);
      onClosed();
    });
  }

  /** The connection of a socket that is open. */
  of(socket: Known): ClientConnection | undefined {
    return socket[OWN]?.item;
  }

  /** Those that are open now. */
  items(): ClientConnection[] {
    return this.#open.items();
  }
}
