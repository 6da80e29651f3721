const RETRY_MAX_MS = 300_000;

/** What is done with each segment of a queue. */
interface SegmentWork {
  /** Segments of one attempt at most. */
  readonly batch: number;
  /** Whether the others wait as well when one has failed. */
  readonly pausesAll: boolean;
  readonly retryMs: number;
  /**
   * Works at some segments, until the signal at the latest. Never rejects.
   * @returns for each why it failed; null where nothing more is to be done
   */
  attempt(files: readonly string[], signal: AbortSignal): Promise<readonly (string | null)[]>;
  /** Called for a failure, unless the one before had the same reason, however many segments fail. */
  failed(file: string, reason: string): void;
  /** Told of the first success after failures. */
  recovered(): void;
}

/** Segments to be worked at by one attempt at a time. What fails is tried again, later and later. */
export class RetryQueue {
  readonly #work: SegmentWork;
  readonly #waiting = new Set<string>();
  /** Segments that failed and are queued again together, behind those that wait. */
  readonly #failed = new Set<string>();
  /** Ends the attempt that runs. */
  readonly #over = new AbortController();
  #failures = 0;
  #lastFailure: string | null = null;
  #retry: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #stopping = false;

  constructor(work: SegmentWork) {
    this.#work = work;
  }

  /** Segments that wait, those that failed and those worked at included. */
  get pending(): number {
    return this.#waiting.size + this.#failed.size;
  }

  /** Resolves when these and all that wait by then were tried. Never rejects: a failure is logged. */
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

  /** Tries all that is left once more. An attempt that runs is ended when time is up; the rest is left as it is. */
  async stopWithin(limitMs: number): Promise<void> {
    this.#stopping = true;
    const timer = setTimeout(() => this.#over.abort(), limitMs);
    if (this.#retry) clearTimeout(this.#retry);
    this.#retry = null;
    await this.add([...this.#failed]);
    // An attempt that was cut takes a moment to end.
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
