import { connect, createServer, type Server, type Socket } from 'node:net';
import { AppError } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { type Address, formatAddress } from '../address.ts';
import type { RecorderLink } from '../recorder-link.ts';
import { Link } from './link.ts';

/** What a forwarder is asked to do. */
export interface ForwarderOptions {
  readonly listen: Address;
  readonly target: Address;
}

/**
 * The wire plane: accepts connections and ties each to one of its own to the target. It parses nothing, so it
 * can neither change, reject, reorder nor delay a message.
 */
export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #link: RecorderLink;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #turnedAway = 0;
  #cut = 0;
  #onIdle: (() => void) | null = null;

  constructor(options: ForwarderOptions, link: RecorderLink) {
    this.#options = options;
    this.#link = link;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
    this.#server.maxConnections = LIMITS.connections;
    const turnAway = () => {
      this.#turnedAway += 1;
    };
    this.#server.on('drop', turnAway);
    // A connection that could not be accepted (no descriptor left, say) must not end those that could.
    this.#server.on('error', turnAway);
  }

  /** Open connections, and those turned away: by the connection limit, or because accepting failed. */
  get connections(): { open: number; turnedAway: number } {
    return { open: this.#links.size, turnedAway: this.#turnedAway };
  }

  /**
   * Starts to listen.
   * @returns the address that was bound
   * @throws AppError LISTEN_FAILED
   */
  listen(): Promise<Address> {
    const { host, port } = this.#options.listen;
    return new Promise((resolve, reject) => {
      const refuse = (error: NodeJS.ErrnoException) => reject(listenError(this.#options.listen, error));
      this.#server.once('error', refuse);
      this.#server.listen({ host, port, backlog: LIMITS.listenBacklog }, () => {
        this.#server.off('error', refuse);
        const bound = this.#server.address();
        resolve(
          bound !== null && typeof bound === 'object'
            ? { host: bound.address, port: bound.port }
            : { host, port },
        );
      });
    });
  }

  /**
   * Stops accepting and forwards until either peer of each connection closes it, or the deadline ends. A wire
   * cannot end a kept-alive connection safely, so what the deadline cuts is counted.
   * @returns how many connections were cut
   */
  async drain(deadlineMs: number): Promise<number> {
    this.#server.close();
    if (this.#links.size === 0) return 0;
    const idle = new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
    const timer = setTimeout(() => this.cut(), deadlineMs);
    await idle;
    clearTimeout(timer);
    return this.#cut;
  }

  /** Ends every open connection at once. */
  cut(): void {
    this.#cut += this.#links.size;
    for (const link of this.#links) link.cut();
  }

  #accept(client: Socket): void {
    const { host, port } = this.#options.target;
    const upstream = connect({ host, port, allowHalfOpen: true, noDelay: true });
    const link = new Link(client, upstream, this.#link.open(), (closed) => {
      this.#links.delete(closed);
      if (this.#links.size === 0) this.#onIdle?.();
    });
    this.#links.add(link);
  }
}

function listenError(address: Address, error: NodeJS.ErrnoException): AppError {
  const where = formatAddress(address);
  const reasons: Readonly<Record<string, [reason: string, hint: string]>> = {
    EADDRINUSE: ['the port is in use', 'Stop what listens there, or give another --listen.'],
    EACCES: ['this user may not listen there', 'Ports below 1024 need a privilege; give a higher one.'],
    EADDRNOTAVAIL: ['this host has no such address', 'Give an address of this host, or only a port (:8080).'],
    ENOTFOUND: ['the name is not known', 'Give an address of this host, or only a port (:8080).'],
  };
  const [reason, hint] = reasons[error.code ?? ''] ?? [error.message, 'Give another --listen.'];
  return new AppError('LISTEN_FAILED', `cannot listen on ${where}: ${reason}`, { hint, cause: error });
}
