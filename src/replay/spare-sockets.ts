import type { Socket } from 'node:net';

/** A connection opened ahead of the request that will use it. */
export interface SpareSocket {
  readonly socket: Socket;
  readonly address: string;
}

interface Entry {
  readonly spare: SpareSocket;
  readonly drop: () => void;
  readonly timer: NodeJS.Timeout;
}

/** Connections opened while warming, until somebody needs them or they have been idle too long. */
export class SpareSockets {
  readonly #idleMs: number;
  readonly #entries = new Map<Socket, Entry>();

  constructor(idleMs: number) {
    this.#idleMs = idleMs;
  }

  add(spare: SpareSocket): void {
    const { socket } = spare;
    const drop = (): void => {
      this.#release(socket);
      socket.destroy();
    };
    this.#entries.set(socket, { spare, drop, timer: setTimeout(drop, this.#idleMs).unref() });
    // Reading is how the other side's close is heard; bytes nobody asked for make the connection useless.
    socket.on('data', drop).on('end', drop).on('error', drop).on('close', drop);
  }

  /** The one that has waited longest; null when there is none. */
  take(): SpareSocket | null {
    for (const { spare } of this.#entries.values()) {
      this.#release(spare.socket);
      spare.socket.pause();
      if (!spare.socket.destroyed) return spare;
    }
    return null;
  }

  close(): void {
    for (const { drop } of [...this.#entries.values()]) drop();
  }

  #release(socket: Socket): void {
    const entry = this.#entries.get(socket);
    if (!entry) return;
    this.#entries.delete(socket);
    clearTimeout(entry.timer);
    const { drop } = entry;
    socket.off('data', drop).off('end', drop).off('error', drop).off('close', drop);
  }
}
