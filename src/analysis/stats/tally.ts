/** Counts by key; a key that was never counted is absent. */
export class Tally<Key> extends Map<Key, number> {
  count(key: Key, times = 1): void {
    this.set(key, (this.get(key) ?? 0) + times);
  }

  /** The sum over all keys, or over those that pass the test. */
  total(isCounted: (key: Key) => boolean = () => true): number {
    let sum = 0;
    for (const [key, times] of this) if (isCounted(key)) sum += times;
    return sum;
  }
}

/** The entries of a map under these keys, in the order of the keys. */
export function among<Key extends string, Value>(
  keys: readonly Key[],
  values: ReadonlyMap<Key, Value>,
): Partial<Record<Key, Value>> {
  const known = keys.filter((key) => values.has(key));
  return Object.fromEntries(known.map((key) => [key, values.get(key)])) as Partial<Record<Key, Value>>;
}

/** Total variation between the shares of two tallies, 0 to 1; null if either is empty. */
export function shareDistance<Key>(one: Tally<Key>, other: Tally<Key>): number | null {
  const totals = [one.total(), other.total()] as const;
  if (totals[0] === 0 || totals[1] === 0) return null;
  let sum = 0;
  for (const key of new Set([...one.keys(), ...other.keys()])) {
    sum += Math.abs((one.get(key) ?? 0) / totals[0] - (other.get(key) ?? 0) / totals[1]);
  }
  return sum / 2;
}

const EXAMPLES = 3;

/** Keeps the first few examples of each kind. */
export class FirstExamples<Kind, Example> {
  readonly byKind = new Map<Kind, Example[]>();

  add(kind: Kind, example: Example): void {
    const kept = this.byKind.get(kind) ?? [];
    if (kept.length < EXAMPLES) kept.push(example);
    this.byKind.set(kind, kept);
  }
}

/** Most groups by default. A service has few routes and models, but a scan of it has thousands. */
const MAX_GROUPS = 100;

/** Groups of requests by name, up to a limit. Requests without a name have the name null. */
export class NamedGroups<Group extends { readonly requests: number }> {
  readonly #make: () => Group;
  readonly #most: number;
  readonly #groups = new Map<string | null, Group>();
  /** Requests of names beyond the limit. */
  ungrouped = 0;

  constructor(make: () => Group, most = MAX_GROUPS) {
    this.#make = make;
    this.#most = most;
  }

  get(name: string | null): Group | undefined {
    return this.#groups.get(name);
  }

  /** The group for a request of this name. Beyond the limit it counts the request and returns null. */
  groupOf(name: string | null): Group | null {
    let group = this.#groups.get(name);
    if (group !== undefined) return group;
    if (this.#groups.size >= this.#most) {
      this.ungrouped += 1;
      return null;
    }
    group = this.#make();
    this.#groups.set(name, group);
    return group;
  }

  /** The groups, the largest first. */
  ordered(): [name: string | null, group: Group][] {
    return [...this.#groups].sort(
      ([nameA, a], [nameB, b]) => b.requests - a.requests || ((nameA ?? '') < (nameB ?? '') ? -1 : 1),
    );
  }
}
