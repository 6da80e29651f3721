import type { Socket } from 'node:net';
import { WIRE } from '../core/limits.ts';

type Settle = (error?: NodeJS.ErrnoException | null) => void;

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

  /** Nothing more is to be read: a failure that was not told is told now. */
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
