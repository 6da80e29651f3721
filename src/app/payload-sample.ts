/** Payloads lie hundreds together in a block: neighbours cost little once the first of them is unpacked. */
const LONGEST_RUN = 256;
/** A small sample is made of shorter runs, so that it is of more than one or two places. */
const LEAST_RUNS = 16;

/** Decides exchange by exchange whether its payload is looked into: runs of neighbours, evenly spread. */
export class PayloadSample {
  readonly #most: number;
  readonly #run: number;
  /** Exchanges from the beginning of one run to that of the next, in parts of an exchange as well. */
  readonly #stride: number;
  #seen = 0;
  #taken = 0;
  /** Runs begun, and how much of the last of them is left. */
  #runs = 0;
  #left = 0;

  private constructor(most: number, run: number, stride: number) {
    this.#most = most;
    this.#run = run;
    this.#stride = stride;
  }

  static none(): PayloadSample {
    return new PayloadSample(0, 0, 1);
  }

  static every(): PayloadSample {
    return new PayloadSample(Number.POSITIVE_INFINITY, 1, 1);
  }

  /** A sample of at most `most` of `total` payloads. */
  static of(most: number, total: number): PayloadSample {
    const run = Math.min(LONGEST_RUN, Math.ceil(most / LEAST_RUNS));
    return new PayloadSample(most, run, total / Math.ceil(most / run));
  }

  get isNone(): boolean {
    return this.#most === 0;
  }

  /** Whether all were taken that were asked for until now. */
  get isComplete(): boolean {
    return this.#taken === this.#seen;
  }

  /** To be asked once for each exchange, in order. */
  takes(): boolean {
    const place = this.#seen;
    this.#seen += 1;
    if (this.#taken >= this.#most) return false;
    while (Math.floor(this.#runs * this.#stride) <= place) {
      this.#runs += 1;
      this.#left = this.#run;
    }
    if (this.#left === 0) return false;
    this.#left -= 1;
    this.#taken += 1;
    return true;
  }
}
