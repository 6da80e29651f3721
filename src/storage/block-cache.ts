/** Unpacked slots of a block or tail. */
export interface UnpackedBlock {
  readonly file: string;
  readonly firstSlot: number;
  readonly slots: readonly Uint8Array[];
  /** Of its content alone. */
  readonly bytes: number;
}

/** Tails are small, and a look-up walks the list: so many blocks are kept at most, whatever their bytes. */
const BLOCKS_MAX = 256;
/** What a slot takes beside its bytes: a view over its block. */
const SLOT_BYTES = 96;
/** A block past this share of the cache would push everything else out of it. */
const LARGEST_SHARE = 0.25;

/**
 * The blocks unpacked last. Reading goes through a capture in order, so nearly every look-up ends at the first
 * entries; slots never change, so what is cached of an open segment stays true.
 */
export class BlockCache {
  readonly #bytesMax: number;
  /** Most recently used first. */
  readonly #blocks: UnpackedBlock[] = [];
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** With what their slots take. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The block that holds a slot, if it is here. */
  find(file: string, slot: number): UnpackedBlock | null {
    const blocks = this.#blocks;
    for (let place = 0; place < blocks.length; place++) {
      const block = blocks[place] as UnpackedBlock;
      if (slot < block.firstSlot || slot >= block.firstSlot + block.slots.length || block.file !== file)
        continue;
      // Heads and bodies lie in blocks of their own, so that the first few change places at every look-up.
      for (let at = place; at > 0; at--) blocks[at] = blocks[at - 1] as UnpackedBlock;
      blocks[0] = block;
      return block;
    }
    return null;
  }

  add(block: UnpackedBlock): void {
    if (sizeOf(block) > this.#bytesMax * LARGEST_SHARE) return;
    this.#blocks.unshift(block);
    this.#bytes += sizeOf(block);
    while (this.#bytes > this.#bytesMax || this.#blocks.length > BLOCKS_MAX) {
      const oldest = this.#blocks.pop();
      if (oldest === undefined) return;
      this.#bytes -= sizeOf(oldest);
    }
  }
}

function sizeOf({ bytes, slots }: UnpackedBlock): number {
  return bytes + slots.length * SLOT_BYTES;
}
