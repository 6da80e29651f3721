import { AppError } from '../../core/errors.ts';
import type { ExchangeRow } from '../../core/exchange.ts';
import { hasFailed, isTurnedAway, readyOffsetNs, type Send } from '../../core/run.ts';
import { ExchangeNumbers, grown } from '../stats/exchange-numbers.ts';
import { endsAmong } from './intervals.ts';

/** Outcomes of a request on one side. */
export const ANSWERED = 0;
export const FAILED = 1;
/** Answered with 4xx or 3xx: an answer, but not the requested one. */
export const TURNED_AWAY = 2;

/** Traits of an answer, as bits: whether it was a stream (if known), and how it compares with the recorded one. */
export const STREAMED = 1;
export const WHOLE = 8;
/** The answer has a 2xx status, but its body reports an error. */
export const TELLS_ERROR = 16;
export const AGREES = 2;
export const DIFFERS = 4;
export const CHECKED = AGREES | DIFFERS;

/** The columns of numbers for the requests of one side, 28 bytes for each request. */
const COLUMNS = {
  latencyNs: Float64Array,
  ttftNs: Float32Array,
  itlNs: Float32Array,
  lagNs: Float32Array,
  bytes: Float32Array,
  status: Uint16Array,
  outcome: Uint8Array,
  traits: Uint8Array,
} as const;
const COLUMN_NAMES = Object.keys(COLUMNS) as readonly (keyof typeof COLUMNS)[];

/**
 * The requests of one side, one position each.
 * - `latencyNs`: from the planned instant; Infinity without a complete answer, with a 5xx, or refused by our cap.
 * - `ttftNs`: from the planned instant to the first token; Infinity if a stream had none, NaN if unknown.
 * - `itlNs`: mean time between neighbouring events with content of one stream; NaN if unknown.
 * - `lagNs`: how late we sent it ourselves, which is part of the latency and of the time to the first token.
 * - `bytes`: size of the answer's body; NaN if unknown.
 * - `status`: 0 if absent. `outcome`: `ANSWERED`, `FAILED` or `TURNED_AWAY`. `traits`: bits, as above.
 */
export type SideAnswers = {
  readonly [Name in keyof typeof COLUMNS]: InstanceType<(typeof COLUMNS)[Name]>;
};

/** The same requests on both sides, in the order of the plan. */
export interface PairedAnswers {
  readonly count: number;
  /**
   * Names of routes, and the route number of each pair; absent if routes are not compared. The number after the last
   * name stands for all other routes.
   */
  readonly routes?: { readonly names: readonly (string | null)[]; readonly of: Uint32Array };
  /** When each pair was due, nanoseconds; absent if no window length is needed. */
  readonly offsetNs?: Float64Array;
  /** The position after the last pair of each run; absent for one run of each side. */
  readonly runEnds?: readonly number[];
  readonly a: SideAnswers;
  readonly b: SideAnswers;
}

export function runEndsOf({ count, runEnds }: Pick<PairedAnswers, 'count' | 'runEnds'>): readonly number[] {
  return runEnds ?? [count];
}

/** One time of both sides, pair by pair in the order of the plan, nanoseconds; Infinity if it never came. */
export interface PairedTimes {
  readonly a: Float64Array;
  readonly b: Float64Array;
  readonly runEnds: readonly number[];
}

/** The same pairs, with each time counted from the actual send. */
export function withoutLag(pairs: PairedAnswers): PairedAnswers {
  const side = (of: SideAnswers): SideAnswers => {
    const lessLag = (each: number, at: number) => Math.max(0, each - of.lagNs[at]!);
    return { ...of, latencyNs: of.latencyNs.map(lessLag), ttftNs: of.ttftNs.map(lessLag) };
  };
  return { ...pairs, a: side(pairs.a), b: side(pairs.b) };
}

/** The latencies of pairs that neither side turned away: a 4xx or 3xx is answered cheaply. */
export function comparableLatencies(pairs: PairedAnswers): PairedTimes {
  return keptTimes(pairs, ({ latencyNs }, at) => latencyNs[at]!);
}

