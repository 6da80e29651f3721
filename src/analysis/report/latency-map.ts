import type { LatencyMap } from '../../documents/report.ts';

const NS_PER_S = 1e9;
const NS_PER_MS = 1e6;
const MAX_COLUMNS = 36;
/** Widths of a column, seconds; beyond the last they are as wide as they must be. */
const LADDER_S = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_200, 3_600, 7_200, 21_600, 43_200,
] as const;
/** Classes a doubling wide, the first up to 1/16 ms, the last beyond half an hour. */
const LEAST_MS = 1 / 16;
const CLASSES = 26;

/** Counts latencies by time and by class, at constant memory. */
export class LatencyMapCounts {
  readonly #columnS: number;
  readonly #columns: number;
  readonly #counts: Float64Array;

  constructor(seconds: number) {
    this.#columnS =
      LADDER_S.find((width) => Math.ceil(seconds / width) <= MAX_COLUMNS) ?? Math.ceil(seconds / MAX_COLUMNS);
    this.#columns = Math.ceil(seconds / this.#columnS);
    this.#counts = new Float64Array(this.#columns * CLASSES);
  }

  add(intendedNs: number, scheduledNs: number): void {
    const column = Math.floor(intendedNs / NS_PER_S / this.#columnS);
    if (column < 0 || column >= this.#columns) return;
    this.#counts[column * CLASSES + classOf(scheduledNs / NS_PER_MS)]! += 1;
  }

  map(): LatencyMap {
    const columns = Array.from({ length: this.#columns }, (_, column) =>
      this.#counts.subarray(column * CLASSES, (column + 1) * CLASSES),
    );
    const totals = columns.map((counts) => counts.reduce((sum, count) => sum + count, 0));
    const used = Array.from({ length: CLASSES }, (_, at) => at).filter((at) =>
      columns.some((counts) => counts[at]! > 0),
    );
    const first = used[0] ?? 0;
    const last = used.at(-1) ?? -1;
    return {
      columnS: this.#columnS,
      at: columns.map((_, column) => column * this.#columnS),
      classes: Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => ({
        fromMs: first + index === 0 ? 0 : LEAST_MS * 2 ** (first + index - 1),
        toMs: LEAST_MS * 2 ** (first + index),
        shares: columns.map((counts, column) =>
          totals[column] === 0 ? null : counts[first + index]! / (totals[column] ?? 1),
        ),
      })),
    };
  }
}

function classOf(ms: number): number {
  if (ms <= LEAST_MS) return 0;
  return Math.min(CLASSES - 1, Math.ceil(Math.log2(ms / LEAST_MS) - 1e-12));
}
