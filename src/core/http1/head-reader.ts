import { LIMITS } from '../limits.ts';
import type { AssemblyBudget } from './budget.ts';
import { GrowingBytes, type Refusal } from './growing-bytes.ts';

const LF = 0x0a;
const CR = 0x0d;

/**
 * Finds where a head ends: at its first blank line. A head that lies whole in one chunk, which is nearly every
 * one, is never copied here; one that comes in pieces is collected and searched once, not once a piece.
 */
export class HeadReader {
  readonly #collected: GrowingBytes;
  readonly #isStartLine: (line: string) => boolean;
  #startLineSeen = false;
  /** The complete head, blank line included: a view, valid only until the call that found it returns. */
  head: Buffer | null = null;
  /** Set when `take` answered -1: what stood against reading on. */
  refusal: Refusal | 'start_line' | null = null;

  /**
   * @param isStartLine Tells at the first line end whether this can be a head at all, so that another protocol
   *   is not collected up to the limit.
   */
  constructor(budget: AssemblyBudget, isStartLine: (line: string) => boolean) {
    this.#collected = new GrowingBytes(LIMITS.headBytes, budget);
    this.#isStartLine = isStartLine;
  }

  /** Whether some bytes of a head have been taken and its end has not come. */
  get inside(): boolean {
    return this.#collected.length > 0;
  }

  /**
   * Position of the first byte that belongs to a head. Line ends before a start line are passed over, as RFC 9112
   * section 2.2 asks of servers and as clients do after an interim response.
   */
  skip(bytes: Uint8Array, from: number): number {
    let at = from;
    if (!this.inside) {
      while (at < bytes.length && (bytes[at] === CR || bytes[at] === LF)) at += 1;
    }
    return at;
  }

  /**
   * Reads on from `from`. Answers the position after the head, with `head` set; or `bytes.length` when more is
   * needed; or -1, with `refusal` set.
   */
  take(bytes: Buffer, from: number): number {
    return this.inside ? this.#takeMore(bytes, from) : this.#takeFirst(bytes, from);
  }

  /** Forgets the head just read, or the piece of one. */
  clear(): void {
    this.#collected.clear();
    this.#startLineSeen = false;
    this.head = null;
  }

  #takeFirst(bytes: Buffer, from: number): number {
    const end = headEnd(bytes, from);
    if (end < 0) return this.#collect(bytes, from);
    if (end - from > LIMITS.headBytes) return this.#refuse('limit');
    this.head = bytes.subarray(from, end);
    return end;
  }

  #takeMore(bytes: Buffer, from: number): number {
    // The end may straddle the pieces: two bytes of it may already be here.
    const before = this.#collected.length;
    const tail = Buffer.concat([this.#collected.view().subarray(-2), bytes.subarray(from, from + 2)]);
    const known = tail.length - Math.min(2, bytes.length - from);
    const straddling = headEnd(tail, 0);
    const end = straddling > known ? from + straddling - known : headEnd(bytes, from);
    if (end < 0) return this.#collect(bytes, from);
    const refusal = this.#collected.append(bytes, from, end);
    if (refusal !== null) return this.#refuse(refusal);
    this.head = this.#collected.view().subarray(0, before + end - from);
    return end;
  }

  #collect(bytes: Buffer, from: number): number {
    const refusal = this.#collected.append(bytes, from, bytes.length);
    if (refusal !== null) return this.#refuse(refusal);
    if (!this.#startLineSeen) {
      const collected = this.#collected.view();
      const lineEnd = collected.indexOf(LF, Math.max(0, collected.length - (bytes.length - from)));
      if (lineEnd >= 0) {
        this.#startLineSeen = true;
        if (!this.#isStartLine(lineText(collected, lineEnd))) return this.#refuse('start_line');
      }
    }
    return bytes.length;
  }

  #refuse(refusal: Refusal | 'start_line'): number {
    this.refusal = refusal;
    return -1;
  }
}

/**
 * Position after the first blank line at or after `from`, or -1. Lines may end in CRLF or in a bare LF. By hand,
 * and every other byte alone: of two line ends that follow each other one is always met, and of a head of some
 * hundred bytes that is known before a search has begun.
 */
export function headEnd(bytes: Uint8Array, from: number): number {
  for (let at = from + 1; at < bytes.length; at += 2) {
    if (bytes[at] !== LF && bytes[at] !== CR) continue;
    const end = blankLineEnd(bytes, at - 1);
    if (end >= 0) return end;
    const next = blankLineEnd(bytes, at);
    if (next >= 0) return next;
  }
  return -1;
}

/** Position after the blank line that follows the line feed at `at`; -1 where there is none of either. */
function blankLineEnd(bytes: Uint8Array, at: number): number {
  if (bytes[at] !== LF) return -1;
  if (bytes[at + 1] === LF) return at + 2;
  return bytes[at + 1] === CR && bytes[at + 2] === LF ? at + 3 : -1;
}

function lineText(bytes: Buffer, lineEnd: number): string {
  const end = bytes[lineEnd - 1] === CR ? lineEnd - 1 : lineEnd;
  return bytes.toString('latin1', 0, end);
}
