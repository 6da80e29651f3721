import type { GroupFigures } from '../../documents/profile.ts';
import { distributionOf } from './distribution.ts';
import { LazyHistogram } from './lazy-histogram.ts';

/** A part under the name its requests share; null is the name of those that have none. */
export interface NamedGroup extends GroupFigures {
  readonly name: string | null;
}

/** One request as a group takes it. */
export interface GroupEntry {
  readonly requestBytes: number | null;
  readonly responseBytes: number | null;
  /** Null where nobody recorded how it ended. */
  readonly failed: boolean | null;
  /** Null where it did not complete, or nobody recorded when. */
  readonly latencyUs: number | null;
}

/** The mean of what is known. */
class KnownMean {
  #sum = 0;
  #count = 0;

  add(value: number | null): void {
    if (value === null) return;
    this.#sum += value;
    this.#count += 1;
  }

  get value(): number | null {
    return this.#count === 0 ? null : this.#sum / this.#count;
  }
}

/** Sums up requests that belong together. */
export class Group {
  #requests = 0;
  #failed: number | null = null;
  readonly #requestBytes = new KnownMean();
  readonly #responseBytes = new KnownMean();
  readonly #latencyUs = new LazyHistogram();

  get requests(): number {
    return this.#requests;
  }

  add({ requestBytes, responseBytes, failed, latencyUs }: GroupEntry): void {
    this.#requests += 1;
    this.#requestBytes.add(requestBytes);
    this.#responseBytes.add(responseBytes);
    if (failed !== null) this.#failed = (this.#failed ?? 0) + (failed ? 1 : 0);
    if (latencyUs !== null) this.#latencyUs.record(latencyUs);
  }

  figures(of: number): GroupFigures {
    return {
      requests: this.#requests,
      share: of === 0 ? 0 : this.#requests / of,
      failed: this.#failed,
      meanRequestBytes: this.#requestBytes.value,
      meanResponseBytes: this.#responseBytes.value,
      latencyMs: distributionOf(this.#latencyUs.histogram, 1e-3),
    };
  }
}

/** Names kept apart; a service has a handful of routes and models, a scan of it thousands. */
const MAX_GROUPS = 100;

/** Groups by a name, at most 100 of them; what comes under further names is one group. */
export class Groups {
  readonly #groups = new Map<string | null, Group>();
  readonly #rest = new Group();

  add(name: string | null, entry: GroupEntry): void {
    let group = this.#groups.get(name);
    if (group === undefined) {
      if (this.#groups.size >= MAX_GROUPS) {
        this.#rest.add(entry);
        return;
      }
      group = new Group();
      this.#groups.set(name, group);
    }
    group.add(entry);
  }

  /** Requests under names that found no place of their own. */
  get ungrouped(): number {
    return this.#rest.requests;
  }

  /** The largest first. */
  figures(of: number): NamedGroup[] {
    return [...this.#groups]
      .map(([name, group]) => ({ name, ...group.figures(of) }))
      .sort((a, b) => b.requests - a.requests || ((a.name ?? '') < (b.name ?? '') ? -1 : 1));
  }
}
