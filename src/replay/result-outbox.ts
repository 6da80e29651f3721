import type { SendResult } from './send-result.ts';

const RESULTS_PER_BATCH = 256;

/** Results on their way to whoever keeps them: a batch costs its reader a transaction, however small. */
export class ResultOutbox {
  readonly #deliver: (results: SendResult[]) => void;
  #results: SendResult[] = [];

  constructor(deliver: (results: SendResult[]) => void) {
    this.#deliver = deliver;
  }

  add(result: SendResult): void {
    this.#results.push(result);
    if (this.#results.length >= RESULTS_PER_BATCH) this.flush();
  }

  flush(): void {
    if (this.#results.length === 0) return;
    const results = this.#results;
    this.#results = [];
    this.#deliver(results);
  }
}
