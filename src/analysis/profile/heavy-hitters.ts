import { Histogram } from '../../core/histogram.ts';
import type { PartyFigures } from '../../documents/profile.ts';
import { DistinctEstimate, wordAt } from '../stats/distinct.ts';
import { distributionOf } from './distribution.ts';

interface Party {
  readonly id: Uint8Array;
  requests: number;
  firstUs: number;
  lastUs: number;
}

/** Kept when more than twice as many were seen; those beyond sent so little that no top share hangs on them. */
const KEPT = 32_768;
const SHOWN = 10;

/**
 * Counts who sends how much, at bounded memory. Over 65,536 different ones, the busier half is kept and the rest
 * forgotten, each as much as the least that is kept had sent (Misra and Gries' summary, taken in batches): a count
 * is then at most so much too low.
 */
export class Parties {
  readonly #parties = new Map<number, Party>();
  readonly #distinct = new DistinctEstimate();
  #requests = 0;
  #undercount = 0;
  #exact = true;

  /** @param id 8 bytes of a keyed hash, which is uniform */
  add(id: Uint8Array, arrivalUs: number): void {
    this.#requests += 1;
    const high = wordAt(id, 0);
    const low = wordAt(id, 4) >>> 0;
    const key = (high >>> 11) * 2 ** 32 + low;
    const known = this.#parties.get(key);
    if (known !== undefined) {
      known.requests += 1;
      known.lastUs = arrivalUs;
      return;
    }
    this.#distinct.add(high, low);
    // A copy: what the reader hands over may be a view of a page.
    this.#parties.set(key, { id: Uint8Array.from(id), requests: 1, firstUs: arrivalUs, lastUs: arrivalUs });
    if (this.#parties.size > 2 * KEPT) this.#forget();
  }

  figures(): PartyFigures {
    const ordered = [...this.#parties.values()].sort((a, b) => b.requests - a.requests);
    // Once requests were forgotten, what each one sent is unknown.
    const each = new Histogram();
    const spans = new Histogram();
    for (const { requests, firstUs, lastUs } of this.#exact ? ordered : []) {
      each.record(requests);
      if (requests > 1) spans.record(Math.max(0, lastUs - firstUs));
    }
    return {
      count: this.#exact ? ordered.length : Math.round(this.#distinct.estimate()),
      exact: this.#exact,
      requests: this.#requests,
      undercount: this.#undercount,
      topShares: {
        top1: this.#share(ordered, 1),
        top10: this.#share(ordered, 10),
        top100: this.#share(ordered, 100),
      },
      requestsEach: distributionOf(each),
      spanS: distributionOf(spans, 1e-6),
      top: ordered.slice(0, SHOWN).map(({ id, requests }) => ({
        id: Buffer.from(id).toString('hex'),
        requests,
        share: requests / this.#requests,
      })),
    };
  }

  #share(ordered: readonly Party[], first: number): number | null {
    if (this.#requests === 0) return null;
    return ordered.slice(0, first).reduce((sum, { requests }) => sum + requests, 0) / this.#requests;
  }

  #forget(): void {
    this.#exact = false;
    const counts = Float64Array.from(this.#parties.values(), ({ requests }) => requests).sort();
    const least = counts[counts.length - KEPT] ?? 0;
    this.#undercount += least;
    for (const [key, party] of this.#parties) {
      party.requests -= least;
      if (party.requests <= 0) this.#parties.delete(key);
    }
  }
}
