import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { LIMITS, WIRE } from '../../core/limits.ts';

const NOTHING = Buffer.alloc(0);

/** libuv before 1.52 (Node 22 has it) reports a reset as an end when it is read together with bytes. */
const MISTAKES_RESETS = isBefore(process.versions.uv, 1, 52);

type Settle = (error?: NodeJS.ErrnoException | null) => void;

/**
 * One end of a proxied connection. With TLS the traffic goes through a stream above the socket; only the socket can be
 * reset, and only the socket can be probed for its peer.
 */
export class PeerSocket {
  /** Carries the traffic. */
  readonly stream: Socket;
  /** The socket below the stream; the same object without TLS. */
  readonly socket: Socket;
  /** A unix socket has no reset: its peer sees an abort as an end. */
  readonly resettable: boolean;
  readonly #failedWrite: FailedWrite;

  constructor(stream: Socket, socket: Socket, resettable: boolean) {
    this.stream = stream;
    this.socket = socket;
    this.resettable = resettable;
    this.#failedWrite = new FailedWrite(stream, socket);
  }

  /** A socket of Node's own servers or agents. Node cannot reset those that speak TLS. */
  static ofNode(socket: Socket): PeerSocket {
    return new PeerSocket(socket, socket, isResettable(socket));
  }

  /** @returns false if bytes wait to be sent; write nothing more until `drain` */
  write(bytes: Buffer): boolean {
    // A closed side takes nothing. Its close event ends the other side.
    if (!this.stream.writable) return true;
    // A stream returns false for one large chunk even if all of it was sent; then no `drain` follows.
    return this.stream.write(bytes) || this.stream.writableLength === 0;
  }

  /** Resets the connection. Bytes that were not sent are dropped. */
  reset(): void {
    resetStream(this.stream, this.socket, this.resettable);
  }

  /**
   * Calls back if the end that was read is a true end and not a reset. An empty write tells them apart: it fails after
   * a reset, and the error event follows. If nothing can be written any more, or bytes still wait, the end is believed.
   * If a write has failed before, its error code tells which it is.
   */
  confirmEnd(act: () => void): void {
    const { stream, socket } = this;
    const { failed, brokeOff } = this.#failedWrite;
    if (failed) {
      if (!brokeOff) act();
      this.#failedWrite.tell();
      return;
    }
    if (!MISTAKES_RESETS || !this.resettable || stream.writableEnded || stream.writableLength > 0) act();
    else {
      socket.write(NOTHING, (error) => {
        if (!error) act();
      });
    }
  }

  /** To be called at the end or close: reports a write failure that was held back. */
  readNoMore(): void {
    this.#failedWrite.tell();
  }
}

/**
 * A socket whose own end is being sent cannot be reset: the call fails silently and the socket leaks. Its bytes are
 * with the kernel by then, so it is closed instead. A socket that is still connecting cannot be reset either.
 */
function resetStream(stream: Socket, socket: Socket, resettable: boolean): void {
  const ending = stream.writableEnded && !stream.writableFinished && stream.writableLength === 0;
  if (resettable && !ending && !socket.connecting && !socket.destroyed) socket.resetAndDestroy();
  stream.destroy();
  socket.destroy();
}

/**
 * Probes the peer of a socket that is not being read. An empty write sends nothing, and fails if the peer has reset the
 * connection, even if bytes of it lie unread. A socket that connects or has bytes to send learns of a reset by itself.
 * One that has ended its own side cannot be probed.
 */
export function askPeer(socket: Socket): void {
  if (!socket.destroyed && !socket.connecting && !socket.writableEnded && socket.writableLength === 0) {
    socket.write(NOTHING);
  }
}

/**
 * Resets a socket of Node's own servers or agents. Unix sockets have no reset, and Node throws for their TLS sockets:
 * those are closed at once. Under TLS that is an end without `close_notify`, so the peer sees a truncated message.
 */
export function resetSocket(socket: Socket): void {
  resetStream(socket, socket, isResettable(socket));
}

function isResettable(socket: Socket): boolean {
  return !(socket instanceof TLSSocket) && socket.remoteAddress !== undefined;
}

/**
 * Holds back a write error of a socket until its peer's last bytes are read. A peer may answer an upload (401, say) and
 * close without reading it; the answer then lies in the kernel when our write fails. Node destroys a socket at its
 * first failed write, and would drop the answer. So the write stays pending until the answer is read, or for a short
 * time. To hold it, `_write` and `_writev` are wrapped, which Node documents for implementers of streams.
 */
