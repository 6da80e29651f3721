import { HASH_ROOM_BYTES, type RunningHash } from '../../core/keyed-hash.ts';
import type { AssemblyBudget } from '../../http1/budget.ts';

/** Blocks of what has no announced length, or not much of it yet, double between these. */
const FIRST_BLOCK_BYTES = 4 * 1024;
const LARGEST_BLOCK_BYTES = 256 * 1024;
/** When so much has come of an announced length, and this share of it, it is believed. */
const BELIEVED_BYTES = 256 * 1024;
const BELIEVED_SHARE = 1 / 8;
/** Of what lies in one block from then on, so much is paid for at once. */
const PAID_BYTES = 256 * 1024;

const EMPTY_BUFFER = Buffer.alloc(0);

/**
 * The beginning of a body, up to a cap and to what the budget has room for. Chunks are copied into few blocks, so
 * that a body dripping in byte by byte costs what its size says. An announced length is believed when it is small,
 * or when so much has come that it is no mere claim: from then on all lies in one block and need not be joined, and
 * it is paid for as it fills, because the kernel gives memory as it is written. What is asked of the kernel is so
 * never more than eight times what is paid for.
 */
export class KeptPrefix {
  readonly #capBytes: number;
  readonly #expectedBytes: number | null;
  readonly #budget: AssemblyBudget;
  /** The first has room for a hash in front of it, so that a body of one block is hashed where it lies. */
  #blocks: Buffer[] = [];
  #roomy: Buffer = EMPTY_BUFFER;
  /** Of the last block. */
  #fill = 0;
  /** How far the last block is paid for. */
  #paid = 0;
  #reservedBytes = 0;
  #bytes = 0;
  #cut = false;

  /** @param expectedBytes the announced length, null when there is none */
  constructor(capBytes: number, expectedBytes: number | null, budget: AssemblyBudget) {
    this.#capBytes = capBytes;
    this.#expectedBytes = expectedBytes;
    this.#budget = budget;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** There was more than may be kept. */
  get cut(): boolean {
    return this.#cut;
  }

  /** Copies what may be kept of it. */
  add(bytes: Buffer): void {
    if (this.#cut) return;
    const room = this.#capBytes - this.#bytes;
    this.#copy(bytes.length <= room ? bytes : bytes.subarray(0, room));
    if (bytes.length > room) this.#cut = true;
  }

  /** So many bytes at most: a view where one block has them. */
  beginning(mostBytes: number): Buffer {
    const bytes = Math.min(mostBytes, this.#bytes);
    const first = this.#blocks[0] ?? EMPTY_BUFFER;
    return first.length >= bytes ? first.subarray(0, bytes) : Buffer.concat(this.#blocks, bytes);
  }

  /** Hashes the first so many bytes. */
  hashInto(hash: RunningHash, bytes: number): void {
    let left = bytes;
    for (const block of this.#blocks) {
      if (left > 0) hash.update(block.subarray(0, left));
      left -= Math.min(left, block.length);
    }
  }

  /** All of it, with room for a hash in front; empty when there is nothing. */
  joined(): Buffer {
    const [first, ...more] = this.#blocks;
    if (first === undefined || (more.length === 0 && this.#bytes === first.length)) return this.#roomy;
    // A copy: the unused rest of the last block would live as long as the body.
    this.#moveTo(this.#bytes);
    return this.#roomy;
  }

  /** Gives the budget back. */
  release(): void {
    this.#budget.release(this.#reservedBytes);
    this.#reservedBytes = 0;
  }

  #copy(bytes: Buffer): void {
    let from = 0;
    while (from < bytes.length) {
      if (this.#fill === this.#paid && !this.#makeRoom(bytes.length - from)) {
        this.#cut = true;
        return;
      }
      const end = Math.min(bytes.length, from + this.#paid - this.#fill);
      this.#blocks.at(-1)?.set(bytes.subarray(from, end), this.#fill);
      this.#fill += end - from;
      this.#bytes += end - from;
      from = end;
    }
  }

  #makeRoom(neededBytes: number): boolean {
    const wholeBytes = Math.min(this.#capBytes, this.#expectedBytes ?? 0);
    const enoughBytes = Math.max(BELIEVED_BYTES, BELIEVED_SHARE * wholeBytes);
    const believed = this.#bytes >= enoughBytes && wholeBytes > this.#bytes;
    const bytes = believed
      ? Math.min(PAID_BYTES, wholeBytes - this.#bytes)
      : this.#nextBlockBytes(neededBytes);
    if (!this.#budget.reserve(bytes)) return false;
    this.#reservedBytes += bytes;
    if (!believed) this.#addBlock(bytes);
    else if (this.#blocks[0]?.length !== wholeBytes) this.#moveTo(wholeBytes);
    this.#paid = this.#fill + bytes;
    return true;
  }

  #addBlock(bytes: number): void {
    const first = this.#blocks.length === 0;
    if (first) this.#roomy = Buffer.allocUnsafe(HASH_ROOM_BYTES + bytes);
    this.#blocks.push(first ? this.#roomy.subarray(HASH_ROOM_BYTES) : Buffer.allocUnsafe(bytes));
    this.#fill = 0;
  }

  /** An announced small length is taken at its word: one block, no joining. */
  #nextBlockBytes(neededBytes: number): number {
    const room = this.#capBytes - this.#bytes;
    const expected = Math.min(room, (this.#expectedBytes ?? room) - this.#bytes);
    if (this.#expectedBytes !== null && expected > 0 && expected <= LARGEST_BLOCK_BYTES) return expected;
    const doubled = this.#blocks.length === 0 ? FIRST_BLOCK_BYTES : 2 * (this.#blocks.at(-1)?.length ?? 0);
    return Math.min(room, Math.max(neededBytes, Math.min(doubled, LARGEST_BLOCK_BYTES)));
  }

  /** Puts everything into one block of this size. */
  #moveTo(blockBytes: number): void {
    const roomy = Buffer.allocUnsafe(HASH_ROOM_BYTES + blockBytes);
    let at = HASH_ROOM_BYTES;
    for (const block of this.#blocks) at += block.copy(roomy, at, 0, HASH_ROOM_BYTES + this.#bytes - at);
    this.#roomy = roomy;
    this.#blocks = [roomy.subarray(HASH_ROOM_BYTES)];
    this.#fill = this.#bytes;
  }
}