/** Times to the first token, for pairs with a stream on at least one side. A failed side has none. */
export function comparableTtfts(pairs: PairedAnswers): PairedTimes {
  const { a, b } = pairs;
  return keptTimes(pairs, ({ outcome, ttftNs }, at) => {
    const isStream = ((a.traits[at]! | b.traits[at]!) & STREAMED) > 0;
    if (!isStream) return Number.NaN;
    return outcome[at] === FAILED ? Number.POSITIVE_INFINITY : ttftNs[at]!;
  });
}

/** Shorter times between tokens do not come from the server, but from tokens that arrive in one TCP segment. */
const LEAST_ITL_NS = 1e6;

/** Mean times between tokens, at least one millisecond, for pairs where both sides have them. */
export function comparableItls(pairs: PairedAnswers): PairedTimes {
  // Math.max gives NaN if either value is NaN.
  return keptTimes(pairs, ({ itlNs }, at) => Math.max(LEAST_ITL_NS, itlNs[at]!));
}

/** Times of pairs that neither side turned away, where both sides have the time. */
function keptTimes(pairs: PairedAnswers, timeOf: (side: SideAnswers, at: number) => number): PairedTimes {
  const { count, a, b } = pairs;
  const [timesA, timesB] = [new Float64Array(count), new Float64Array(count)];
  const positions = new Uint32Array(count);
  let kept = 0;
  for (let at = 0; at < count; at++) {
    if (a.outcome[at] === TURNED_AWAY || b.outcome[at] === TURNED_AWAY) continue;
    const [one, other] = [timeOf(a, at), timeOf(b, at)];
    if (Number.isNaN(one) || Number.isNaN(other)) continue;
    timesA[kept] = one;
    timesB[kept] = other;
    positions[kept] = at;
    kept += 1;
  }
  const runEnds = endsAmong(positions.subarray(0, kept), runEndsOf(pairs));
  return { a: timesA.subarray(0, kept), b: timesB.subarray(0, kept), runEnds };
}

/** Pairs of several runs as one: the pairs of each run follow those of the one before. */
export function joinedPairs(
  parts: readonly (PairedAnswers & { readonly offsetNs: Float64Array })[],
): PairedAnswers & { readonly offsetNs: Float64Array } {
  const [first] = parts;
  if (first !== undefined && parts.length === 1) return first;
  const numbers = new Map<string | null, number>();
  const rest = MAX_ROUTES;
  for (const { routes } of parts) {
    for (const name of routes?.names ?? [])
      if (!numbers.has(name) && numbers.size < MAX_ROUTES) numbers.set(name, numbers.size);
  }
  const renumbered = ({ routes, count }: PairedAnswers) =>
    (routes?.of ?? new Uint32Array(count)).map((each) => {
      const name = routes?.names[each];
      return name === undefined ? Math.min(rest, numbers.size) : (numbers.get(name) ?? numbers.size);
    });
  const side = (of: 'a' | 'b') =>
    Object.fromEntries(
      COLUMN_NAMES.map((name) => [name, joined(parts.map((part) => part[of][name]))]),
    ) as unknown as SideAnswers;
  let count = 0;
  const runEnds = parts.map((part) => (count += part.count));
  return {
    count,
    routes: { names: [...numbers.keys()], of: joined(parts.map(renumbered)) },
    offsetNs: joined(parts.map(({ offsetNs }) => offsetNs)),
    runEnds,
    a: side('a'),
    b: side('b'),
  };
}

