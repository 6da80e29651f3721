import { addLoss, type Loss, type LossReason } from '../core/accounting.ts';

/** Losses summed by reason, each with the span of all. */
export function sumOfLosses(...lists: readonly (readonly Loss[])[]): Loss[] {
  const sums = new Map<LossReason, Loss>();
  for (const loss of lists.flat()) addLoss(sums, loss);
  return [...sums.values()];
}

/**
 * Losses that the supervisor holds until a recorder has heard of them: what a dead forwarder had not told, what
 * a dead recorder had not written, and what an earlier recording left in the ledger.
 */
export class UntoldLosses {
  #losses: Loss[] = [];
  /** Those under way to the running recorder, by the number of their message. */
  #told: { readonly number: number; readonly losses: readonly Loss[] }[] = [];
  #number = 0;

  add(losses: readonly Loss[]): void {
    this.#losses = sumOfLosses(this.#losses, losses);
  }

  /** All that nobody is known to have heard. */
  get all(): Loss[] {
    return sumOfLosses(this.#losses, ...this.#told.map(({ losses }) => losses));
  }

  /** What to tell a recorder now; null when there is nothing. */
  tell(): { number: number; losses: readonly Loss[] } | null {
    if (this.#losses.length === 0) return null;
    this.#number += 1;
    const message = { number: this.#number, losses: this.#losses };
    this.#told.push(message);
    this.#losses = [];
    return message;
  }

  /** The recorder has heard all messages up to a number. */
  heard(number: number): void {
    this.#told = this.#told.filter((message) => message.number > number);
  }

  /** The recorder ended in good order and wrote all that it was told but these. */
  recorderStopped(unwritten: readonly Loss[]): void {
    this.#losses = sumOfLosses(this.#losses, unwritten);
    this.#told = [];
  }

  /** The recorder is gone, with what it had not written; what it had not heard is told to the next. */
  recorderEnded(unwritten: readonly Loss[]): void {
    this.#losses = sumOfLosses(this.all, unwritten);
    this.#told = [];
  }
}
