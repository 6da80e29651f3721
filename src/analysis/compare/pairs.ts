import { AppError } from '../../core/errors.ts';
import type { ExchangeRow } from '../../core/exchange.ts';
import { hasFailed, isTurnedAway, readyOffsetNs, type Send } from '../../core/run.ts';

/** What became of a request on one side. */
export const ANSWERED = 0;
export const FAILED = 1;
/** Answered with a 4xx or a 3xx: an answer, but not the one that was asked for. */
export const TURNED_AWAY = 2;

/** Traits of an answer, as bits: how it came, where that is known, and how it compares with the recorded one. */
export const STREAMED = 1;
export const WHOLE = 8;
export const AGREES = 2;
export const DIFFERS = 4;
export const CHECKED = AGREES | DIFFERS;

/**
 * The same requests on both sides, in the order of the plan, one position each. Latencies are nanoseconds,
 * Infinity for a request without a complete answer, with a 5xx, or refused by our own cap.
 */
export interface PairedAnswers {
  readonly count: number;
  readonly aNs: Float64Array;
  readonly bNs: Float64Array;
  /** `ANSWERED`, `FAILED` or `TURNED_AWAY`. */
  readonly aOutcome: Uint8Array;
  readonly bOutcome: Uint8Array;
  /** 0 if absent. */
  readonly aStatus: Uint16Array;
  readonly bStatus: Uint16Array;
  /** From the planned instant to the first token, nanoseconds; Infinity where a stream had none, NaN: not known. */
  readonly aTtftNs: Float32Array;
  readonly bTtftNs: Float32Array;
  /** Mean time between neighbouring events with content of one stream, nanoseconds; NaN: not known. */
  readonly aItlNs: Float32Array;
  readonly bItlNs: Float32Array;
  /** How late we sent it by ourselves, nanoseconds: a part of latency and of the time to the first token. */
  readonly aLagNs: Float32Array;
  readonly bLagNs: Float32Array;
  readonly aTraits: Uint8Array;
  readonly bTraits: Uint8Array;
}

/** One time of both sides, pair by pair in the order of the plan, nanoseconds; Infinity for what never came. */
export interface PairedTimes {
  readonly a: Float64Array;
  readonly b: Float64Array;
}

/** The latencies of pairs that can be compared: a 4xx or 3xx is no cheaper answer, so where either side has one, none is. */
export function comparableLatencies(
  pairs: Pick<PairedAnswers, 'count' | 'aNs' | 'bNs' | 'aOutcome' | 'bOutcome'>,
): PairedTimes {
  return keptTimes(
    pairs.count,
    (at) => (isPairTurnedAway(pairs, at) ? Number.NaN : pairs.aNs[at]!),
    (at) => pairs.bNs[at]!,
  );
}

/** The same of the same pairs, each counted from when we sent it. */
export function latenciesLessLag(pairs: PairedAnswers): PairedTimes {
  const { aNs, bNs, aLagNs, bLagNs } = pairs;
  return comparableLatencies({
    ...pairs,
    aNs: aNs.map((each, at) => Math.max(0, each - aLagNs[at]!)),
    bNs: bNs.map((each, at) => Math.max(0, each - bLagNs[at]!)),
  });
}

/** Times to the first token, for pairs with a stream on at least one side. A failed side has none. */
export function comparableTtfts(pairs: PairedAnswers): PairedTimes {
  const { aTraits, bTraits, aOutcome, bOutcome, aTtftNs, bTtftNs } = pairs;
  const isStream = (at: number) =>
    !isPairTurnedAway(pairs, at) && ((aTraits[at]! | bTraits[at]!) & STREAMED) > 0;
  const timeOf = (outcomes: Uint8Array, times: Float32Array) => (at: number) =>
    !isStream(at) ? Number.NaN : outcomes[at] === FAILED ? Number.POSITIVE_INFINITY : times[at]!;
  return keptTimes(pairs.count, timeOf(aOutcome, aTtftNs), timeOf(bOutcome, bTtftNs));
}

/** The same of the same pairs, each counted from when we sent it. */
export function ttftsLessLag(pairs: PairedAnswers): PairedTimes {
  const { aTtftNs, bTtftNs, aLagNs, bLagNs } = pairs;
  return comparableTtfts({
    ...pairs,
    aTtftNs: aTtftNs.map((each, at) => Math.max(0, each - aLagNs[at]!)),
    bTtftNs: bTtftNs.map((each, at) => Math.max(0, each - bLagNs[at]!)),
  });
}

/**
 * Less than this between tokens is no time of the server's: what lies in one segment is read at once, and whether it
 * does is chance.
 */
const LEAST_ITL_NS = 1e6;

/** Mean times between tokens, at least one millisecond, for pairs where both sides have them. */
export function comparableItls(pairs: PairedAnswers): PairedTimes {
  const { count, aItlNs, bItlNs } = pairs;
  // NaN is the greater of any two.
  return keptTimes(
    count,
    (at) => (isPairTurnedAway(pairs, at) ? Number.NaN : Math.max(LEAST_ITL_NS, aItlNs[at]!)),
    (at) => Math.max(LEAST_ITL_NS, bItlNs[at]!),
  );
}