export class FailedWrite {
  readonly #stream: Socket;
  #error: NodeJS.ErrnoException | null = null;
  #tell: (() => void) | null = null;
  #timer: NodeJS.Timeout | null = null;

  /** @param stream the stream that is read. It and the socket below it may be written to */
  constructor(stream: Socket, socket: Socket) {
    this.#stream = stream;
    this.#watch(stream);
    if (socket !== stream) this.#watch(socket);
  }

  get failed(): boolean {
    return this.#error !== null;
  }

  /**
   * Whether the peer reset the connection before it ended its side. The kernel reports a reset once, to the write, and
   * then calls the end of the bytes an end. It is a true end only if the write failed with `EPIPE`.
   */
  get brokeOff(): boolean {
    return this.#error !== null && this.#error.code !== 'EPIPE';
  }

  /** Nothing more can be read: reports a pending failure now. */
  tell(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const tell = this.#tell;
    this.#tell = null;
    tell?.();
  }

  #watch(socket: Socket): void {
    const { _write: write, _writev: writev } = socket;
    let settleWrite: Settle = () => undefined;
    // A stream has one write under way at a time.
    const settle: Settle = (error) => {
      if (error && this.#mayRead) this.#hold(error, settleWrite);
      else settleWrite(error);
    };
    socket._write = (chunk, encoding, settled) => {
      settleWrite = settled;
      write.call(socket, chunk, encoding, settle);
    };
    if (!writev) return;
    socket._writev = (chunks, settled) => {
      settleWrite = settled;
      writev.call(socket, chunks, settle);
    };
  }

  get #mayRead(): boolean {
    return !this.#stream.destroyed && !this.#stream.readableEnded;
  }

  #hold(error: NodeJS.ErrnoException, settle: Settle): void {
    // Under TLS a second write may fail; the first error ends the connection.
    if (this.#error) return;
    this.#error = error;
    this.#tell = () => settle(error);
    // After a pause of the event loop, what has arrived is read first.
    this.#timer = setTimeout(() => setImmediate(() => this.tell()), WIRE.readOutMs);
  }
}

const FAILED_WRITES = new WeakMap<Socket, FailedWrite>();

/** For a socket of Node's own servers or agents: one per socket, shared by all of its requests. */
export function failedWriteOf(socket: Socket): FailedWrite {
  const known = FAILED_WRITES.get(socket) ?? new FailedWrite(socket, socket);
  FAILED_WRITES.set(socket, known);
  return known;
}

function isBefore(version: string, major: number, minor: number): boolean {
  const [ofMajor = 0, ofMinor = 0] = version.split('.').map(Number);
  return ofMajor < major || (ofMajor === major && ofMinor < minor);
}

/**
 * Sides that are not read, because the other side does not keep up or because they have ended. A paused socket does not
 * notice a reset, so each side is probed regularly. One timer serves the whole process, and runs only while there are
 * such sides.
 */
export class PausedPeers {
  readonly #sides = new Map<PeerSocket, () => number>();
  #timer: NodeJS.Timeout | null = null;

  /** @param other the receiver of its bytes @param heldBytes number of bytes that wait on their way there */
  add(side: PeerSocket, other: PeerSocket, heldBytes = () => 0): void {
    this.#sides.set(side, () => heldBytes() + other.stream.writableLength);
    this.#timer ??= setInterval(() => this.#askAll(), WIRE.probeMs).unref();
  }

  delete(side: PeerSocket): void {
    this.#sides.delete(side);
  }

  #askAll(): void {
    if (this.#sides.size === 0 && this.#timer) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
    for (const [side, unsentBytes] of this.#sides) ask(side, unsentBytes);
  }
}

/**
 * Probes the peer of a paused side. An empty write sends nothing, and fails if the peer has reset the connection, even
 * if its bytes lie unread. It needs no reading and no memory. Two cases need one chunk to be read instead: nothing may
 * be written any more, or it is a unix socket. The other side buffers the chunk, up to a limit. (The peer of a unix
 * socket may be gone although its unread bytes are still wanted.)
 */
function ask(side: PeerSocket, unsentBytes: () => number): void {
  const { stream, socket } = side;
  // A socket that connects, or has bytes to write, learns of a reset by itself.
  if (stream.destroyed || socket.connecting || stream.writableLength > 0) return;
  if (side.resettable && !stream.writableEnded) askPeer(socket);
  else if (stream.isPaused() && unsentBytes() < LIMITS.probedBytes) stream.resume();
}
