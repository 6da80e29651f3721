import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';

/** A server under attack, and whether it has accepted a client. A connected client may wait long in the kernel. */
export interface Attacked {
  readonly port: number;
  has(client: Socket): boolean;
}

/** A server in another process. Only the client's own state is known. */
export function serverOutside(port: number): Attacked {
  return { port, has: (client) => !client.connecting };
}

/** A server in this process, which reports the clients that it accepts. */
export class ServerWithin implements Attacked {
  readonly port: number;
  readonly #clientPorts = new Set<number>();

  constructor(port: number) {
    this.port = port;
    subscribe('net.server.socket', this.#accepted);
  }

  has(client: Socket): boolean {
    return this.#clientPorts.has(client.localPort ?? 0);
  }

  close(): void {
    unsubscribe('net.server.socket', this.#accepted);
  }

  readonly #accepted = (message: unknown): void => {
    const { socket } = message as { socket: Socket };
    const { localPort, remotePort } = socket;
    if (localPort !== this.port || remotePort === undefined) return;
    this.#clientPorts.add(remotePort);
    socket.on('close', () => this.#clientPorts.delete(remotePort));
  };
}
