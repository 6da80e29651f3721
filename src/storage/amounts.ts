/** Amounts under names of a closed list. */
export class Amounts<Name extends string> {
  readonly #byName: Map<Name, { exchanges: number; bytes: number }>;
  readonly total = { exchanges: 0, bytes: 0 };

  constructor(names: readonly Name[]) {
    this.#byName = new Map(names.map((name) => [name, { exchanges: 0, bytes: 0 }]));
  }

  add(name: Name, { exchanges, bytes }: { readonly exchanges: number; readonly bytes: number }): void {
    const sum = entryOf(this.#byName, name, { exchanges: 0, bytes: 0 });
    sum.exchanges += exchanges;
    sum.bytes += bytes;
    this.total.exchanges += exchanges;
    this.total.bytes += bytes;
  }

  of(name: Name): { readonly exchanges: number; readonly bytes: number } {
    return this.#byName.get(name) ?? { exchanges: 0, bytes: 0 };
  }

  /** Those that are not zero. */
  each(): Partial<Record<Name, { exchanges: number; bytes: number }>> {
    const entries = [...this.#byName].filter(([, { exchanges, bytes }]) => exchanges + bytes > 0);
    return Object.fromEntries(entries) as Partial<Record<Name, { exchanges: number; bytes: number }>>;
  }
}

/** The value under a key, a fresh one if there is none yet. */
export function entryOf<Key, Value>(map: Map<Key, Value>, key: Key, fresh: Value): Value {
  const known = map.get(key);
  if (known !== undefined) return known;
  map.set(key, fresh);
  return fresh;
}
