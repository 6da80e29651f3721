import { LIMITS } from '../../core/limits.ts';

/** So often an answer that is held back is let read on, until its client takes what was read. */
const PROBES = 16;

/**
 * What all exchanges of a gateway hold at most of answers that they read only to learn whether the target is still
 * there. Clients who do not read cost what they are held with; this is the part that would grow beyond it.
 */
export class ProbeBudget {
  #free: number = LIMITS.gatewayProbedBytes;
  /** Times a held answer found no room to be read on. */
  shortages = 0;

  /** @returns whether there is so much room; then it is taken */
  take(bytes: number): boolean {
    if (bytes > this.#free) return false;
    this.#free -= bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#free += bytes;
  }
}

/** One exchange's part of it: each probe takes as much as a read may bring, until it is known what it brought. */
export class ProbedBytes {
  readonly #budget: ProbeBudget;
  #probes = 0;
  #taken = 0;
  #reading = false;
  #short = false;

  constructor(budget: ProbeBudget) {
    this.#budget = budget;
  }

  /** Whether the answer may be read on a little. Where there is no room it may when there is. */
  mayProbe(): boolean {
    if (this.#probes >= PROBES) return false;
    if (!this.#budget.take(LIMITS.readBytes)) {
      // Asked ten times a second; it is one shortage until there is room.
      if (!this.#short) this.#budget.shortages += 1;
      this.#short = true;
      return false;
    }
    this.#short = false;
    this.#probes += 1;
    this.#taken += LIMITS.readBytes;
    this.#reading = true;
    return true;
  }

  /** So much came of the answer, or nothing more will. What came without a probe is none of the budget's. */
  came(bytes: number): void {
    if (!this.#reading) return;
    this.#reading = false;
    this.#budget.giveBack(LIMITS.readBytes - bytes);
    this.#taken -= LIMITS.readBytes - bytes;
  }

  /** The client has taken what was read, or will not any more. */
  release(): void {
    this.#budget.giveBack(this.#taken);
    this.#taken = 0;
    this.#probes = 0;
    this.#reading = false;
    this.#short = false;
  }
}
