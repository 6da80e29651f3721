import type { Stall } from './engine-health.ts';

/** Lateness that makes a stretch a stall, and lateness below which it has been worked off. */
const STALL_NS = 250_000_000;
const RECOVERED_NS = 50_000_000;
/** Beyond this many stretches the last one grows instead: a run with more is invalid several times over. */
const STRETCHES_MAX = 1_000;

/**
 * Marks the stretches in which we, not the target, were late: a due request that was not sent for over 250 ms,
 * or an event loop that did not turn for as long. A stretch begins at the first intended instant it delayed
 * and ends when sends are on time again, catching up included.
 */
export class StallLog {
  readonly #stalls: Stall[] = [];
  #lateFromNs: number | null = null;

  /** One due request was handled at `actualOffsetNs`; sent or refused makes no difference. */
  noteSend(intendedOffsetNs: number, actualOffsetNs: number): void {
    const lagNs = actualOffsetNs - intendedOffsetNs;
    if (this.#lateFromNs === null) {
      if (lagNs <= STALL_NS) return;
      this.#lateFromNs = intendedOffsetNs;
    } else if (lagNs < RECOVERED_NS) {
      this.#lateFromNs = null;
      return;
    }
    this.#mark(Math.min(this.#lateFromNs, intendedOffsetNs), actualOffsetNs);
  }

  /** The event loop turned at `toOffsetNs` for the first time since `fromOffsetNs`, where it meant to at once. */
  noteLoopGap(fromOffsetNs: number, toOffsetNs: number): void {
    if (toOffsetNs - fromOffsetNs > STALL_NS) this.#mark(fromOffsetNs, toOffsetNs);
  }

  /** Stretches in order of time, none overlapping. */
  stalls(): readonly Stall[] {
    return mergedStalls(this.#stalls);
  }

  #mark(fromOffsetNs: number, toOffsetNs: number): void {
    const last = this.#stalls.at(-1);
    const joins = last !== undefined && fromOffsetNs <= last.toOffsetNs && toOffsetNs >= last.fromOffsetNs;
    if (last && (joins || this.#stalls.length >= STRETCHES_MAX)) {
      this.#stalls[this.#stalls.length - 1] = {
        fromOffsetNs: Math.min(last.fromOffsetNs, fromOffsetNs),
        toOffsetNs: Math.max(last.toOffsetNs, toOffsetNs),
      };
    } else {
      this.#stalls.push({ fromOffsetNs, toOffsetNs });
    }
  }
}

/** Stretches of whatever order, joined where they overlap: when one of several stood still, not all was sent. */
export function mergedStalls(stalls: readonly Stall[]): readonly Stall[] {
  const merged: Stall[] = [];
  for (const stall of stalls.toSorted((a, b) => a.fromOffsetNs - b.fromOffsetNs)) {
    const last = merged.at(-1);
    if (last && stall.fromOffsetNs <= last.toOffsetNs) {
      merged[merged.length - 1] = {
        fromOffsetNs: last.fromOffsetNs,
        toOffsetNs: Math.max(last.toOffsetNs, stall.toOffsetNs),
      };
    } else {
      merged.push(stall);
    }
  }
  return merged;
}
