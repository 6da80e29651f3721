import type { Exchange } from '../core/exchange.ts';
import { ArrivalCounter, type ArrivalTally } from './arrival-counter.ts';
import type { ImportSource } from './import-source.ts';
import { InputProblem } from './input-problem.ts';

export interface ImportedFileParts {
  readonly path: string;
  readonly requests: boolean;
  readonly missing: readonly string[];
  readonly details: Readonly<Record<string, unknown>>;
  readonly lacking: { readonly all: Readonly<Record<string, number>> };
  /** @throws InputProblem */
  readonly read: (signal: AbortSignal) => AsyncGenerator<Exchange[]>;
}

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
        for (const { arrivalUs } of exchanges) this.#counter.add(arrivalUs);
        yield exchanges;
      }
      if (this.tally.rows === 0) throw new InputProblem('holds no exchange');
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
