const RETRY_MAX_MS = 300_000;

/** The work of a queue on each segment. */
interface SegmentWork {
  /** Most segments in one attempt. */
  readonly batch: number;
  /** Whether the other segments wait as well after a failure. */
  readonly pausesAll: boolean;
  readonly retryMs: number;
  /**
   * Works on some segments until it is done or the signal aborts. Never rejects.
   * @returns for each segment the reason of its failure; null if nothing is left to do
   */
  attempt(files: readonly string[], signal: AbortSignal): Promise<readonly (string | null)[]>;
  /** Called for a failure, except if the previous one had the same reason, for any number of segments. */
  failed(file: string, reason: string): void;
  /** Called at the first success after failures. */
  recovered(): void;
}

/** A queue of segments with one attempt at a time. Failed segments are tried again after increasing delays. */
export class RetryQueue {
  readonly #work: SegmentWork;
  readonly #waiting = new Set<string>();
  /** Failed segments, which are queued again together, after the waiting ones. */
  readonly #failed = new Set<string>();
  /** Ends the current attempt. */
  readonly #over = new AbortController();
  #failures = 0;
  #lastFailure: string | null = null;
  #retry: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #stopping = false;

  constructor(work: SegmentWork) {
    this.#work = work;
  }

  /** Number of waiting segments, including failed ones and those in the current attempt. */
  get pending(): number {
    return this.#waiting.size + this.#failed.size;
  }

  /** Resolves after an attempt on these segments and all that wait by then. Never rejects; failures are logged. */
  async add(files: readonly string[]): Promise<void> {
    for (const file of files) {
      this.#failed.delete(file);
      this.#waiting.add(file);
    }
    while (this.#mayTry) {
      this.#running ??= this.#drain().finally(() => {
        this.#running = null;
      });
      await this.#running;
    }
  }

  /**
   * Tries all remaining segments once more. When the time is over, the current attempt is ended and the rest stays as
   * it is.
   */
  async stopWithin(limitMs: number): Promise<void> {
    this.#stopping = true;
    const timer = setTimeout(() => this.#over.abort(), limitMs);
    if (this.#retry) clearTimeout(this.#retry);
    this.#retry = null;
    await this.add([...this.#failed]);
    // An aborted attempt needs a moment to end.
    await this.#running;
    clearTimeout(timer);
  }

  get #mayTry(): boolean {
    if (this.#over.signal.aborted || (this.#retry !== null && this.#work.pausesAll)) return false;
    return this.#waiting.size > 0;
  }

  async #drain(): Promise<void> {
    while (this.#mayTry) {
      const files = [...this.#waiting].slice(0, this.#work.batch);
      const failures = await this.#work.attempt(files, this.#over.signal);
      for (const [index, file] of files.entries()) {
        this.#waiting.delete(file);
        this.#settle(file, failures[index] ?? null);
      }
    }
  }

  #settle(file: string, failure: string | null): void {
    const last = this.#lastFailure;
    this.#lastFailure = failure;
    if (failure !== null) {
      if (failure !== last) this.#work.failed(file, failure);
      this.#failed.add(file);
      this.#tryLater();
      return;
    }
    this.#failures = 0;
    if (last !== null) this.#work.recovered();
  }

  #tryLater(): void {
    if (this.#stopping || this.#retry) return;
    const delayMs = Math.min(this.#work.retryMs * 2 ** this.#failures, RETRY_MAX_MS);
    this.#failures += 1;
    this.#retry = setTimeout(() => {
      this.#retry = null;
      void this.add([...this.#failed]);
    }, delayMs).unref();
  }
}
