import type { Socket } from 'node:net';
import { LIMITS } from '../../core/limits.ts';
import type { Enrolled } from '../../core/roster.ts';
import { giveBack } from '../../core/spent-memory.ts';
import { FailedWrite } from '../failed-write.ts';
import { Side } from '../side.ts';
import type { Piece, Slab } from '../slab.ts';
import type { Inlet, TakeBytes } from './inlet.ts';

/** A side whose bytes are read and which is written to. */
export class PassingSide extends Side implements Enrolled {
  /** Among the deaf ones. */
  place = -1;
  /** The other end of its link, once it was deaf. */
  other: Side | null = null;
  readonly #inlet: Inlet | null;
  readonly #failedWrite: FailedWrite;

  /** @param inlet what its socket is read through; null for one that makes its own memory */
  constructor(stream: Socket, socket: Socket, resettable: boolean, inlet: Inlet | null) {
    super(stream, socket, resettable);
    this.#inlet = inlet;
    this.#failedWrite = new FailedWrite(stream, socket);
  }

  /** Hands over what is read. */
  set onBytes(take: TakeBytes) {
    if (this.#inlet) this.#inlet.open(this.socket, take);
    else {
      this.stream.on('data', (chunk: Buffer) => {
        take(chunk, null);
        giveBack(chunk);
      });
    }
  }

  /**
   * Writes pieces that follow each other. What the kernel does not take at once keeps its slab, or is a copy.
   * @returns false where something waits and nothing more should come
   */
  pass(pieces: readonly Piece[]): boolean {
    const { stream } = this;
    // A side that is gone takes nothing more; its close ends the other one too.
    if (!stream.writable) return true;
    let room = true;
    for (const { bytes, slab } of pieces)
      room = slab === null || this.#isCopied(bytes, slab) ? this.#copy(bytes) : this.#write(bytes, slab);
    // Where nothing waits nothing has to drain, whatever the stream says of itself.
    return room || stream.writableLength === 0;
  }

  /** Where a write has failed, its error has told already what the end is. */
  override believeEnd(act: () => void): void {
    const { failed, brokeOff } = this.#failedWrite;
    if (!failed) super.believeEnd(act);
    else if (!brokeOff) act();
    this.#failedWrite.tell();
  }

  /** To be called when it has ended or is closed. */
  readNoMore(): void {
    this.#inlet?.close();
    this.#failedWrite.tell();
  }

  /**
   * TLS makes everything wait, and so does a peer that is behind or being connected: a stopped reader keeps one slab
   * at most. What was read into a slab of its own is never copied out of it: few are lent.
   */
  #isCopied(bytes: Buffer, slab: Slab): boolean {
    const { stream, socket } = this;
    if (stream !== socket || stream.writableLength > 0 || socket.connecting) return true;
    if (slab.pool.waiting.hasRoom || bytes.length > LIMITS.readBytes) return false;
    slab.pool.noteShortage();
    return true;
  }

  #write(bytes: Buffer, slab: Slab): boolean {
    const room = this.stream.write(bytes);
    if (this.stream.writableLength > 0) slab.pool.waiting.add(this.stream, slab);
    return room;
  }

  #copy(bytes: Buffer): boolean {
    const copy = Buffer.from(bytes);
    const room = this.stream.write(copy);
    if (this.stream.writableLength === 0) giveBack(copy);
    return room;
  }
}
