import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { WIRE } from '../../core/limits.ts';

const NOTHING = Buffer.alloc(0);

/** Before 1.52 libuv, which is that of Node 22, reports a reset that is read together with bytes as an end. */
const MISTAKES_RESETS = isBefore(process.versions.uv, 1, 52);

type Settle = (error?: NodeJS.ErrnoException | null) => void;

/**
 * One end of a proxied connection. What is read and written may be TLS over the socket beneath it, and that socket
 * alone can be reset and asked whether its peer is still there.
 */
export class PeerSocket {
  /** What carries the traffic. */
  readonly stream: Socket;
  /** The socket beneath; the same where there is no TLS. */
  readonly socket: Socket;
  /** A unix socket knows no reset: its peer learns of an abort by the end. */
  readonly resettable: boolean;
  readonly #failedWrite: FailedWrite;

  constructor(stream: Socket, socket: Socket, resettable: boolean) {
    this.stream = stream;
    this.socket = socket;
    this.resettable = resettable;
    this.#failedWrite = new FailedWrite(stream, socket);
  }

  /** @returns false where some of it waits, and nothing more should come until `drain` */
  write(bytes: Buffer): boolean {
    // A side that is gone takes nothing more; its close ends the other one too.
    if (!this.stream.writable) return true;
    // Where nothing waits nothing has to drain, whatever the stream says of a chunk of its own size.
    return this.stream.write(bytes) || this.stream.writableLength === 0;
  }

  /** Ends it the hard way, with what it still had to send. */
  reset(): void {
    resetStream(this.stream, this.socket, this.resettable);
  }

  /**
   * Calls back once an end that was read is known to be none of a reset: a reset fails a write of no bytes, and comes
   * as the error it is. Where nothing can be written any more, or the peer does not take what is to be written, it
   * cannot be told: the end is believed. Where a write has failed, its error has told already what the end is.
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

  /** Call this when it has ended or is closed: reports a failure that waited for the rest to be read. */
  readNoMore(): void {
    this.#failedWrite.tell();
  }
}

/**
 * While its own end is being sent a reset fails without a word, and the socket would neither close nor be freed; all
 * bytes are on their way by then, and closing cuts none of them off. Nor can a connection that does not exist yet be
 * reset.
 */
function resetStream(stream: Socket, socket: Socket, resettable: boolean): void {
  const ending = stream.writableEnded && !stream.writableFinished && stream.writableLength === 0;
  if (resettable && !ending && !socket.connecting && !socket.destroyed) socket.resetAndDestroy();
  stream.destroy();
  socket.destroy();
}

/**
 * Asks whether the peer of a socket that is not read is still there: a write of no bytes sends nothing, and fails
 * where the peer has reset the connection, however much of what it sent lies unread. What is being connected or
 * still has bytes to write is watched by the kernel for that; what has ended its own side cannot be asked.
 */
export function askPeer(socket: Socket): void {
  if (!socket.destroyed && !socket.connecting && !socket.writableEnded && socket.writableLength === 0) {
    socket.write(NOTHING);
  }
}

/**
 * Resets what one of Node's own servers or agents handed out. A unix socket knows no reset, and what lies beneath
 * a TLS stream of theirs is out of reach: Node throws when asked. Those are closed at once, which under TLS is an
 * end without its farewell, and so no whole answer either.
 */
export function resetSocket(socket: Socket): void {
  const resettable = !(socket instanceof TLSSocket) && socket.remoteAddress !== undefined;
  resetStream(socket, socket, resettable);
}

/**
 * The write that failed on a side because its peer is gone. What the peer said before, an answer to an upload that
 * it does not want for one, lies in the kernel and is handed out to whoever reads on; but Node destroys a socket with
 * the first write that fails, and what was not read goes with it. So the failure is told when that is read, or after
 * a moment. Until then the write is one that is still on its way, which is all that a stream can be told by those
 * who write for it: to them, `_write` and `_writev` are what Node documents.
 */
export class FailedWrite {
  readonly #stream: Socket;
  #error: NodeJS.ErrnoException | null = null;
  #tell: (() => void) | null = null;
  #timer: NodeJS.Timeout | null = null;

  /** @param stream what is read; it and what lies beneath it may be written to */
  constructor(stream: Socket, socket: Socket) {
    this.#stream = stream;
    this.#watch(stream);
    if (socket !== stream) this.#watch(socket);
  }

  /** Whether one has failed. */
  get failed(): boolean {
    return this.#error !== null;
  }

  /**
   * Whether the peer reset the connection without having ended its side. The kernel told of it once, to the write,
   * and calls what comes behind the last bytes an end; it is one only where the write met `EPIPE`.
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
    // Under TLS a second one may fail; the first ends the connection.
    if (this.#error) return;
    this.#error = error;
    this.#tell = () => settle(error);
    // A loop that stood still meanwhile reads what is there before it gives up.
    this.#timer = setTimeout(() => setImmediate(() => this.tell()), WIRE.readOutMs);
  }
}

const FAILED_WRITES = new WeakMap<Socket, FailedWrite>();

/** Of a socket that Node's own servers or agents handed out; one and the same for all that passes on it. */
export function failedWriteOf(socket: Socket): FailedWrite {
  const known = FAILED_WRITES.get(socket) ?? new FailedWrite(socket, socket);
  FAILED_WRITES.set(socket, known);
  return known;
}

function isBefore(version: string, major: number, minor: number): boolean {
  const [ofMajor = 0, ofMinor = 0] = version.split('.').map(Number);
  return ofMajor < major || (ofMajor === major && ofMinor < minor);
}
