import { GapCounts } from '../../core/gap-counts.ts';
import type { SendAnswer } from '../../core/run.ts';

/** The facts of an answer that come from these times. Instants are those given to `add`. */
export type TokenFacts = Pick<
  SendAnswer,
  'contentEvents' | 'gapMaxNs' | 'gaps' | 'firstTokenPausedNs' | 'lastTokenPausedNs' | 'unpausedGaps'
> & {
  readonly firstTokenNs: number | null;
  readonly lastTokenNs: number | null;
};

/** When the tokens of a stream came: pieces with content of a body, or messages of a gRPC call. */
export class TokenTimes {
  readonly #gaps = new GapCounts();
  /** The gaps less the pauses of the sender. */
  readonly #unpausedGaps = new GapCounts();
  #wasPaused = false;
  #firstPausedNs = 0;
  #lastPausedNs = 0;
  #firstNs: number | null = null;
  #lastNs: number | null = null;
  #count = 0;

  /** @param pausedNs how long it may have waited for a sender that was paused */
  add(atNs: number, pausedNs: number): void {
    this.#count += 1;
    if (this.#firstNs === null) {
      this.#firstNs = atNs;
      this.#firstPausedNs = pausedNs;
    }
    if (this.#lastNs !== null) {
      const gapNs = atNs - this.#lastNs;
      this.#gaps.add(gapNs);
      this.#unpausedGaps.add(Math.max(0, gapNs - pausedNs));
      this.#wasPaused ||= pausedNs > 0;
    }
    this.#lastNs = atNs;
    this.#lastPausedNs = pausedNs;
  }

  facts(): TokenFacts {
    return {
      firstTokenNs: this.#firstNs,
      lastTokenNs: this.#lastNs,
      contentEvents: this.#count,
      gapMaxNs: this.#gaps.maxNs,
      gaps: this.#gaps.toBytes(),
      firstTokenPausedNs: this.#firstPausedNs,
      lastTokenPausedNs: this.#lastPausedNs,
      unpausedGaps: this.#wasPaused ? this.#unpausedGaps.toBytes() : null,
    };
  }
}
