import type { Send } from '../core/run.ts';
import type { ErrorExamples, SendId } from '../documents/replay.ts';

const PER_KIND = 3;

/** Keeps some of the failed sends by kind, so that whoever reads of errors can look one up. */
export class ErrorExampleKeeper {
  readonly #byKind = new Map<string, SendId[]>();

  /** Takes a send that failed: without a complete answer, or with a 5xx. */
  add({ index, segment, exchangeId, error, status }: Send): void {
    const kind = error ?? `status_${status ?? 'none'}`;
    const kept = this.#byKind.get(kind) ?? [];
    if (kept.length >= PER_KIND) return;
    kept.push({ index, segment, exchangeId });
    this.#byKind.set(kind, kept);
  }

  examples(): ErrorExamples {
    return Object.fromEntries([...this.#byKind].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
