/** A service has a handful of routes and models, a scan of it thousands. */
const MAX_GROUPS = 100;

/** Groups of requests by a name, at most 100; null is the name of requests without one. */
export class NamedGroups<Group extends { readonly requests: number }> {
  readonly #make: new () => Group;
  readonly #groups = new Map<string | null, Group>();
  /** Requests of names beyond the limit. */
  ungrouped = 0;

  constructor(make: new () => Group) {
    this.#make = make;
  }

  /** Undefined for a name that has no group. */
  get(name: string | null): Group | undefined {
    return this.#groups.get(name);
  }

  /** The group that takes a request of this name; null beyond the limit, where the request is counted. */
  groupOf(name: string | null): Group | null {
    let group = this.#groups.get(name);
    if (group !== undefined) return group;
    if (this.#groups.size >= MAX_GROUPS) {
      this.ungrouped += 1;
      return null;
    }
    group = new this.#make();
    this.#groups.set(name, group);
    return group;
  }

  /** The largest first. */
  ordered(): [name: string | null, group: Group][] {
    return [...this.#groups].sort(
      ([nameA, a], [nameB, b]) => b.requests - a.requests || ((nameA ?? '') < (nameB ?? '') ? -1 : 1),
    );
  }
}