function joined<Column extends Float64Array | Float32Array | Uint32Array | Uint16Array | Uint8Array>(
  parts: readonly Column[],
): Column {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const whole = new (parts[0]!.constructor as new (length: number) => Column)(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Most rows of one side. Each takes about 70 bytes, including the tables for pairing. */
const MAX_COMPARED_ROWS = 16_000_000;
const FIRST_CAPACITY = 1_024;
const MAX_ROUTES = 10_000;

/** Counts of paired and unpaired rows of both sides. */
export interface PairCounts {
  readonly pairs: number;
  readonly onlyA: RowsAlone;
  readonly onlyB: RowsAlone;
  /** Paired, but left out because of our own side. */
  readonly leftOut: number;
  /** Of these, left out of A (or B) although the other side answered or failed. */
  readonly leftOutOfA: LeftOut;
  readonly leftOutOfB: LeftOut;
}

/** Rows of one side without a partner on the other. */
interface RowsAlone {
  readonly all: number;
  /** Of these: due while the other side still has rows. */
  readonly within: number;
}

/** Requests that were left out of only one side. */
interface LeftOut {
  readonly all: number;
  /** Of these, because that side sent them late. */
  readonly late: number;
}

/**
 * Pairs rows of two sides by the recorded exchange and, if it was sent more than once, by copy. Rows are numbers in
 * columns, not objects, to save memory.
 */
export class PairTable {
  /** Rows of A's first and last unpaired copy of an exchange, plus one; 0 for none. */
  readonly #firstCopy = new ExchangeNumbers(Uint32Array);
  readonly #lastCopy = new ExchangeNumbers(Uint32Array);
  /** For each row, the row of the next copy, plus one; 0 for none. */
  #nextCopy = new Uint32Array(FIRST_CAPACITY);
  #offsetNs = new Float64Array(FIRST_CAPACITY);
  readonly #routes = new Map<string | null, number>();
  #routeOf = new Uint32Array(FIRST_CAPACITY);
  readonly #a = new SideColumns(FIRST_CAPACITY);
  readonly #b = new SideColumns(FIRST_CAPACITY);
  #count = 0;
  readonly #onlyB = { all: 0, within: 0 };
  /** When the last row of each side was due. */
  #endOfANs = Number.NEGATIVE_INFINITY;
  #endOfBNs = Number.NEGATIVE_INFINITY;

  /** Adds a row of A. Call it in the order of the plan. @throws AppError INPUT_INVALID if there are too many rows */
  addA(row: SideRow): void {
    if (this.#count === MAX_COMPARED_ROWS) {
      throw new AppError('INPUT_INVALID', `a run of over ${MAX_COMPARED_ROWS} requests cannot be compared`, {
        hint: 'Compare runs of a shorter window.',
      });
    }
    if (this.#count === this.#offsetNs.length) this.#grow();
    const at = this.#count;
    const { segment, exchangeId } = row;
    const last = this.#lastCopy.get(segment, exchangeId);
    if (last === 0) this.#firstCopy.set(segment, exchangeId, at + 1);
    else this.#nextCopy[last - 1] = at + 1;
    this.#lastCopy.set(segment, exchangeId, at + 1);
    this.#offsetNs[at] = row.offsetNs;
    this.#routeOf[at] = this.#routeNumber(row.route ?? null);
    this.#a.set(at, row);
    this.#endOfANs = Math.max(this.#endOfANs, row.offsetNs);
    this.#count += 1;
  }

  /** Adds a row of B. Call it in the order of B's plan, after all rows of A. */
  addB(row: SideRow): void {
    this.#endOfBNs = Math.max(this.#endOfBNs, row.offsetNs);
    const first = this.#firstCopy.get(row.segment, row.exchangeId);
    if (first === 0) {
      countAlone(this.#onlyB, row.offsetNs <= this.#endOfANs);
      return;
    }
    const at = first - 1;
    this.#firstCopy.set(row.segment, row.exchangeId, this.#nextCopy[at]!);
    this.#b.set(at, row);
    this.#concludeOpen(at);
  }

  counts(): PairCounts {
    let [pairs, leftOut] = [0, 0];
    const onlyA = { all: 0, within: 0 };
    const [leftOutOfA, leftOutOfB] = [
      { all: 0, late: 0 },
      { all: 0, late: 0 },
    ];
    for (let at = 0; at < this.#count; at++) {
      const [a, b] = [this.#a.columns.outcome[at]!, this.#b.columns.outcome[at]!];
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

  /** The pairs in the order of A, and when each was due. Call it once, because it compacts the columns in place. */
  pairs(): PairedAnswers & { readonly offsetNs: Float64Array } {
    let kept = 0;
    for (let at = 0; at < this.#count; at++) {
      if (!this.#isPair(at)) continue;
      this.#offsetNs[kept] = this.#offsetNs[at]!;
      this.#routeOf[kept] = this.#routeOf[at]!;
      this.#a.move(kept, at);
      this.#b.move(kept, at);
      kept += 1;
    }
    this.#count = kept;
    return {
      count: kept,
      routes: { names: [...this.#routes.keys()], of: this.#routeOf.subarray(0, kept) },
      offsetNs: this.#offsetNs.subarray(0, kept),
      a: this.#a.first(kept),
      b: this.#b.first(kept),
    };
  }

  /** Routes beyond the limit share one number without a name, because a scan can have very many routes. */
  #routeNumber(route: string | null): number {
    const number = this.#routes.get(route) ?? this.#routes.size;
    if (number < MAX_ROUTES) this.#routes.set(route, number);
    return number;
  }

  /** Decides the outcome of an open or cancelled request by the answer of the other side. */
  #concludeOpen(at: number): void {
    const [a, b] = [this.#a.columns, this.#b.columns];
    const [outcomeA, outcomeB] = [a.outcome[at]!, b.outcome[at]!];
    const [nsA, nsB] = [a.latencyNs[at]!, b.latencyNs[at]!];
    if (outcomeA === OPEN) this.#a.conclude(at, openAs(nsA, outcomeB, nsB));
    if (outcomeB === OPEN) this.#b.conclude(at, openAs(nsB, outcomeA, nsA));
    if (outcomeA === CANCELLED) this.#a.conclude(at, cancelledAs(nsA, outcomeB, nsB));
    if (outcomeB === CANCELLED) this.#b.conclude(at, cancelledAs(nsB, outcomeA, nsA));
  }

  #isPair(at: number): boolean {
    return this.#a.columns.outcome[at]! < LATE && this.#b.columns.outcome[at]! < LATE;
  }

  #grow(): void {
    const capacity = this.#offsetNs.length * 2;
    this.#nextCopy = grown(this.#nextCopy, new Uint32Array(capacity));
    this.#offsetNs = grown(this.#offsetNs, new Float64Array(capacity));
    this.#routeOf = grown(this.#routeOf, new Uint32Array(capacity));
    this.#a.grow(capacity);
    this.#b.grow(capacity);
  }
}

/**
 * The outcome of an open request. It failed if it had at least the time that the other side needed; with less time it
 * is left out. It also failed if the other side had no answer either: then neither target served it.
 */
function openAs(hadNs: number, other: number, otherNs: number): number {
  return other >= OPEN || other === FAILED || hadNs >= otherNs ? FAILED : LEFT_OUT;
}

/** The outcome of a cancelled request. It failed if the other side answered within its time; else it is left out. */
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

/**
 * One side's row of a request for a comparison: the columns of `SideAnswers`, with more outcomes. The latency of an
 * `OPEN` or `CANCELLED` request is the time that it had.
 */
export interface SideRow extends Readonly<Record<keyof SideAnswers, number>> {
  readonly segment: string;
  readonly exchangeId: number;
  readonly route?: string | null;
  /** From the start of the run; the order of the pairs. */
  readonly offsetNs: number;
}

/** No answer when the run ended. The answer of the other side decides whether the request failed. */
export const OPEN = 251;
/** No answer when its client left. If the other side has no answer either, the request is left out. */
export const CANCELLED = 252;
/** Sent late by us. This and greater outcomes exclude the pair, because neither target caused them. */
export const LATE = 253;
/** Ended by ourselves, or never sent. */
export const LEFT_OUT = 254;
const MISSING = 255;

/** The rows of one side; `outcome` is `MISSING` for a request that this side does not have. */
class SideColumns {
  columns: SideAnswers;

  constructor(capacity: number) {
    this.columns = emptyColumns(capacity);
  }

  set(at: number, row: SideRow): void {
    for (const name of COLUMN_NAMES) this.columns[name][at] = row[name];
  }

  /** Sets the outcome of a request that was open. */
  conclude(at: number, outcome: number): void {
    this.columns.outcome[at] = outcome;
    this.columns.latencyNs[at] = Number.POSITIVE_INFINITY;
  }

  move(to: number, from: number): void {
    for (const name of COLUMN_NAMES) this.columns[name][to] = this.columns[name][from]!;
  }

  grow(capacity: number): void {
    const wider = emptyColumns(capacity);
    for (const name of COLUMN_NAMES) wider[name].set(this.columns[name]);
    this.columns = wider;
  }

  /** The first rows, without copying them. */
  first(count: number): SideAnswers {
    return Object.fromEntries(
      COLUMN_NAMES.map((name) => [name, this.columns[name].subarray(0, count)]),
    ) as unknown as SideAnswers;
  }
}

function emptyColumns(capacity: number): SideAnswers {
  const columns = Object.fromEntries(
    COLUMN_NAMES.map((name) => [name, new COLUMNS[name](capacity)]),
  ) as unknown as SideAnswers;
  columns.outcome.fill(MISSING);
  return columns;
}

/** Which results of a run a comparison attributes to our own side. */
export interface OwnDoing {
  /** Requests that left later than this. */
  readonly lagBoundNs: number;
  /**
   * Whether the user stopped the run, which ended open requests. Otherwise, and if failures of the target stopped it,
   * open requests had at least the drain time.
   */
  readonly endedOpen: boolean;
}

type Fate = readonly [latencyNs: number, outcome: number];
const NEVER_ANSWERED: Fate = [Number.POSITIVE_INFINITY, FAILED];

/** A send as a row of a comparison. Results that our own side caused are left out. */
export function sideRowOfSend(send: Send, ours: OwnDoing): SideRow {
  const { segment, exchangeId, intendedOffsetNs: offsetNs, status } = send;
  const { actualOffsetNs, connectionWaitNs } = send;
  const readyNs = actualOffsetNs === null ? offsetNs : readyOffsetNs({ actualOffsetNs, connectionWaitNs });
  const lagNs = Math.max(0, readyNs - offsetNs);
  const [latencyNs, outcome] = fateOf(send, lagNs, ours);
  return {
    segment,
    exchangeId,
    offsetNs,
    lagNs,
    latencyNs,
    outcome,
    status: status ?? 0,
    route: send.route,
    bytes: send.responseBytes,
    ...tokenTimesOf(send),
    traits: traitsOf(send),
  };
}

function fateOf(send: Send, lagNs: number, { lagBoundNs, endedOpen }: OwnDoing): Fate {
  const { lastByteOffsetNs, status } = send;
  const tookNs = lastByteOffsetNs === null ? null : Math.max(0, lastByteOffsetNs - send.intendedOffsetNs);
  const isStopped = send.error === 'stopped';
  if (send.refused) return NEVER_ANSWERED;
  if (send.actualOffsetNs === null || (endedOpen && isStopped)) return [0, LEFT_OUT];
  if (lagNs > lagBoundNs) return [0, LATE];
  if (send.cancelled) return [tookNs ?? 0, CANCELLED];
  if (isStopped && tookNs !== null) return [tookNs, OPEN];
  if (hasFailed(send) || tookNs === null) return NEVER_ANSWERED;
  return [tookNs, answerKind(status)];
}

/** A recorded exchange as a row of a comparison. It is left out if its client left or its times were not recorded. */
export function sideRowOfExchange(row: ExchangeRow): SideRow {
  const { segment, id: exchangeId, arrivalUs, status, firstTokenOffsetUs, streamed } = row;
  const [latencyNs, outcome] = fateOfExchange(row);
  return {
    segment,
    exchangeId,
    offsetNs: arrivalUs * 1e3,
    lagNs: 0,
    latencyNs,
    outcome,
    status: status ?? 0,
    route: row.route,
    bytes: row.responseBytes ?? Number.NaN,
    // Times between tokens are not recorded, and a recording is not checked against itself.
    ttftNs: (firstTokenOffsetUs ?? Number.NaN) * 1e3,
    itlNs: Number.NaN,
    traits: streamed === null ? 0 : streamed ? STREAMED : WHOLE,
  };
}

function fateOfExchange({ outcome, status, lastByteOffsetUs }: ExchangeRow): Fate {
  const isServerError = status !== null && status >= 500;
  if (outcome === 'upstream_failed' || outcome === 'timed_out' || isServerError) return NEVER_ANSWERED;
  if (outcome !== 'completed' || status === null || lastByteOffsetUs === null) return [0, LEFT_OUT];
  return [Math.max(0, lastByteOffsetUs) * 1e3, answerKind(status)];
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

function traitsOf({ streamed, tellsError, check = null }: Send): number {
  const result = check?.result;
  const error = tellsError === true ? TELLS_ERROR : 0;
  return (
    error | (streamed ? STREAMED : WHOLE) | (result === 'same' ? AGREES : result === 'mismatch' ? DIFFERS : 0)
  );
}
