import { AppError } from '../../core/errors.ts';
import { ANSWERED, FAILED, type PairedAnswers, TURNED_AWAY } from './paired-answers.ts';
import {
  CANCELLED,
  grown,
  LATE,
  LEFT_OUT,
  MISSING,
  OPEN,
  SideColumns,
  type SideRow,
} from './side-columns.ts';

/** Of one side; 90 bytes each, with what pairs them. */
export const MAX_COMPARED_ROWS = 16_000_000;
const FIRST_CAPACITY = 1_024;

/** What became of the rows of both sides. */
export interface PairCounts {
  readonly pairs: number;
  readonly onlyA: RowsAlone;
  readonly onlyB: RowsAlone;
  /** Paired, and left out for a cause of our own on either side. */
  readonly leftOut: number;
  /** Of these: answered or failed on the other side. */
  readonly leftOutOfA: LeftOut;
  readonly leftOutOfB: LeftOut;
}

/** Rows of one side without one of the other. */
export interface RowsAlone {
  readonly all: number;
  /** Of these: due within what the other side has rows of. */
  readonly within: number;
}

/** Requests of one side alone. */
export interface LeftOut {
  readonly all: number;
  /** Of these, because that side sent them late. */
  readonly late: number;
}

/**
 * Pairs rows of two sides by the recorded exchange and, where it was played more than once, by which copy. The rows
 * are numbers in columns, never objects: ninety bytes a request, whatever their order.
 */
export class PairTable {
  readonly #segments = new Map<string, number>();
  #segment = new Uint32Array(FIRST_CAPACITY);
  #id = new Float64Array(FIRST_CAPACITY);
  #offsetNs = new Float64Array(FIRST_CAPACITY);
  readonly #a = new SideColumns(FIRST_CAPACITY);
  readonly #b = new SideColumns(FIRST_CAPACITY);
  /** First row of an exchange that has no partner yet, by hash; then the next copy of it. 0 is none. */
  #slots: Int32Array | null = null;
  #next = new Int32Array(0);
  #count = 0;
  readonly #onlyB = { all: 0, within: 0 };
  /** When the last row of each side was due. */
  #endOfANs = Number.NEGATIVE_INFINITY;
  #endOfBNs = Number.NEGATIVE_INFINITY;