/** Times that both sides have. */
function keptTimes(count: number, ofA: (at: number) => number, ofB: (at: number) => number): PairedTimes {
  const a = new Float64Array(count);
  const b = new Float64Array(count);
  let kept = 0;
  for (let at = 0; at < count; at++) {
    const [one, other] = [ofA(at), ofB(at)];
    if (Number.isNaN(one) || Number.isNaN(other)) continue;
    a[kept] = one;
    b[kept] = other;
    kept += 1;
  }
  return { a: a.subarray(0, kept), b: b.subarray(0, kept) };
}

function isPairTurnedAway(
  { aOutcome, bOutcome }: Pick<PairedAnswers, 'aOutcome' | 'bOutcome'>,
  at: number,
): boolean {
  return aOutcome[at] === TURNED_AWAY || bOutcome[at] === TURNED_AWAY;
}

/** Of one side; 90 bytes each, with what pairs them. */
const MAX_COMPARED_ROWS = 16_000_000;
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
interface RowsAlone {
  readonly all: number;
  /** Of these: due within what the other side has rows of. */
  readonly within: number;
}

/** Requests of one side alone. */
interface LeftOut {
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
      // A chain that is used up stays in the table, negative, so that later ones are still found.
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

/** One side's row of a request, as it enters a comparison. */
export interface SideRow {
  readonly segment: string;
  readonly exchangeId: number;
  /** From the start of the run; what orders the pairs. */
  readonly offsetNs: number;
  /** Infinity for what was not answered; of what is `OPEN` or `CANCELLED`, the time that it had. */
  readonly latencyNs: number;
  /** As `PairedAnswers` has it, or one of those below. */
  readonly outcome: number;
  readonly status: number | null;
  /** As `PairedAnswers` has them. */
  readonly ttftNs: number;
  readonly itlNs: number;
  readonly lagNs: number;
  readonly traits: number;
}

/** Without an answer when the run was over: whether it failed, what the other side took for its answer has to say. */
export const OPEN = 251;
/** Without an answer when its client left: the same, but that it is nothing where the other side has no answer either. */
export const CANCELLED = 252;
/** From here on an outcome keeps its pair from being compared; these are neither target's doing. Sent late by us. */
export const LATE = 253;
/** Ended by ourselves, or never reached. */
export const LEFT_OUT = 254;
const MISSING = 255;

/** What one side has to say of each request: numbers in columns, 24 bytes a request. */
class SideColumns {
  #ns: Float64Array;
  #ttftNs: Float32Array;
  #itlNs: Float32Array;
  #lagNs: Float32Array;
  #status: Uint16Array;
  #outcome: Uint8Array;
  #traits: Uint8Array;

  constructor(capacity: number) {
    this.#ns = new Float64Array(capacity);
    this.#ttftNs = new Float32Array(capacity);
    this.#itlNs = new Float32Array(capacity);
    this.#lagNs = new Float32Array(capacity);
    this.#status = new Uint16Array(capacity);
    this.#outcome = new Uint8Array(capacity).fill(MISSING);
    this.#traits = new Uint8Array(capacity);
  }

  set(at: number, row: SideRow): void {
    this.#ns[at] = row.latencyNs;
    this.#ttftNs[at] = row.ttftNs;
    this.#itlNs[at] = row.itlNs;
    this.#lagNs[at] = row.lagNs;
    this.#status[at] = row.status ?? 0;
    this.#outcome[at] = row.outcome;
    this.#traits[at] = row.traits;
  }

  /** `MISSING` where this side has no such request. */
  outcomeAt(at: number): number {
    return this.#outcome[at]!;
  }

  nsAt(at: number): number {
    return this.#ns[at]!;
  }

  /** Says what became of a request that was open. */
  conclude(at: number, outcome: number): void {
    this.#outcome[at] = outcome;
    this.#ns[at] = Number.POSITIVE_INFINITY;
  }

  copyWithin(to: number, from: number): void {
    this.#ns[to] = this.#ns[from]!;
    this.#ttftNs[to] = this.#ttftNs[from]!;
    this.#itlNs[to] = this.#itlNs[from]!;
    this.#lagNs[to] = this.#lagNs[from]!;
    this.#status[to] = this.#status[from]!;
    this.#outcome[to] = this.#outcome[from]!;
    this.#traits[to] = this.#traits[from]!;
  }

  grow(capacity: number): void {
    this.#ns = grown(this.#ns, new Float64Array(capacity));
    this.#ttftNs = grown(this.#ttftNs, new Float32Array(capacity));
    this.#itlNs = grown(this.#itlNs, new Float32Array(capacity));
    this.#lagNs = grown(this.#lagNs, new Float32Array(capacity));
    this.#status = grown(this.#status, new Uint16Array(capacity));
    this.#outcome = grown(this.#outcome, new Uint8Array(capacity).fill(MISSING));
    this.#traits = grown(this.#traits, new Uint8Array(capacity));
  }

