/** What a block that was read says of its slots. */
export interface CheckedBlock {
  readonly firstSlot: number;
  readonly slots: number;
  /** Length of each slot; null where the block could not be unpacked. */
  readonly lengths: Uint32Array | null;
}

/** Which slots the blocks of a segment hold, and how long they are: 4 bytes a slot. */
export class SlotTable {
  /** In the order of slots. */
  readonly #blocks: CheckedBlock[] = [];

  /** In the order of slots. */
  add(block: CheckedBlock): void {
    this.#blocks.push(block);
  }

  /** Length of a slot; null when its block could not be unpacked, undefined when no block holds it. */
  lengthOf(slot: number): number | null | undefined {
    const block = this.#blockOf(slot);
    if (block === undefined || slot >= block.firstSlot + block.slots) return undefined;
    return block.lengths === null ? null : block.lengths[slot - block.firstSlot];
  }

  /** The last block that begins at or before a slot. */
  #blockOf(slot: number): CheckedBlock | undefined {
    let low = 0;
    let high = this.#blocks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#blocks[middle]?.firstSlot ?? slot) <= slot) low = middle + 1;
      else high = middle;
    }
    return this.#blocks[low - 1];
  }
}
