import type { Stretch } from '../core/run.ts';

/** Stretches of a run joined where they touch, for asking whether an instant lies in one and how long they are. */
export class StretchSet {
  readonly #stretches: Stretch[] = [];

  constructor(stretches: readonly Stretch[]) {
    const sorted = [...stretches].sort((a, b) => a.fromOffsetNs - b.fromOffsetNs);
    for (const stretch of sorted) {
      const last = this.#stretches.at(-1);
      if (last === undefined || stretch.fromOffsetNs > last.toOffsetNs) {
        this.#stretches.push({ ...stretch });
      } else {
        const toOffsetNs = Math.max(last.toOffsetNs, stretch.toOffsetNs);
        this.#stretches[this.#stretches.length - 1] = { fromOffsetNs: last.fromOffsetNs, toOffsetNs };
      }
    }
  }

  /** In order of time, none overlapping. */
  get stretches(): readonly Stretch[] {
    return this.#stretches;
  }

  has(offsetNs: number): boolean {
    let low = 0;
    let high = this.#stretches.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#stretches[middle]!.fromOffsetNs <= offsetNs) low = middle + 1;
      else high = middle;
    }
    const candidate = this.#stretches[low - 1];
    return candidate !== undefined && offsetNs < candidate.toOffsetNs;
  }

  /** Whether any of them has an instant of `fromNs` ≤ t ≤ `toNs`. */
  overlaps(fromNs: number, toNs: number): boolean {
    return this.#stretches.some(
      ({ fromOffsetNs, toOffsetNs }) => fromOffsetNs <= toNs && fromNs < toOffsetNs,
    );
  }

  /** Nanoseconds covered, and the longest stretch. */
  get totalNs(): number {
    return this.#stretches.reduce((sum, { fromOffsetNs, toOffsetNs }) => sum + toOffsetNs - fromOffsetNs, 0);
  }

  get longestNs(): number {
    return this.#stretches.reduce((most, each) => Math.max(most, each.toOffsetNs - each.fromOffsetNs), 0);
  }
}

/** What of stretches lies at and after an instant. */
export function stretchesSince(stretches: readonly Stretch[], fromNs: number): Stretch[] {
  return stretches
    .filter(({ toOffsetNs }) => toOffsetNs > fromNs)
    .map(({ fromOffsetNs, toOffsetNs }) => ({ fromOffsetNs: Math.max(fromNs, fromOffsetNs), toOffsetNs }));
}
