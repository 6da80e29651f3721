import { WIRE } from '../../core/limits.ts';
import type { ConnectionFailure } from '../data-plane.ts';
import type { PausedPeers, PeerSocket } from '../net/peer-socket.ts';
import { connectTimeout, isRefusal } from '../net/upstream-notice.ts';
import type { ByteTap } from '../tap/border.ts';
import type { CloseCause } from '../tap/frames.ts';
import type { TargetWatch } from './target-watch.ts';

const BAD_GATEWAY = 'HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';
const LINE_BYTES = 8 * 1024;
const LINE_BEGINNING = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}(?: [^\s]*(?: H?T?T?P?\/?1?\.?[01]?\r?)?)?$/;
const WHOLE_LINE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40} [^\s]+ HTTP\/1\.[01]\r?\n/;

export interface Upstream {
  readonly side: PeerSocket;
  /** The event of its stream that reports the connection; null if it is already connected. */
  readonly ready: 'connect' | 'secureConnect' | null;
}

export interface ConnectionHost {
  readonly paused: PausedPeers;
  readonly refused: 'reset' | '502';
  /** Tries the target again after a refused connection; null if the target is already connected. */
  readonly target: TargetWatch | null;
  /**
   * The upstream could not serve this client. `null`: for lack of a file descriptor.
   * @param error the cause, if known
   */
  failed(failure: ConnectionFailure | null, error?: Error): void;
  /** Called with the error of a refusing upstream that will be tried again. */
  look(error: Error): void;
  closed(connection: ProxiedConnection): void;
}

/**
 * One client and one upstream: bytes both ways, unchanged, with back-pressure. Half-closes are passed on as
 * half-closes and resets as resets.
 */
export class ProxiedConnection {
  readonly #client: PeerSocket;
  readonly #reach: () => Upstream;
  #upstream: PeerSocket;
  readonly #tap: ByteTap;
  readonly #host: ConnectionHost;
  /** Ends the current attempt or wait; null once the upstream is connected. */
  #connecting: (() => void) | null = null;
  /** The client's bytes so far, as long as they may have to be sent again on another connection. */
  #unsent: Buffer[] | null = null;
  #unsentBytes = 0;
  /** Until when a refusing upstream is tried again; null before it has refused. */
  #waitEndNs: number | null = null;
  /** The client's first line, as long as a refusal may have to be written. */
  #firstLine: FirstLine | null;
  #refusal: Refusal | null = null;
  #answered = false;
  #clientEnded = false;
  #upstreamEnded = false;
  #cause: CloseCause | null = null;
  #open = 2;

