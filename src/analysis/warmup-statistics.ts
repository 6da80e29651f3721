import type { Send } from '../core/run.ts';
import type { WarmupFigures } from '../documents/replay.ts';
import { outcomeOf } from './outcome-counts.ts';

/** Counts what was sent to warm the target up. */
export class WarmupStatistics {
  readonly #originNs: number;
  #planned = 0;
  #completed = 0;
  #failed = 0;
  #cancelled = 0;
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
    if (outcome === 'refused' || outcome === 'unreached') return;
    if (outcome === 'completed') this.#completed += 1;
    if (outcome === 'failed') this.#failed += 1;
    if (outcome === 'cancelled') this.#cancelled += 1;
    if ((send.lastByteOffsetNs ?? 0) >= this.#originNs) this.#endedLate += 1;
  }

  figures(): WarmupFigures {
    return {
      planned: this.#planned,
      sent: this.#completed + this.#failed + this.#cancelled,
      completed: this.#completed,
      failed: this.#failed,
      cancelled: this.#cancelled,
      refused: this.#refused,
      endedLate: this.#endedLate,
    };
  }
}
