import type { Exchange } from '../core/exchange.ts';
import { ArrivalCounter, type ArrivalTally } from './arrival-counter.ts';
import type { ImportSource } from './import-source.ts';
import { InputProblem, NOTHING_IN_IT } from './input-problem.ts';
import type { TextCounts } from './text-counts.ts';

export interface ImportedFileParts {
  readonly path: string;
  readonly requests: boolean;
  readonly missing: readonly string[];
  readonly details: Readonly<Record<string, unknown>>;
  readonly lacking: TextCounts;
  /** @throws InputProblem */
  readonly read: (signal: AbortSignal) => AsyncGenerator<Exchange[]>;
}

/** By the file, or because it is over the limit of what is kept. */
const CUT_REQUEST = 'a request body that is cut: not to be replayed';

/** A file whose reader knows exchanges and nothing of what it is called. */
export class ImportedFile implements ImportSource {
  readonly #parts: ImportedFileParts;
  readonly #counter = new ArrivalCounter();

  constructor(parts: ImportedFileParts) {
    this.#parts = parts;
  }

  get requests(): boolean {
    return this.#parts.requests;
  }

  get missing(): readonly string[] {
    return this.#parts.missing;
  }

  get details(): Readonly<Record<string, unknown>> {
    return this.#parts.details;
  }

  get lacking(): Readonly<Record<string, number>> {
    return this.#parts.lacking.all;
  }

  get tally(): ArrivalTally {
    return this.#counter.tally;
  }

  async *batches(signal: AbortSignal): AsyncGenerator<Exchange[]> {
    try {
      for await (const exchanges of this.#parts.read(signal)) {
        signal.throwIfAborted();
        for (const { arrivalUs, request, response } of exchanges) {
          this.#counter.add(arrivalUs);
          if (request?.body.truncated) this.#parts.lacking.count(CUT_REQUEST);
          if (response?.body.truncated) this.#parts.lacking.count('a response body that is cut');
        }
        yield exchanges;
      }
      if (this.tally.rows === 0) throw new InputProblem('holds no exchange', { hint: NOTHING_IN_IT });
    } catch (thrown) {
      throw thrown instanceof InputProblem ? thrown.toAppError(this.#parts.path) : thrown;
    }
  }
}

/** Puts the place of an item in front of what is wrong with it. */
export function placed(place: string, thrown: unknown): unknown {
  if (!(thrown instanceof InputProblem)) return thrown;
  const hint = thrown.hint === null ? {} : { hint: thrown.hint };
  return new InputProblem(`${place}: ${thrown.message}`, { cause: thrown, ...hint });
}