  constructor(client: PeerSocket, reach: () => Upstream, tap: ByteTap, host: ConnectionHost) {
    this.#client = client;
    this.#reach = reach;
    this.#tap = tap;
    this.#host = host;
    this.#firstLine = host.refused === '502' ? new FirstLine() : null;
    this.#upstream = this.#attempt();
    if (this.#connecting && host.target !== null) this.#unsent = [];
    // It is paused if a PROXY protocol header was read before.
    if (client.stream.isPaused()) client.stream.resume();
    client.stream.on('data', (bytes: Buffer) => this.#onClientBytes(bytes));
    client.stream.on('drain', () => this.#resume(this.#upstream));
    client.stream.on('end', () => client.confirmEnd(() => this.#onClientEnd()));
    onError(client, () => this.#onClientError());
    client.stream.on('close', () => this.#onClosed(client, this.#upstream));
  }

  #attempt(): PeerSocket {
    const { side, ready } = this.#reach();
    if (ready !== null) {
      const timer = setTimeout(() => this.#unreachable('upstream_timeout', connectTimeout()), WIRE.connectMs);
      this.#connecting = () => clearTimeout(timer);
      side.stream.once(ready, () => this.#connected());
    }
    side.stream.on('data', (bytes: Buffer) => this.#onUpstreamBytes(bytes));
    side.stream.on('drain', () => this.#resume(this.#client));
    side.stream.on('end', () => side.confirmEnd(() => this.#onUpstreamEnd()));
    onError(side, (error) => this.#onUpstreamError(error));
    side.stream.on('close', () => this.#onClosed(side, this.#client));
    return side;
  }

  cut(): void {
    this.#cause ??= 'shutdown';
    this.#client.reset();
    this.#upstream.reset();
  }

  #onClientBytes(bytes: Buffer): void {
    this.#pass(bytes, this.#client, this.#upstream);
    if (this.#unsent !== null) this.#keepUnsent(this.#unsent, bytes);
    this.#tap.client(bytes);
    this.#firstLine?.take(bytes);
    if (this.#firstLine !== null) this.#refusal?.judge(this.#firstLine.verdict);
  }

  #onUpstreamBytes(bytes: Buffer): void {
    this.#pass(bytes, this.#upstream, this.#client);
    this.#tap.server(bytes);
    this.#answered = true;
    this.#firstLine = null;
  }

  #pass(bytes: Buffer, from: PeerSocket, to: PeerSocket): void {
    if (!to.write(bytes)) this.#pause(from, to);
  }

  #pause(side: PeerSocket, other: PeerSocket): void {
    side.stream.pause();
    this.#host.paused.add(side, other);
  }

  #resume(side: PeerSocket): void {
    // A side that has ended is not read again, and is probed until it is closed.
    if (!(side === this.#client ? this.#clientEnded : this.#upstreamEnded)) this.#host.paused.delete(side);
    side.stream.resume();
  }

  /** A refusing upstream takes no bytes and causes no back-pressure. So this pauses the client. */
  #keepUnsent(unsent: Buffer[], bytes: Buffer): void {
    unsent.push(bytes);
    this.#unsentBytes += bytes.length;
    if (this.#unsentBytes >= WIRE.unsentBytes) this.#pause(this.#client, this.#upstream);
  }

  #connected(): void {
    this.#attemptOver();
    this.#unsent = null;
    if (!this.#clientEnded) return;
    this.#tap.clientEnd();
    this.#upstream.stream.end();
  }

  /** Whether we wait for an upstream that has refused. A client that leaves now leaves for that reason. */
  get #isRefused(): boolean {
    return this.#connecting !== null && this.#waitEndNs !== null;
  }

  #attemptOver(): void {
    this.#connecting?.();
    this.#connecting = null;
  }

  /**
   * The upstream refused the connection, so nothing was sent to it. A direct client of it would try again. Our client
   * does not, because its own connection was accepted.
   * @returns whether we wait for the upstream
   */
  #waits(error: NodeJS.ErrnoException): boolean {
    const { target } = this.#host;
    if (target === null || this.#cause !== null || !isRefusal(error)) return false;
    target.refused();
    this.#host.look(error);
    this.#waitEndNs ??= target.waitEndNs();
    const over = () => this.#unreachable('upstream_refused', error);
    const ends = target.whenAccepted(this.#waitEndNs, () => this.#tryAgain(), over);
    if (ends === null) return false;
    this.#attemptOver();
    this.#connecting = ends;
    // Later events of the refused connection are ignored.
    for (const part of [this.#upstream.stream, this.#upstream.socket]) {
      part
        .removeAllListeners()
        .on('error', () => undefined)
        .destroy();
    }
    this.#open -= 1;
    return true;
  }

  #tryAgain(): void {
    this.#open += 1;
    this.#upstream = this.#attempt();
    let full = false;
    for (const bytes of this.#unsent ?? []) full = !this.#upstream.write(bytes) || full;
    if (!full && !this.#clientEnded) this.#resume(this.#client);
  }

  #onClientEnd(): void {
    this.#clientEnded = true;
    this.#client.readNoMore();
    if (this.#upstreamEnded) this.#cause ??= 'server_end';
    // A refused client ends because of the refusal, so the recorder is not told. While connecting, a refusal may still
    // come: `#connected` tells the recorder later.
    if (!this.#refusal && !this.#connecting) this.#tap.clientEnd();
    // An end sent now would break the TLS handshake.
    if (!this.#connecting) this.#upstream.stream.end();
    this.#refusal?.clientEnded();
    this.#host.paused.add(this.#client, this.#upstream);
  }

  #onUpstreamEnd(): void {
    this.#upstreamEnded = true;
    // Comes before `readNoMore`, which reports a write failure that was held back. After that there is nothing to wait
    // for.
    const unanswered = this.#owesAnswer;
    if (unanswered) this.#endUnanswered();
    this.#upstream.readNoMore();
    if (unanswered) return;
    if (this.#clientEnded) this.#cause ??= 'client_end';
    this.#tap.serverEnd();
    this.#client.stream.end();
    this.#host.paused.add(this.#upstream, this.#client);
  }

  /**
   * Whether an HTTP/1 request has no answer yet, and its client can still read one. A client that ended first has
   * usually left, and the upstream's end is only the reaction to that. Other protocols may continue after the upstream
   * has ended its side.
   */
  get #owesAnswer(): boolean {
    return this.#cause === null && !this.#clientEnded && this.#firstLine?.verdict === 'http1';
  }

  /** An upstream that ends its side cannot answer any more. Bytes that are on their way to it are still sent. */
  #endUnanswered(): void {
    this.#cause = 'server_end';
    this.#host.failed('upstream_gone');
    this.#refuse();
    this.#upstream.stream.destroySoon();
  }

  #onClientError(): void {
    if (this.#isRefused) this.#tap.serverEnd();
    this.#cause ??= 'client_reset';
    this.#upstream.reset();
  }

  /**
   * The upstream failed. The client is reset at once, unless the upstream had already ended its side. Then the client
   * first gets the bytes that are still on their way.
   */
  #onUpstreamError(error: NodeJS.ErrnoException): void {
    if (this.#refusal) return;
    if (this.#connecting) {
      if (!this.#waits(error)) this.#unreachable('upstream_refused', error);
    } else if (this.#upstreamEnded) {
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
    // The attempt was ended by ourselves or by the client.
    if (this.#cause) return;
    this.#host.failed(error?.code === 'EMFILE' || error?.code === 'ENFILE' ? null : failure, error);
    this.#refuse();
    this.#upstream.reset();
  }

  /** Refuses the client: nothing was answered, and nothing will be. */
  #refuse(): void {
    this.#cause ??= 'server_reset';
    // Before the client's end, which is only its reaction to this.
    this.#tap.serverEnd();
    if (this.#firstLine === null) {
      this.#client.reset();
      return;
    }
    this.#host.paused.delete(this.#client);
    this.#refusal = new Refusal(this.#client, this.#clientEnded);
    this.#refusal.judge(this.#firstLine.verdict);
  }

  #onClosed(side: PeerSocket, other: PeerSocket): void {
    side.readNoMore();
    this.#host.paused.delete(side);
    this.#open -= 1;
    if (this.#open === 1) {
      this.#attemptOver();
      // A refused client is closed by its refusal.
      if (!other.stream.destroyed && !(this.#refusal && other === this.#client)) other.stream.destroySoon();
      return;
    }
    this.#attemptOver();
    this.#refusal?.over();
    this.#tap.close(this.#cause ?? (this.#upstreamEnded ? 'server_end' : 'client_end'));
    this.#host.closed(this);
  }
}

/** TLS errors come from the stream. A reset that a probe finds comes from the socket below. */
function onError(side: PeerSocket, act: (error: NodeJS.ErrnoException) => void): void {
  side.stream.on('error', act);
  if (side.socket !== side.stream) side.socket.on('error', act);
}

/**
 * Refuses a client whose upstream cannot be reached, so that the client can read why. It is answered once it is known
 * to speak HTTP/1. Then it is still read for a short time. A close with unread bytes would reset the connection and
 * lose the answer. Other clients are reset.
 */
class Refusal {
  readonly #client: PeerSocket;
  #timer: NodeJS.Timeout;
  #answered = false;

  constructor(client: PeerSocket, clientEnded: boolean) {
    this.#client = client;
    this.#timer = setTimeout(() => client.reset(), clientEnded ? 0 : WIRE.refusalMs);
    client.stream.resume();
  }

  judge(verdict: FirstLine['verdict']): void {
    if (this.#answered || verdict === 'open') return;
    if (verdict === 'other') {
      this.#client.reset();
      return;
    }
    this.#answered = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#client.reset(), WIRE.refusalLingerMs);
    this.#client.stream.end(BAD_GATEWAY);
  }

  /** A client that ends before it has sent a request gets no answer. */
  clientEnded(): void {
    if (!this.#answered) this.#client.stream.end();
  }

  over(): void {
    clearTimeout(this.#timer);
  }
}

/**
 * Whether a client's first bytes are an HTTP/1 request. Our answer to one must not be sent to another protocol. The
 * preface of HTTP/2 differs from a request line only in its version.
 */
export class FirstLine {
  #held: Buffer | null = null;
  #verdict: 'http1' | 'other' | 'open' = 'open';

  /** `open` while too few bytes have come to decide. */
  get verdict(): 'http1' | 'other' | 'open' {
    return this.#verdict;
  }

  take(chunk: Buffer): void {
    if (this.#verdict !== 'open') return;
    const bytes = this.#held ? Buffer.concat([this.#held, chunk]) : chunk;
    const text = bytes.toString('latin1', 0, LINE_BYTES);
    if (WHOLE_LINE.test(text)) this.#verdict = 'http1';
    else if (bytes.length >= LINE_BYTES || !LINE_BEGINNING.test(text)) this.#verdict = 'other';
    // A copy: the chunk may be a slice of something large.
    this.#held = this.#verdict === 'open' ? Buffer.from(bytes) : null;
  }
}
