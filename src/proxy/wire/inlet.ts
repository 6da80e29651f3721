import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';
import { LIMITS } from '../../core/limits.ts';
import type { Slab, SlabPool } from '../slab.ts';

/**
 * Takes what was read; the bytes are lent for the length of the call.
 * @param slab what they lie in, if they have one to themselves
 * @returns false where some of it has to wait
 */
export type TakeBytes = (bytes: Buffer, slab: Slab | null) => boolean;

/**
 * Memory that the sockets of a process are read into. One buffer serves all of them: what was read is copied or gone
 * before the next socket is read. A socket that filled it twice in a row has more to say, and gets a slab to itself,
 * from which its bytes go to the peer and to the recorder without a copy. One that is silent holds nothing, unless
 * all that it said last filled what it was read into to the byte.
 */
export class Intake {
  readonly shared: Buffer = Buffer.allocUnsafeSlow(LIMITS.readBytes);
  readonly #pool: SlabPool;
  #lent = 0;

  constructor(pool: SlabPool) {
    this.#pool = pool;
  }

  /** Null when as many are lent as may be, or wait for slow peers: theirs are read in smaller pieces. */
  lend(): Slab | null {
    const { waiting } = this.#pool;
    if (this.#lent >= LIMITS.intakeSlabs || this.#lent + waiting.count >= LIMITS.waitingSlabs) {
      this.#pool.noteShortage();
      return null;
    }
    this.#lent += 1;
    return this.#pool.take();
  }

  takeBack(slab: Slab): void {
    this.#lent -= 1;
    slab.release();
  }
}

/** One socket's reading into the memory of an intake. */
export class Inlet {
  /** The option of that name of the socket that is to be read so. */
  readonly onread: OnReadOpts;
  readonly #intake: Intake;
  #socket: Socket | null = null;
  #take: TakeBytes = () => true;
  #slab: Slab | null = null;
  /** Reads in a row that left no room, and all of which went at once. */
  #filled = 0;

  constructor(intake: Intake) {
    this.#intake = intake;
    this.onread = {
      buffer: () => this.#slab?.body ?? intake.shared,
      callback: (bytesRead, into) => this.#onRead((into as Buffer).subarray(0, bytesRead), into.length),
    };
  }

  /** Hands over what is read from the socket that has its option. */
  open(socket: Socket, take: TakeBytes): void {
    this.#socket = socket;
    this.#take = take;
  }

  /** To be called when nothing more is read. */
  close(): void {
    this.#giveSlabBack();
  }

  /** @returns false: it is not to be read on now */
  #onRead(bytes: Buffer, roomBytes: number): boolean {
    const went = this.#handOver(bytes);
    this.#giveSlabBack();
    this.#filled = went && bytes.length === roomBytes ? this.#filled + 1 : 0;
    // Once may be chance: a message of that very size.
    if (this.#filled > 1) this.#slab = this.#intake.lend();
    if (this.#filled % LIMITS.readsInRow > 0 || this.#filled === 0) return true;
    setImmediate(() => this.#readOn());
    return false;
  }

  #handOver(bytes: Buffer): boolean {
    try {
      return this.#take(bytes, this.#slab);
    } catch (error) {
      // Something of it may not have gone: an end says so, and a hole in what passes would not.
      this.#socket?.destroy();
      throw error;
    }
  }

  #readOn(): void {
    if (this.#socket?.isPaused() === false) this.#socket.resume();
  }

  #giveSlabBack(): void {
    if (this.#slab) this.#intake.takeBack(this.#slab);
    this.#slab = null;
  }
}

/** What of an accepted socket's handle is needed to read it into memory of our own. */
interface Acceptance {
  _handle: { readonly useUserBuffer?: unknown } | null;
}

/**
 * A socket that is read through an inlet, in the place of one that a server accepted and has not begun to read.
 * Node lets only those who connect say what is read into; a socket that is made of an accepted one's handle may say
 * so too. Where a version of Node should know no such handle, the accepted socket itself is answered, and no inlet.
 */
export function readThrough(
  intake: Intake,
  accepted: Socket,
): { readonly socket: Socket; readonly inlet: Inlet | null } {
  const acceptance = accepted as unknown as Acceptance;
  const handle = acceptance._handle;
  if (typeof handle?.useUserBuffer !== 'function') return { socket: accepted, inlet: null };
  acceptance._handle = null;
  // Nothing is left of it; its server neither counts the client any more nor waits for it as it closes.
  accepted.destroy();
  const inlet = new Inlet(intake);
  const options = { handle, allowHalfOpen: accepted.allowHalfOpen, onread: inlet.onread };
  return { socket: new Socket(options as unknown as SocketConstructorOpts), inlet };
}
