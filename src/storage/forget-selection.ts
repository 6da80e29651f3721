import type { Amount } from '../core/accounting.ts';
import type { Connection } from './database.ts';
import type { ForgetKind } from './segment-meta.ts';

/** Which exchanges are to be forgotten: those to which all of it applies. */
export interface ForgetSelection {
  /** Keyed hashes that one session or client may have; null for any. */
  readonly identity: {
    readonly kind: 'session' | 'client';
    readonly hashes: readonly Uint8Array[];
  } | null;
  /** Arrivals from `fromUs` to before `toUs`, epoch microseconds; null where it has no end on that side. */
  readonly fromUs: number | null;
  readonly toUs: number | null;
}

/** What a selection is made of, as a segment remembers it. */
export function kindsOf({ identity, fromUs, toUs }: ForgetSelection): ForgetKind[] {
  return [
    ...(identity === null ? [] : [identity.kind]),
    ...(fromUs === null && toUs === null ? [] : ['time' as const]),
  ];
}

/** Whether a segment with these arrivals can hold any of it. */
export function touches(
  { fromUs, toUs }: ForgetSelection,
  span: { readonly firstUs: number; readonly lastUs: number },
): boolean {
  return (fromUs === null || span.lastUs >= fromUs) && (toUs === null || span.firstUs < toUs);
}

/** Condition on rows of `exchange` and what is bound to it. */
export function conditionOf({ identity, fromUs, toUs }: ForgetSelection): {
  readonly sql: string;
  readonly bound: readonly (number | Uint8Array)[];
} {
  const terms: string[] = [];
  const bound: (number | Uint8Array)[] = [];
  const add = (term: string, ...values: readonly (number | Uint8Array)[]): void => {
    terms.push(term);
    bound.push(...values);
  };
  if (identity !== null) {
    const { kind, hashes } = identity;
    add(`${kind} IN (${hashes.map(() => '?').join(', ')})`, ...hashes);
  }
  if (fromUs !== null) add('arrival_us >= ?', fromUs);
  if (toUs !== null) add('arrival_us < ?', toUs);
  return { sql: terms.length === 0 ? 'FALSE' : terms.join(' AND '), bound };
}

/** How much of a segment a selection is. Bytes are those of bodies, after transfer decoding. */
export function amountOf(
  connection: Connection,
  selection: ForgetSelection,
  schema: 'main' | 'old' = 'main',
): Amount {
  const { sql, bound } = conditionOf(selection);
  const found = connection
    .prepare<(number | Uint8Array)[], Amount>(
      `SELECT count(*) AS exchanges, coalesce(sum(coalesce(request_bytes, 0) + coalesce(response_bytes, 0)), 0) AS bytes
      FROM ${schema}.exchange WHERE ${sql}`,
    )
    .get(...bound);
  return found ?? { exchanges: 0, bytes: 0 };
}
