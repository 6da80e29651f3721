import { WIRE } from '../../core/limits.ts';
import type { ConnectionFailure } from '../data-plane.ts';
import type { PausedPeers, PeerSocket } from '../net/peer-socket.ts';
import { connectTimeout, isRefusal } from '../net/upstream-notice.ts';
import type { CloseCause } from '../tap/frames.ts';
import type { ConnectionTap } from '../tap/recorder-client.ts';
import type { TargetWatch } from './target-watch.ts';

const BAD_GATEWAY = 'HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';
const LINE_BYTES = 8 * 1024;
const LINE_BEGINNING = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}(?: [^\s]*(?: H?T?T?P?\/?1?\.?[01]?\r?)?)?$/;
const WHOLE_LINE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40} [^\s]+ HTTP\/1\.[01]\r?\n/;

export interface Upstream {
  readonly side: PeerSocket;
  /** The event of its stream that says it is there; null where it is. */
  readonly ready: 'connect' | 'secureConnect' | null;
}

export interface ConnectionHost {
  readonly paused: PausedPeers;
  readonly refused: 'reset' | '502';
  /** Asked again where it refused a connection; null where it is there. */
  readonly target: TargetWatch | null;
  /**
   * The upstream was not there for this client. `null`: for want of a descriptor.
   * @param error what it failed by, if anything said so
   */
  failed(failure: ConnectionFailure | null, error?: Error): void;
  /** Told by what an upstream refuses that is asked again. */
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
  readonly #tap: ConnectionTap;
  readonly #host: ConnectionHost;
  /** Ends the attempt or the wait that is under way; null when the upstream is there. */
  #connecting: (() => void) | null = null;
  /** What the client said so far, as long as it may have to be said to another connection. */
  #unsent: Buffer[] | null = null;
  #unsentBytes = 0;
  /** Until when an upstream that refuses is asked again; null before it has refused. */
  #waitEndNs: number | null = null;
  /** What the client began with, as long as a refusal may have to be written. */
  #firstLine: FirstLine | null;
  #refusal: Refusal | null = null;
  #answered = false;
  #clientEnded = false;
  #upstreamEnded = false;
  #cause: CloseCause | null = null;
  #open = 2;

  constructor(client: PeerSocket, reach: () => Upstream, tap: ConnectionTap, host: ConnectionHost) {
    this.#client = client;
    this.#reach = reach;
    this.#tap = tap;
    this.#host = host;
    this.#firstLine = host.refused === '502' ? new FirstLine() : null;
    this.#upstream = this.#attempt();
    if (this.#connecting && host.target !== null) this.#unsent = [];
    // A header that was read before left it paused.
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
    // What has ended is not read again, and is asked until it is closed.
    if (!(side === this.#client ? this.#clientEnded : this.#upstreamEnded)) this.#host.paused.delete(side);
    side.stream.resume();
  }

  /** An upstream that refused takes no bytes, so it is this that pauses a client. */
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

  /** Whether the upstream has refused and is waited for: a client that leaves now leaves because of that. */
  get #isRefused(): boolean {
    return this.#connecting !== null && this.#waitEndNs !== null;
  }

  #attemptOver(): void {
    this.#connecting?.();
    this.#connecting = null;
  }

  /**
   * The upstream could not be connected to, so nothing was sent to it: a client of its own would try again, and one of
   * ours would not, because its connection was accepted.
   * @returns whether that is waited for
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
    // Whatever it still says of itself concerns nobody.
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
    // A TLS handshake would not survive the end of what carries it.
    if (!this.#connecting) this.#upstream.stream.end();
    this.#refusal?.clientEnded();
    this.#host.paused.add(this.#client, this.#upstream);
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
    this.#host.paused.add(this.#upstream, this.#client);
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
    if (this.#isRefused) this.#tap.serverEnd();
    this.#cause ??= 'client_reset';
    this.#upstream.reset();
  }

  /**
   * The upstream failed. The client is reset at once, unless the upstream had already said all it had to say:
   * then the client first gets what is still on its way to it.
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
    // Our own cut, or the client's, ended the attempt.
    if (this.#cause) return;
    this.#host.failed(error?.code === 'EMFILE' || error?.code === 'ENFILE' ? null : failure, error);
    this.#refuse();
    this.#upstream.reset();
  }

  /** Nothing was answered and nothing will be. */
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
      // A client that is refused is let go by its refusal.
      if (!other.stream.destroyed && !(this.#refusal && other === this.#client)) other.stream.destroySoon();
      return;
    }
    this.#attemptOver();
    this.#refusal?.over();
    this.#tap.close(this.#cause ?? (this.#upstreamEnded ? 'server_end' : 'client_end'));
    this.#host.closed(this);
  }
}

/** Errors of TLS come from the stream, a reset met by a probe from the socket beneath. */
function onError(side: PeerSocket, act: (error: NodeJS.ErrnoException) => void): void {
  side.stream.on('error', act);
  if (side.socket !== side.stream) side.socket.on('error', act);
}

/**
 * A client whose upstream cannot be reached and who is to read why. It is answered once it is known to speak
 * HTTP/1, then read to its end for a moment, because closing over unread bytes would reset the answer away.
 * Anything else is reset.
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

  /** A client that ends before it has asked for anything is owed no answer. */
  clientEnded(): void {
    if (!this.#answered) this.#client.stream.end();
  }

  over(): void {
    clearTimeout(this.#timer);
  }
}

/**
 * Whether what a client sends first is an HTTP/1 request: an answer written for one must not go to anything
 * else. The preface of HTTP/2 looks like a request line but for its version.
 */
export class FirstLine {
  #held: Buffer | null = null;
  #verdict: 'http1' | 'other' | 'open' = 'open';

  /** `open` while too little has come to say. */
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
