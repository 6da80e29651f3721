import type { Socket } from 'node:net';
import { LIMITS } from '../../core/limits.ts';
import type { CloseCause } from '../frames.ts';
import { askPeer, failedWriteOf, resetSocket } from '../net/peer-socket.ts';
import type { ClientConnection, Underway } from './client-connection.ts';
import type { ExchangeHost } from './exchange-host.ts';
import type { ExchangeTap } from './exchange-tap.ts';
import type { Timed } from './time-limits.ts';

/**
 * A connection that was upgraded: bytes both ways until either side ends, and the end of one is always the end of
 * the other. No time is too long for it; it is looked at from time to time to hear of a side that left.
 */
export class Tunnel implements Timed, Underway {
  readonly requestWhole = true;
  readonly #host: ExchangeHost;
  readonly #connection: ClientConnection;
  readonly #client: Socket;
  readonly #target: Socket;
  readonly #tap: ExchangeTap;
  #over = false;

  constructor(host: ExchangeHost, connection: ClientConnection, target: Socket, tap: ExchangeTap) {
    this.#host = host;
    this.#connection = connection;
    this.#client = connection.socket;
    this.#target = target;
    this.#tap = tap;
    host.limits.add(this);
    host.tunnelled(1);
    connection.begin(this);
    target.setTimeout(0);
    // What either side says before it breaks off is read, though a write to it has failed.
    for (const side of [this.#client, target]) failedWriteOf(side);
    this.#flow('client', this.#client, target);
    this.#flow('server', target, this.#client);
  }

  clientGone(): void {
    this.#ended('client_reset');
  }

  cut(): void {
    this.#ended('shutdown');
  }

  checkTime(): void {
    ask(this.#client, this.#target);
    ask(this.#target, this.#client);
  }

  #flow(from: 'client' | 'server', source: Socket, sink: Socket): void {
    source.on('data', (chunk: Buffer) => {
      if (sink.writable && !sink.write(chunk)) source.pause();
      this.#tap.tunnelled(from, chunk);
    });
    sink.on('drain', () => source.resume());
    source.on('end', () => {
      const failedWrite = failedWriteOf(source);
      if (!failedWrite.brokeOff) sink.end();
      failedWrite.tell();
    });
    source.on('error', () => this.#ended(`${from}_reset`));
    source.on('close', () => this.#ended(`${from}_end`));
  }

  #ended(cause: CloseCause): void {
    if (this.#over) return;
    this.#over = true;
    this.#host.limits.remove(this);
    end(this.#client, cause === 'server_reset');
    end(this.#target, cause === 'client_reset' || cause === 'shutdown');
    this.#tap.close(cause);
    this.#connection.end(this);
    this.#host.tunnelled(-1);
  }
}

/**
 * A side that is held back hears no reset of its peer, and is asked, as a wire asks. What cannot be asked (it has
 * ended its own side, or is a unix socket) is let read on a little, which the other side holds: up to a bound.
 */
function ask(side: Socket, other: Socket): void {
  if (!side.isPaused()) return;
  if (side.remoteAddress !== undefined && !side.writableEnded) askPeer(side);
  else if (other.writableLength < LIMITS.probedBytes) side.resume();
}

function end(side: Socket, hard: boolean): void {
  if (hard) resetSocket(side);
  else side.destroySoon();
}
