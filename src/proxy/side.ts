import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

const NOTHING = Buffer.alloc(0);

/** Before 1.52 libuv, which is that of Node 22, tells a reset that is read together with bytes as an end. */
const MISTAKES_RESETS = isBefore(process.versions.uv, 1, 52);

/**
 * One end of a link. What is read and written may be TLS over the socket beneath it, and that socket alone can
 * be reset and asked whether its peer is still there.
 */
export class Side {
  /** What carries the traffic. */
  readonly stream: Socket;
  /** The socket beneath; the same where there is no TLS. */
  readonly socket: Socket;
  /** A unix socket knows no reset: its peer learns of an abort by the end. */
  readonly resettable: boolean;

  constructor(stream: Socket, socket: Socket, resettable: boolean) {
    this.stream = stream;
    this.socket = socket;
    this.resettable = resettable;
  }

  /**
   * Ends it the hard way, with what it still had to send. While its own end is being sent a reset fails without
   * a word, and the socket would neither close nor be freed; all bytes are on their way by then, and closing
   * cuts none of them off. Nor can a connection that does not exist yet be reset.
   */
  reset(): void {
    const { stream, socket } = this;
    const ending = stream.writableEnded && !stream.writableFinished && stream.writableLength === 0;
    if (this.resettable && !ending && !socket.connecting && !socket.destroyed) socket.resetAndDestroy();
    stream.destroy();
    socket.destroy();
  }

  /**
   * Calls back once an end that was read is known to be none of a reset: the reset then fails a write of no
   * bytes, and comes as the error it is. Where nothing can be written any more it cannot be told, nor where
   * the peer does not take what is to be written: then the end is believed.
   */
  believeEnd(act: () => void): void {
    const { stream, socket } = this;
    if (!MISTAKES_RESETS || !this.resettable || stream.writableEnded || stream.writableLength > 0) act();
    else {
      socket.write(NOTHING, (error) => {
        if (!error) act();
      });
    }
  }
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
  new Side(socket, socket, resettable).reset();
}

function isBefore(version: string, major: number, minor: number): boolean {
  const [ofMajor = 0, ofMinor = 0] = version.split('.').map(Number);
  return ofMajor < major || (ofMajor === major && ofMinor < minor);
}
