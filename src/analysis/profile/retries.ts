import type { RetryFigures } from '../../documents/profile.ts';
import { RequestKeys } from '../stats/distinct.ts';

const WINDOW_S = 60;
const WINDOW_US = WINDOW_S * 1e6;
/** Failures remembered; the oldest go first. */
const REMEMBERED = 65_536;

/** Looks for retries, at bounded memory; rows in order of arrival. */
export class Retries {
  readonly #keys = new RequestKeys();
  /** When a failed request ended, by what it was; the latest failure last. */
  readonly #failures = new Map<number, number>();
  #likely = 0;
  #watched = 0;

  /** Takes a request whose body is known; `endUs` is when it failed, null where it did not. */
  add(
    route: string | null,
    requestHash: Uint8Array | null,
    arrivalUs: number,
    failedUs: number | null,
  ): void {
    if (this.#failures.size === 0 && failedUs === null) return;
    this.#keys.take(route, requestHash);
    const key = this.#keys.number;
    const before = this.#failures.get(key);
    if (before !== undefined) {
      // One that was sent before the other had failed is no answer to it.
      if (arrivalUs >= before && arrivalUs - before <= WINDOW_US) this.#likely += 1;
      if (arrivalUs >= before) this.#failures.delete(key);
    }
    if (failedUs === null) return;
    this.#watched += 1;
    this.#failures.delete(key);
    this.#failures.set(key, failedUs);
    for (const [oldest, endUs] of this.#failures) {
      if (this.#failures.size <= REMEMBERED && arrivalUs - endUs <= WINDOW_US) break;
      this.#failures.delete(oldest);
    }
  }

  figures(): RetryFigures {
    return { likely: this.#likely, windowS: WINDOW_S, watched: this.#watched };
  }
}
