import type { Send } from '../core/run.ts';

const PER_KIND = 3;

/** Which exchange it was: enough to find its row and its payload, and nothing of either. */
export interface SendId {
  /** Position in the schedule: the row of the run. */
  readonly index: number;
  /** The recorded exchange. */
  readonly segment: string;
  readonly exchangeId: number;
}

/** By kind of failure (`reset`, `status_503`, …) the first few that failed so. */
export type ErrorExamples = Readonly<Record<string, readonly SendId[]>>;

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