  /** The first rows, without copying them. */
  first(count: number) {
    return {
      ns: this.#ns.subarray(0, count),
      ttftNs: this.#ttftNs.subarray(0, count),
      itlNs: this.#itlNs.subarray(0, count),
      lagNs: this.#lagNs.subarray(0, count),
      status: this.#status.subarray(0, count),
      outcome: this.#outcome.subarray(0, count),
      traits: this.#traits.subarray(0, count),
    };
  }
}

type Column = Uint8Array | Uint16Array | Uint32Array | Float32Array | Float64Array;

/** A longer column that begins with what the shorter one holds. */
function grown<T extends Column>(from: T, to: T): T {
  to.set(from);
  return to;
}

/** What a comparison takes for our own doing in the sends of a run. */
export interface OwnDoing {
  /** What left later than this. */
  readonly lagBoundNs: number;
  /**
   * Whether somebody stopped the run, and so ended what was open. Where nobody did, and where the target's failures
   * did, what was open had at least the time that a drain may take.
   */
  readonly endedOpen: boolean;
}

/** A send as a comparison takes it: what is our own doing is left out. */
export function sideRowOfSend(send: Send, { lagBoundNs, endedOpen }: OwnDoing): SideRow {
  const { segment, exchangeId, intendedOffsetNs: offsetNs, lastByteOffsetNs, status } = send;
  const { actualOffsetNs, connectionWaitNs } = send;
  const readyNs = actualOffsetNs === null ? offsetNs : readyOffsetNs({ actualOffsetNs, connectionWaitNs });
  const lagNs = Math.max(0, readyNs - offsetNs);
  const base = {
    segment,
    exchangeId,
    offsetNs,
    status,
    lagNs,
    ...tokenTimesOf(send),
    traits: traitsOf(send),
  };
  if (send.refused) return { ...base, latencyNs: Number.POSITIVE_INFINITY, outcome: FAILED };
  if (actualOffsetNs === null || (endedOpen && send.error === 'stopped')) {
    return { ...base, latencyNs: 0, outcome: LEFT_OUT };
  }
  if (lagNs > lagBoundNs) {
    return { ...base, latencyNs: 0, outcome: LATE };
  }
  if (send.cancelled) {
    return { ...base, latencyNs: Math.max(0, (lastByteOffsetNs ?? offsetNs) - offsetNs), outcome: CANCELLED };
  }
  if (send.error === 'stopped' && lastByteOffsetNs !== null) {
    return { ...base, latencyNs: lastByteOffsetNs - offsetNs, outcome: OPEN };
  }
  if (hasFailed(send) || lastByteOffsetNs === null) {
    return { ...base, latencyNs: Number.POSITIVE_INFINITY, outcome: FAILED };
  }
  return { ...base, latencyNs: Math.max(0, lastByteOffsetNs - offsetNs), outcome: answerKind(status) };
}

/**
 * A recorded exchange as a comparison takes it. One without an answer because its client left is left out, and so
 * is one of which nobody recorded when it was answered.
 */
export function sideRowOfExchange(row: ExchangeRow): SideRow {
  const { segment, id: exchangeId, arrivalUs, outcome, status, lastByteOffsetUs } = row;
  // Between tokens nothing was recorded; and a recording is not held against itself.
  const tokens = { ttftNs: (row.firstTokenOffsetUs ?? Number.NaN) * 1e3, itlNs: Number.NaN };
  const traits = row.streamed === null ? 0 : row.streamed ? STREAMED : WHOLE;
  // When it came is when its client sent it.
  const base = { segment, exchangeId, offsetNs: arrivalUs * 1e3, status, lagNs: 0, ...tokens, traits };
  const isServerError = status !== null && status >= 500;
  if (outcome === 'upstream_failed' || outcome === 'timed_out' || isServerError) {
    return { ...base, latencyNs: Number.POSITIVE_INFINITY, outcome: FAILED };
  }
  if (outcome !== 'completed' || status === null || lastByteOffsetUs === null) {
    return { ...base, latencyNs: 0, outcome: LEFT_OUT };
  }
  return { ...base, latencyNs: Math.max(0, lastByteOffsetUs) * 1e3, outcome: answerKind(status) };
}

function answerKind(status: number | null): number {
  return status !== null && isTurnedAway(status) ? TURNED_AWAY : ANSWERED;
}

/** A readable stream without content never reached a first token. For an unreadable stream it is unknown. */
function tokenTimesOf({ streamed, answer, intendedOffsetNs }: Send): Pick<SideRow, 'ttftNs' | 'itlNs'> {
  if (!streamed || answer === null) return { ttftNs: Number.NaN, itlNs: Number.NaN };
  const { firstTokenOffsetNs: first, lastTokenOffsetNs: last, contentEvents } = answer;
  const ttftNs = first === null ? Number.POSITIVE_INFINITY : Math.max(0, first - intendedOffsetNs);
  const hasGaps = first !== null && last !== null && contentEvents > 1;
  return { ttftNs, itlNs: hasGaps ? (last - first) / (contentEvents - 1) : Number.NaN };
}

function traitsOf({ streamed, check = null }: Send): number {
  const result = check?.result;
  return (streamed ? STREAMED : WHOLE) | (result === 'same' ? AGREES : result === 'mismatch' ? DIFFERS : 0);
}
