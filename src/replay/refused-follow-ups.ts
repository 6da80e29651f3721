import type { PreparedRequest } from './prepared-request.ts';

/** Refused follow-ups whose own follow-up has not come, or never will. */
const REMEMBERED = 131_072;

/** Knows which follow-ups were refused for want of room: what would wait for one of them must not wait for ever. */
export class RefusedFollowUps {
  readonly #indexes = new Set<number>();

  add(index: number): void {
    this.#indexes.add(index);
    if (this.#indexes.size <= REMEMBERED) return;
    for (const oldest of this.#indexes) {
      this.#indexes.delete(oldest);
      return;
    }
  }

  /** The request; begun anew at its planned instant where the one before it in its session was refused. */
  withoutRefused(request: PreparedRequest): PreparedRequest {
    const { follows } = request;
    if (follows === undefined || follows === null || !this.#indexes.delete(follows.after)) return request;
    return { ...request, follows: null };
  }
}
