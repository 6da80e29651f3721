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
export const MISSING = 255;

/** What one side has to say of each request: numbers in columns, 24 bytes a request. */
export class SideColumns {
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
export function grown<T extends Column>(from: T, to: T): T {
  to.set(from);
  return to;
}
