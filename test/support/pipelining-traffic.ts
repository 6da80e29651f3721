import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SeededRandom } from '../../src/core/random.ts';

const CLIENTS = 6;
const DEEPEST = 4;
/** Requests of a connection: some outlive a recorder. */
const FEW_REQUESTS = 40;
const MANY_REQUESTS = 2_000;
const LONGEST_FILLER = 600;
const STEADY_MS = 20;

/**
 * Clients that each have up to four requests open on a connection, and write them in pieces. A new connection has
 * another depth and another number of requests. Each request has its own number, and each answer must have that of the
 * oldest open request.
 */
export class PipeliningTraffic {
  /** Ids with a complete answer that contains the same id. */
  readonly succeeded: number[] = [];
  /** Ids of requests of which something was written, and that have no answer. */
  readonly unanswered: number[] = [];
  readonly wrong: string[] = [];
  readonly #random: SeededRandom;
  readonly #port: number;
  readonly #steady: boolean;
  readonly #loops: Promise<void>[];
  #nextId = 1;
  #stopped = false;

  /** @param steady one client on one connection that always has two requests open, each written whole */
  constructor(port: number, random: SeededRandom, steady = false) {
    this.#steady = steady;
    this.#port = port;
    this.#random = random;
    this.#loops = Array.from({ length: steady ? 1 : CLIENTS }, () => this.#loop());
  }

  /** Number of requests so far, answered or not; their ids count from 1. */
  get sent(): number {
    return this.#nextId - 1;
  }

  /** Lets every open request be answered. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
  }

  async #loop(): Promise<void> {
    while (!this.#stopped) {
      const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true });
      // A connection that ends early leaves its open requests unanswered; one that was refused carried none.
      socket.on('error', () => undefined);
      const closed = new Promise((resolve) => socket.once('close', resolve));
      if (
        await Promise.race([
          once(socket, 'connect').then(
            () => true,
            () => false,
          ),
          closed,
        ])
      ) {
        await this.#converse(socket, closed);
      }
      socket.destroy();
      await closed;
      await sleep(20);
    }
  }

  async #converse(socket: Socket, closed: Promise<unknown>): Promise<void> {
    const depth = this.#steady ? 2 : 1 + this.#random.below(DEEPEST);
    let left = this.#steady
      ? Number.POSITIVE_INFINITY
      : 1 + this.#random.below(this.#random.below(2) === 0 ? FEW_REQUESTS : MANY_REQUESTS);
    const open: number[] = [];
    let text = '';
    let wake = () => {};
    socket.setEncoding('latin1').on('data', (piece: string) => {
      text = this.#take(text + piece, open);
      wake();
    });
    socket.once('close', () => wake());
    while (!socket.destroyed && (open.length > 0 || (left > 0 && !this.#stopped))) {
      if (left > 0 && open.length < depth && !this.#stopped) {
        left -= 1;
        await this.#write(socket, open);
        continue;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    this.unanswered.push(...open);
    socket.end();
    await closed;
  }

  /** Writes a request, whole or in two pieces; sometimes the next one is in the same write. */
  async #write(socket: Socket, open: number[]): Promise<void> {
    const id = this.#nextId++;
    open.push(id);
    const body = JSON.stringify({ id, filler: 'x'.repeat(this.#random.below(LONGEST_FILLER)) });
    const head = `POST /v1/models/m:predict?id=${id} HTTP/1.1\r\nHost: m\r\nContent-Type: application/json\r\n`;
    const request = `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
    const cut = !this.#steady && this.#random.below(3) === 0 ? this.#random.below(request.length) : 0;
    socket.write(request.slice(0, cut));
    if (cut > 0) await sleep(this.#random.below(4));
    socket.write(request.slice(cut));
    // The answers to requests that are written together come together.
    if (this.#steady || this.#random.below(2) === 0)
      await sleep(this.#steady ? STEADY_MS : this.#random.below(6));
  }

  /** Takes complete answers, and returns what follows them. */
  #take(text: string, open: number[]): string {
    let rest = text;
    for (;;) {
      const headEnd = rest.indexOf('\r\n\r\n') + 4;
      const length = Number(/^content-length: (\d+)\r$/im.exec(rest.slice(0, headEnd))?.[1]);
      if (headEnd < 4 || rest.length < headEnd + length) return rest;
      const id = open.shift();
      const body = rest.slice(headEnd, headEnd + length);
      if (id !== undefined && body.startsWith(`{"id":${id},`)) this.succeeded.push(id);
      else this.wrong.push(`request ${id} was answered ${rest.slice(0, 15)} ${body.slice(0, 40)}`);
      rest = rest.slice(headEnd + length);
    }
  }
}
