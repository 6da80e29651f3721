import type { PlannedSend } from '../schedule.ts';
import type { OpenedBefore } from '../sessions.ts';

/** What a scaling came to, counted as the schedule was drawn. */
export interface ScalingCounts {
  /** Exchanges of the window whose session was left out. */
  readonly thinned: number;
  /** Planned sends that repeat one of the recording, and those that come from stretches laid over the window. */
  readonly copies: number;
  readonly layered: number;
  /** Copies made to differ where that was asked for, and copies that have no such place. */
  readonly perturbed: number;
  readonly notPerturbed: number;
  /** Played as somebody else, with a compressed body that still says who it was. */
  readonly bodiesUnread: number;
  /** Sessions that may have been split, because more spoke at once than are remembered. */
  readonly forgottenSessions: number;
  /** What was begun before the window: such sessions are played from the window's first instant on. */
  readonly openedBefore: OpenedBefore | null;
}

/** Counts what a scaling does, one planned send after the other. */
export class ScalingTally {
  #thinned = 0;
  #copies = 0;
  #layered = 0;
  #perturbed = 0;
  #notPerturbed = 0;
  #bodiesUnread = 0;

  /** An exchange whose session is left out; those of other stretches were never part of the window. */
  leftOut({ layer }: PlannedSend): void {
    if (layer === 0) this.#thinned += 1;
  }

  planned({ copy, layer }: PlannedSend): void {
    if (copy > 0) this.#copies += 1;
    else if (layer > 0) this.#layered += 1;
  }

  /** A request of it was built. @param places where copies are to differ */
  built({ copy }: PlannedSend, result: { perturbed: boolean; bodyUnread: boolean }, places: number): void {
    if (result.bodyUnread) this.#bodiesUnread += 1;
    if (copy === 0 || places === 0) return;
    if (result.perturbed) this.#perturbed += 1;
    else this.#notPerturbed += 1;
  }

  counts(forgottenSessions: number, openedBefore: OpenedBefore | null): ScalingCounts {
    return {
      thinned: this.#thinned,
      copies: this.#copies,
      layered: this.#layered,
      perturbed: this.#perturbed,
      notPerturbed: this.#notPerturbed,
      bodiesUnread: this.#bodiesUnread,
      forgottenSessions,
      openedBefore,
    };
  }
}
