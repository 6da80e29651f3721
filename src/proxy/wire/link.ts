import { WIRE } from '../../core/limits.ts';
import type { Enrolled } from '../../core/roster.ts';
import type { ConnectionFailure } from '../data-plane.ts';
import type { CloseCause } from '../frames.ts';
import type { Side } from '../side.ts';
import type { Piece, Slab } from '../slab.ts';
import type { TapConnection } from '../tap-connection.ts';
import type { DeafSides } from './deaf-sides.ts';
import type { PassingSide } from './passing-side.ts';
import { Refusal } from './refusal.ts';
import { FirstLine } from './request-line.ts';
import type { Upstream } from './upstream.ts';

/** What a link needs of whoever made it. */
export interface LinkHost {
  readonly deaf: DeafSides;
  readonly refused: 'reset' | '502';
  /**
   * The upstream was not there for this client. `null`: for want of a descriptor.
   * @param error what it failed by, if anything said so
   */
  failed(failure: ConnectionFailure | null, error?: Error): void;
  closed(link: Link): void;
}

/**
 * One client and one upstream: bytes both ways, unchanged, with back-pressure. They are passed on from where they
 * lie for the recorder, if they do, so that one copy serves both. Half-closes are passed on as half-closes and
 * resets as resets.
 */
export class Link implements Enrolled {
  /** Among those of its host. */
  place = -1;
  readonly #client: PassingSide;
  readonly #upstream: PassingSide;
  readonly #tap: TapConnection;
  readonly #host: LinkHost;
  /** Runs until the upstream is there. */
  #connecting: NodeJS.Timeout | null;
  /** What the client began with, as long as a refusal may have to be written. */
  #firstLine: FirstLine | null;
  #refusal: Refusal | null = null;
  #answered = false;
  #clientEnded = false;
  #upstreamEnded = false;
  #cause: CloseCause | null = null;
  #open = 2;

