import { damaged } from './database.ts';
import { PackReader } from './pack-reader.ts';

/**
 * The slots of an unpacked block: a MessagePack array of byte strings, as `encodeSlots` writes it. A slot becomes a
 * view over the block when it is asked for: blocks stay in a cache for long, and a view for each of their slots
 * would be most of what a garbage collector has to walk through.
 */
export class BlockSlots implements Iterable<Uint8Array> {
  readonly #raw: Uint8Array;
  /** Where each begins and ends. */
  readonly #bounds: Uint32Array;

  /** @throws AppError CAPTURE_DAMAGED naming `file` where the bytes are not exactly `count` slots. */
  constructor(raw: Uint8Array, count: number, file: string) {
    this.#raw = raw;
    try {
      this.#bounds = boundsIn(raw);
    } catch (error) {
      throw notThose(file, error);
    }
    if (this.length !== count) throw notThose(file);
  }

  get length(): number {
    return this.#bounds.length / 2;
  }

  /** Undefined where there is none. */
  at(index: number): Uint8Array | undefined {
    const begin = this.#bounds[2 * index];
    return begin === undefined ? undefined : this.#raw.subarray(begin, this.#bounds[2 * index + 1]);
  }

  *[Symbol.iterator](): Generator<Uint8Array, void, undefined> {
    for (let index = 0; index < this.length; index += 1) yield this.at(index) as Uint8Array;
  }
}

/** @throws PackError */
function boundsIn(raw: Uint8Array): Uint32Array {
  const reader = new PackReader(raw);
  const bounds = new Uint32Array(2 * reader.array());
  for (let at = 0; at < bounds.length; at += 2) {
    bounds[at] = reader.passBinary();
    bounds[at + 1] = reader.at;
  }
  reader.end();
  return bounds;
}

function notThose(file: string, cause?: unknown): Error {
  return damaged(file, 'a block does not hold the slots its row promises', cause);
}
