import { connect, createServer, type Server, type Socket } from 'node:net';
import type { ConnectionCounts, DataPlane, Pair } from '../data-plane.ts';
import type { Endpoint } from '../endpoint.ts';
import { type Listening, listenOn } from '../listening.ts';
import type { RecorderLink } from '../recorder-link.ts';
import { Link } from './link.ts';
import type { WireOptions } from './options.ts';

/**
 * The wire plane: accepts connections and ties each to one of its own to the target. It parses nothing, so it
 * can neither change, reject, reorder nor delay a message.
 */
export class Forwarder implements DataPlane {
  readonly #options: WireOptions;
  readonly #link: RecorderLink;
  readonly #servers: Server[];
  #listening: Listening[] = [];
  readonly #links = new Set<Link>();
  #turnedAway = 0;
  #cut = 0;
  #onIdle: (() => void) | null = null;

  constructor(options: WireOptions, link: RecorderLink) {
    this.#options = options;
    this.#link = link;
    this.#servers = options.pairs.map((pair, index) => this.#serverOf(pair, index));
  }

  get connections(): ConnectionCounts {
    return { open: this.#links.size, turnedAway: this.#turnedAway };
  }

  async listen(): Promise<readonly Endpoint[]> {
    try {
      for (const [index, { listen }] of this.#options.pairs.entries()) {
        const server = this.#servers[index] as Server;
        this.#listening.push(await listenOn(server, listen, { reusePort: this.#options.reusePort }));
      }
    } catch (error) {
      this.#close();
      throw error;
    }
    return this.#listening.map(({ endpoint }) => endpoint);
  }

  /**
   * Stops accepting and forwards until either peer of each connection closes it, or the deadline ends. A wire
   * cannot end a kept-alive connection safely, so what the deadline cuts is counted.
   * @returns how many connections were cut
   */
  async drain(deadlineMs: number): Promise<number> {
    this.#close();
    if (this.#links.size === 0) return 0;
    const idle = new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
    const timer = setTimeout(() => this.cut(), deadlineMs);
    await idle;
    clearTimeout(timer);
    return this.#cut;
  }

  cut(): void {
    this.#cut += this.#links.size;
    for (const link of this.#links) link.cut();
  }

  #close(): void {
    for (const server of this.#servers) server.close();
    for (const listening of this.#listening.splice(0)) listening.remove();
  }

  #serverOf({ target }: Pair, index: number): Server {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      if (this.#links.size < this.#options.maxConnections) this.#accept(client, target, index);
      else {
        this.#turnedAway += 1;
        client.destroy();
      }
    });
    // A connection that could not be accepted (no descriptor left, say) must not end those that could.
    server.on('error', () => {
      this.#turnedAway += 1;
    });
    return server;
  }

  #accept(client: Socket, target: Endpoint, pair: number): void {
    const where = target.kind === 'unix' ? { path: target.path } : { host: target.host, port: target.port };
    const upstream = connect({ ...where, allowHalfOpen: true, noDelay: true });
    const origin = { peer: client.remoteAddress ?? null, pair, clientConnection: null };
    const link = new Link(client, upstream, this.#link.open(origin), (closed) => {
      this.#links.delete(closed);
      if (this.#links.size === 0) this.#onIdle?.();
    });
    this.#links.add(link);
  }
}