  constructor(client: PassingSide, upstream: Upstream, tap: TapConnection, host: LinkHost) {
    this.#client = client;
    this.#upstream = upstream.side;
    this.#tap = tap;
    this.#host = host;
    this.#firstLine = host.refused === '502' ? new FirstLine() : null;
    this.#connecting = setTimeout(() => this.#unreachable('upstream_timeout'), WIRE.connectMs);
    // A header that was read before left it paused.
    if (client.stream.isPaused()) client.stream.resume();
    upstream.side.stream.once(upstream.ready, () => this.#connected());
    client.onBytes = (bytes, slab) => this.#onClientBytes(bytes, slab);
    upstream.side.onBytes = (bytes, slab) => this.#onUpstreamBytes(bytes, slab);
    client.stream.on('drain', () => this.#resume(this.#upstream));
    upstream.side.stream.on('drain', () => this.#resume(this.#client));
    client.stream.on('end', () => client.believeEnd(() => this.#onClientEnd()));
    upstream.side.stream.on('end', () => upstream.side.believeEnd(() => this.#onUpstreamEnd()));
    onError(client, () => this.#onClientError());
    onError(upstream.side, (error) => this.#onUpstreamError(error));
    client.stream.on('close', () => this.#onClosed(client, upstream.side));
    upstream.side.stream.on('close', () => this.#onClosed(upstream.side, client));
  }

  /** Ends both sides at once. */
  cut(): void {
    this.#cause ??= 'shutdown';
    this.#client.reset();
    this.#upstream.reset();
  }

  #onClientBytes(bytes: Buffer, slab: Slab | null): boolean {
    const pieces = this.#tap.client(bytes, slab) ?? [{ bytes, slab }];
    const went = this.#pass(pieces, this.#client, this.#upstream);
    this.#firstLine?.take(bytes);
    if (this.#firstLine !== null) this.#refusal?.judge(this.#firstLine.verdict);
    return went;
  }

  #onUpstreamBytes(bytes: Buffer, slab: Slab | null): boolean {
    const pieces = this.#tap.server(bytes, slab) ?? [{ bytes, slab }];
    const went = this.#pass(pieces, this.#upstream, this.#client);
    if (!this.#answered) {
      this.#answered = true;
      this.#firstLine = null;
    }
    return went;
  }

  /** Answers whether all of it went at once. */
  #pass(pieces: readonly Piece[], from: PassingSide, to: PassingSide): boolean {
    if (!to.pass(pieces)) this.#pause(from, to);
    return to.stream.writableLength === 0;
  }

  #pause(side: PassingSide, other: PassingSide): void {
    side.stream.pause();
    this.#host.deaf.add(side, other);
  }

  #resume(side: PassingSide): void {
    // What has ended stays deaf until it is closed.
    if (!(side === this.#client ? this.#clientEnded : this.#upstreamEnded)) this.#host.deaf.delete(side);
    side.stream.resume();
  }

  #connected(): void {
    this.#attemptOver();
    if (this.#clientEnded) this.#upstream.stream.end();
  }

  #attemptOver(): void {
    if (this.#connecting) clearTimeout(this.#connecting);
    this.#connecting = null;
  }

  #onClientEnd(): void {
    this.#clientEnded = true;
    this.#client.readNoMore();
    if (this.#upstreamEnded) this.#cause ??= 'server_end';
    // Whom we refused ends for that; a recorder that knew of nothing yet was told of no end before this one.
    if (!this.#refusal) this.#tap.clientEnd();
    // A TLS handshake would not survive the end of what carries it.
    if (!this.#connecting) this.#upstream.stream.end();
    this.#refusal?.clientEnded();
    this.#host.deaf.add(this.#client, this.#upstream);
  }

  #onUpstreamEnd(): void {
    this.#upstreamEnded = true;
    // Before what is held back of a failed write is told: there is nothing to wait for behind that.
    const unanswered = this.#owesAnswer;
    if (unanswered) this.#endUnanswered();
    this.#upstream.readNoMore();
    if (unanswered) return;
    if (this.#clientEnded) this.#cause ??= 'client_end';
    this.#tap.serverEnd();
    this.#client.stream.end();
    this.#host.deaf.add(this.#upstream, this.#client);
  }

  /**
   * Whether a request of HTTP/1 stands with nothing said to it, and its client is there to be told. A client that
   * ended first has mostly left, and the end of its upstream is the answer to that. Whatever is no HTTP/1 may go on
   * with an upstream that has ended its side.
   */
  get #owesAnswer(): boolean {
    return this.#cause === null && !this.#clientEnded && this.#firstLine?.verdict === 'http1';
  }

  /** An upstream that ends its side can answer nothing any more; what is on its way to it still goes there. */
  #endUnanswered(): void {
    this.#cause = 'server_end';
    this.#host.failed('upstream_gone');
    this.#refuse();
    this.#upstream.stream.destroySoon();
  }

  #onClientError(): void {
    this.#cause ??= 'client_reset';
    this.#upstream.reset();
  }

  /**
   * The upstream failed. The client is reset at once, unless the upstream had already said all it had to say:
   * then the client first gets what is still on its way to it.
   */
  #onUpstreamError(error: NodeJS.ErrnoException): void {
    if (this.#refusal) return;
    if (this.#connecting) this.#unreachable('upstream_refused', error);
    else if (this.#upstreamEnded) {
      this.#cause ??= 'server_reset';
      this.#client.stream.destroySoon();
    } else if (this.#answered || this.#cause) {
      this.#cause ??= 'server_reset';
      this.#client.reset();
    } else {
      this.#host.failed('upstream_gone', error);
      this.#refuse();
    }
  }

  #unreachable(failure: ConnectionFailure, error?: NodeJS.ErrnoException): void {
    this.#attemptOver();
    // Our own cut, or the client's, ended the attempt.
    if (this.#cause) return;
    this.#host.failed(error?.code === 'EMFILE' || error?.code === 'ENFILE' ? null : failure, error);
    this.#refuse();
    this.#upstream.reset();
  }

  /** Nothing was answered and nothing will be. */
  #refuse(): void {
    this.#cause ??= 'server_reset';
    // Before the client's end, which is only its answer to what it is told now.
    this.#tap.serverEnd();
    if (this.#firstLine === null) {
      this.#client.reset();
      return;
    }
    this.#host.deaf.delete(this.#client);
    this.#refusal = new Refusal(this.#client, this.#clientEnded);
    this.#refusal.judge(this.#firstLine.verdict);
  }

  #onClosed(side: PassingSide, other: PassingSide): void {
    side.readNoMore();
    this.#host.deaf.delete(side);
    this.#open -= 1;
    if (this.#open === 1) {
      this.#attemptOver();
      // A client that is refused is let go by its refusal.
      if (!other.stream.destroyed && !(this.#refusal && other === this.#client)) other.stream.destroySoon();
      return;
    }
    this.#refusal?.over();
    this.#tap.close(this.#cause ?? (this.#upstreamEnded ? 'server_end' : 'client_end'));
    this.#host.closed(this);
  }
}

/** Errors of TLS come from the stream, a reset met by a probe from the socket beneath. */
function onError(side: Side, act: (error: NodeJS.ErrnoException) => void): void {
  side.stream.on('error', act);
  if (side.socket !== side.stream) side.socket.on('error', act);
}
