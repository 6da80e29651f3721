/**
 * Bytes that all assemblies of a recorder hold together: heads, bodies, and client bytes held back while an
 * upgrade is undecided. What the budget refuses is not kept, and counted here.
 */
export class AssemblyBudget {
  readonly limitBytes: number;
  #usedBytes = 0;
  #refusals = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** How often something was not kept because the budget was spent. */
  get refusals(): number {
    return this.#refusals;
  }

  /** Whether so many bytes would be granted now. */
  hasRoom(bytes: number): boolean {
    return this.#usedBytes + bytes <= this.limitBytes;
  }

  /** Takes `bytes` from the budget, or counts a refusal and takes none. */
  reserve(bytes: number): boolean {
    if (!this.hasRoom(bytes)) {
      this.#refusals += 1;
      return false;
    }
    this.#usedBytes += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}
