import { LIMITS, WIRE } from '../../core/limits.ts';
import { Roster } from '../../core/roster.ts';
import { askPeer, type Side } from '../side.ts';
import type { PassingSide } from './passing-side.ts';

/**
 * Sides that hear nothing of their peers: a socket that is not read, because the other side does not keep up or
 * because it has ended, is not told of a reset. Now and then each is asked. One timer serves all of a process,
 * and runs only while there are such sides.
 */
export class DeafSides {
  readonly #sides = new Roster<PassingSide>();
  #timer: NodeJS.Timeout | null = null;

  /** @param other what its bytes go to; the same whenever the side is added */
  add(side: PassingSide, other: Side): void {
    side.other = other;
    this.#sides.add(side);
    this.#timer ??= setInterval(() => this.#askAll(), WIRE.probeMs).unref();
  }

  delete(side: PassingSide): void {
    this.#sides.remove(side);
  }

  #askAll(): void {
    if (this.#sides.size === 0 && this.#timer) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
    this.#sides.each((side) => {
      if (side.other !== null) ask(side, side.other);
    });
  }
}

/**
 * A write of no bytes sends nothing, and fails where the peer has reset the connection, however much of what it
 * sent before lies unread: nothing is read for it and nothing held. Where nothing may be written any more, or
 * the socket is a unix one (whose peer may be gone although all it said lies here and is wanted), one chunk is
 * read, which the other side holds: up to a bound.
 */
function ask(side: Side, other: Side): void {
  const { stream, socket } = side;
  // What still has bytes to write, or is being connected, is watched by the kernel for that.
  if (stream.destroyed || socket.connecting || stream.writableLength > 0) return;
  if (side.resettable && !stream.writableEnded) askPeer(socket);
  else if (stream.isPaused() && other.stream.writableLength < LIMITS.probedBytes) stream.resume();
}