  /** Takes a row of A, in the order of the plan. @throws AppError INPUT_INVALID beyond what is bounded */
  addA(row: SideRow): void {
    if (this.#count === MAX_COMPARED_ROWS) {
      throw new AppError('INPUT_INVALID', `a run of over ${MAX_COMPARED_ROWS} requests cannot be compared`, {
        hint: 'Compare runs of a shorter window.',
      });
    }
    if (this.#count === this.#id.length) this.#grow();
    const at = this.#count;
    this.#segment[at] = this.#numberOf(row.segment);
    this.#id[at] = row.exchangeId;
    this.#offsetNs[at] = row.offsetNs;
    this.#a.set(at, row);
    this.#endOfANs = Math.max(this.#endOfANs, row.offsetNs);
    this.#count += 1;
  }

  /** Takes a row of B, in the order of its plan, after all of A. */
  addB(row: SideRow): void {
    this.#endOfBNs = Math.max(this.#endOfBNs, row.offsetNs);
    const at = this.#take(row);
    if (at >= 0) {
      this.#b.set(at, row);
      this.#concludeOpen(at);
    } else countAlone(this.#onlyB, row.offsetNs <= this.#endOfANs);
  }

  counts(): PairCounts {
    let [pairs, leftOut] = [0, 0];
    const onlyA = { all: 0, within: 0 };
    const [leftOutOfA, leftOutOfB] = [
      { all: 0, late: 0 },
      { all: 0, late: 0 },
    ];
    for (let at = 0; at < this.#count; at++) {
      const [a, b] = [this.#a.outcomeAt(at), this.#b.outcomeAt(at)];
      if (b === MISSING) countAlone(onlyA, this.#offsetNs[at]! <= this.#endOfBNs);
      else if (this.#isPair(at)) pairs += 1;
      else {
        leftOut += 1;
        if (b < LATE) countLeftOut(leftOutOfA, a);
        if (a < LATE) countLeftOut(leftOutOfB, b);
      }
    }
    return { pairs, onlyA, onlyB: { ...this.#onlyB }, leftOut, leftOutOfA, leftOutOfB };
  }

  /** The pairs in the order of A, and when each was due. To be called once: it moves the columns together. */
  pairs(): PairedAnswers & { readonly offsetNs: Float64Array } {
    let kept = 0;
    for (let at = 0; at < this.#count; at++) {
      if (!this.#isPair(at)) continue;
      this.#offsetNs[kept] = this.#offsetNs[at]!;
      this.#a.copyWithin(kept, at);
      this.#b.copyWithin(kept, at);
      kept += 1;
    }
    this.#count = kept;
    const [a, b] = [this.#a.first(kept), this.#b.first(kept)];
    return {
      count: kept,
      offsetNs: this.#offsetNs.subarray(0, kept),
      ...{ aNs: a.ns, aTtftNs: a.ttftNs, aItlNs: a.itlNs, aLagNs: a.lagNs },
      ...{ aStatus: a.status, aOutcome: a.outcome, aTraits: a.traits },
      ...{ bNs: b.ns, bTtftNs: b.ttftNs, bItlNs: b.itlNs, bLagNs: b.lagNs },
      ...{ bStatus: b.status, bOutcome: b.outcome, bTraits: b.traits },
    };
  }

  #concludeOpen(at: number): void {
    const [a, b] = [this.#a.outcomeAt(at), this.#b.outcomeAt(at)];
    const [aNs, bNs] = [this.#a.nsAt(at), this.#b.nsAt(at)];
    if (a === OPEN) this.#a.conclude(at, openAs(aNs, b, bNs));
    if (b === OPEN) this.#b.conclude(at, openAs(bNs, a, aNs));
    if (a === CANCELLED) this.#a.conclude(at, cancelledAs(aNs, b, bNs));
    if (b === CANCELLED) this.#b.conclude(at, cancelledAs(bNs, a, aNs));
  }

  #isPair(at: number): boolean {
    return this.#a.outcomeAt(at) < LATE && this.#b.outcomeAt(at) < LATE;
  }

  #numberOf(segment: string): number {
    let number = this.#segments.get(segment);
    if (number === undefined) {
      number = this.#segments.size;
      this.#segments.set(segment, number);
    }
    return number;
  }

  /** The first copy of A's that has no partner yet, or −1. */
  #take({ segment, exchangeId }: SideRow): number {
    const number = this.#segments.get(segment);
    if (number === undefined) return -1;
    this.#slots ??= this.#index();
    const slots = this.#slots;
    for (
      let slot = slotOf(number, exchangeId, slots.length);
      slots[slot] !== 0;
      slot = (slot + 1) % slots.length
    ) {
      const first = slots[slot]! - 1;
      const at = Math.abs(slots[slot]!) - 1;
      if (this.#segment[at] !== number || this.#id[at] !== exchangeId) continue;
      if (first < 0) return -1;
      const next = this.#next[at]!;
      // A chain that is used up stays in its place, negative, so that others behind it are still found.
      slots[slot] = next === 0 ? -(at + 1) : next;
      return at;
    }
    return -1;
  }

  #index(): Int32Array {
    const slots = new Int32Array(2 ** Math.ceil(Math.log2(Math.max(2, this.#count * 2))));
    this.#next = new Int32Array(this.#count);
    // From the end, so that each chain begins with its first copy.
    for (let at = this.#count - 1; at >= 0; at--) {
      let slot = slotOf(this.#segment[at]!, this.#id[at]!, slots.length);
      while (slots[slot] !== 0 && !this.#isSame(slots[slot]! - 1, at)) slot = (slot + 1) % slots.length;
      this.#next[at] = slots[slot]!;
      slots[slot] = at + 1;
    }
    return slots;
  }

  #isSame(one: number, other: number): boolean {
    return this.#segment[one] === this.#segment[other] && this.#id[one] === this.#id[other];
  }

  #grow(): void {
    const capacity = this.#id.length * 2;
    this.#segment = grown(this.#segment, new Uint32Array(capacity));
    this.#id = grown(this.#id, new Float64Array(capacity));
    this.#offsetNs = grown(this.#offsetNs, new Float64Array(capacity));
    this.#a.grow(capacity);
    this.#b.grow(capacity);
  }
}

/**
 * What had as long as the other side needed, and no answer, has failed; what had less says nothing. Where the other
 * side had none either, neither target served it.
 */
function openAs(hadNs: number, other: number, otherNs: number): number {
  return other >= OPEN || other === FAILED || hadNs >= otherNs ? FAILED : LEFT_OUT;
}

/** A client that left had no answer in as long as the other side took for its; where that has none, it wanted none. */
function cancelledAs(hadNs: number, other: number, otherNs: number): number {
  const isAnswered = other === ANSWERED || other === TURNED_AWAY;
  return isAnswered && hadNs >= otherNs ? FAILED : LEFT_OUT;
}

function countAlone(counts: { all: number; within: number }, isWithin: boolean): void {
  counts.all += 1;
  if (isWithin) counts.within += 1;
}

function countLeftOut(counts: { all: number; late: number }, outcome: number): void {
  counts.all += 1;
  if (outcome === LATE) counts.late += 1;
}

function slotOf(segment: number, id: number, slots: number): number {
  let hash = Math.imul(segment + 1, 0x9e3779b1) ^ Math.imul(id >>> 0, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 13)) >>> 0) % slots;
}
