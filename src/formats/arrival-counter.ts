/** What an import has read so far. Arrivals are epoch microseconds, null before the first row. */
export interface ArrivalTally {
  readonly rows: number;
  readonly firstArrivalUs: number | null;
  readonly lastArrivalUs: number | null;
  /** Rows that arrive before the row above them. */
  readonly outOfOrder: number;
}

/** Counts arrivals as they are read. */
export class ArrivalCounter {
  #rows = 0;
  #outOfOrder = 0;
  #firstArrivalUs = Number.POSITIVE_INFINITY;
  #lastArrivalUs = Number.NEGATIVE_INFINITY;
  #previousArrivalUs = Number.NEGATIVE_INFINITY;

  get tally(): ArrivalTally {
    return {
      rows: this.#rows,
      firstArrivalUs: this.#rows === 0 ? null : this.#firstArrivalUs,
      lastArrivalUs: this.#rows === 0 ? null : this.#lastArrivalUs,
      outOfOrder: this.#outOfOrder,
    };
  }

  add(arrivalUs: number): void {
    this.#rows += 1;
    if (arrivalUs < this.#previousArrivalUs) this.#outOfOrder += 1;
    this.#previousArrivalUs = arrivalUs;
    if (arrivalUs < this.#firstArrivalUs) this.#firstArrivalUs = arrivalUs;
    if (arrivalUs > this.#lastArrivalUs) this.#lastArrivalUs = arrivalUs;
  }
}
