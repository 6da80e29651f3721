import { hasFailed, SEND_ERRORS, type Send, type SendError } from '../core/run.ts';

export type SendOutcome = 'completed' | 'failed' | 'cancelled' | 'refused' | 'unreached';

/**
 * What a finished send counts as: refused by our own cap; unreached when the run ended before it was due;
 * cancelled by us because the recorded client left;
 * failed without a complete answer or with a 5xx; completed with any other status, which is an answer.
 */
export function outcomeOf(send: Send): SendOutcome {
  if (send.refused) return 'refused';
  if (send.actualOffsetNs === null) return 'unreached';
  if (send.cancelled) return 'cancelled';
  return hasFailed(send) ? 'failed' : 'completed';
}

export interface OutcomeFigures {
  /** `completed` + `failed` + `cancelled`. */
  readonly sent: number;
  readonly completed: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly refused: number;
  /** Planned and never sent, for no cap of ours. */
  readonly unreached: number;
  /** Of the failed, those we ended ourselves when the run was stopped. */
  readonly stopped: number;
  /** Answers by status, 5xx included. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Sends without a complete answer, by cause. */
  readonly errors: Readonly<Partial<Record<SendError, number>>>;
}

export class OutcomeCounts {
  #completed = 0;
  #failed = 0;
  #cancelled = 0;
  #refused = 0;
  #unreached = 0;
  readonly #statuses = new Map<number, number>();
  readonly #errors = new Map<SendError, number>();

  add(send: Send): SendOutcome {
    const outcome = outcomeOf(send);
    if (outcome === 'completed') this.#completed += 1;
    if (outcome === 'failed') this.#failed += 1;
    if (outcome === 'cancelled') this.#cancelled += 1;
    if (outcome === 'refused') this.#refused += 1;
    if (outcome === 'unreached') this.#unreached += 1;
    if (outcome !== 'completed' && outcome !== 'failed') return outcome;
    if (send.error !== null) this.#errors.set(send.error, (this.#errors.get(send.error) ?? 0) + 1);
    else if (send.status !== null) {
      this.#statuses.set(send.status, (this.#statuses.get(send.status) ?? 0) + 1);
    }
    return outcome;
  }

  figures(): OutcomeFigures {
    const statuses = [...this.#statuses].sort(([a], [b]) => a - b);
    const errors = SEND_ERRORS.filter((error) => this.#errors.has(error));
    return {
      sent: this.#completed + this.#failed + this.#cancelled,
      completed: this.#completed,
      failed: this.#failed,
      cancelled: this.#cancelled,
      refused: this.#refused,
      unreached: this.#unreached,
      stopped: this.#errors.get('stopped') ?? 0,
      statuses: Object.fromEntries(statuses.map(([status, count]) => [String(status), count])),
      errors: Object.fromEntries(errors.map((error) => [error, this.#errors.get(error)])),
    };
  }
}
