import type { Send } from '../core/run.ts';
import { outcomeOf } from './outcome-counts.ts';

/** What became of the sends of the warm-up; `completed` + `failed` were sent. */
export interface WarmupFigures {
  readonly planned: number;
  readonly sent: number;
  readonly completed: number;
  readonly failed: number;
  readonly refused: number;
  /** Answered, or failed, after the judged part had begun: excluded all the same. */
  readonly endedLate: number;
}

/** Counts what was sent to warm the target up. */
export class WarmupStatistics {
  readonly #originNs: number;
  #planned = 0;
  #completed = 0;
  #failed = 0;
  #refused = 0;
  #endedLate = 0;

  /** @param originNs where the judged part begins */
  constructor(originNs: number) {
    this.#originNs = originNs;
  }

  add(send: Send): void {
    const outcome = outcomeOf(send);
    this.#planned += 1;
    if (outcome === 'refused') this.#refused += 1;
    if (outcome !== 'completed' && outcome !== 'failed') return;
    if (outcome === 'completed') this.#completed += 1;
    else this.#failed += 1;
    if ((send.lastByteOffsetNs ?? 0) >= this.#originNs) this.#endedLate += 1;
  }

  figures(): WarmupFigures {
    return {
      planned: this.#planned,
      sent: this.#completed + this.#failed,
      completed: this.#completed,
      failed: this.#failed,
      refused: this.#refused,
      endedLate: this.#endedLate,
    };
  }
}
