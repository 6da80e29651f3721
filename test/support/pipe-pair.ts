import { Duplex } from 'node:stream';

/** One end of a pipe within this process. Like a socket, it copies data for the reader and has a limited buffer. */
class PipeEnd extends Duplex {
  other: PipeEnd | null = null;
  #onRead: (() => void) | null = null;

  override _read(): void {
    const onRead = this.#onRead;
    this.#onRead = null;
    onRead?.();
  }

  override _write(chunk: Buffer, _: BufferEncoding, written: () => void): void {
    this.other?.receive(chunk, written);
  }

  receive(chunk: Buffer, written: () => void): void {
    const copy = Buffer.allocUnsafeSlow(chunk.length);
    copy.set(chunk);
    if (this.destroyed || this.push(copy)) written();
    else this.#onRead = written;
  }
}

/** Two ends of a pipe without system calls and delays. */
export function pipePair(): [Duplex, Duplex] {
  const [one, other] = [new PipeEnd(), new PipeEnd()];
  one.other = other;
  other.other = one;
  return [one, other];
}
