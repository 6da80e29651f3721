import { z } from 'zod';

/**
 * The percentiles of times, ascending: fields of documents, columns of tables, lines of charts, names in CI reports,
 * histories and trackers.
 */
export const PERCENTS = [50, 95, 99] as const;
/** Documents of earlier versions lack others. */
const EARLY_PERCENTS: ReadonlySet<number> = new Set([50, 95, 99]);

type Percent = (typeof PERCENTS)[number];

/** `p50` …, as titles of columns. */
export const PERCENTILE_NAMES = PERCENTS.map((percent) => `p${percent}` as const);

/** A value for each of these percentiles, by the name with a suffix: `p50`, or `p50Ms`. */
export function byPercent<Value, Of extends number, Suffix extends string = ''>(
  percents: readonly Of[],
  make: (percent: Of) => Value,
  suffix: Suffix = '' as Suffix,
): Record<`p${Of}${Suffix}`, Value> {
  const entries = percents.map((percent) => [`p${percent}${suffix}`, make(percent)]);
  return Object.fromEntries(entries) as Record<`p${Of}${Suffix}`, Value>;
}

/** The fields of all percentiles in a schema. */
export function percentileFields<Field extends z.ZodType, Suffix extends string = ''>(
  field: Field,
  suffix: Suffix = '' as Suffix,
): Record<`p${Percent}${Suffix}`, Field> {
  const fieldOf = (percent: Percent) =>
    EARLY_PERCENTS.has(percent) ? field : (z.optional(field) as z.ZodType as Field);
  return byPercent(PERCENTS, fieldOf, suffix);
}

/** The values of all percentiles in their order; null for those that a document lacks. */
export function percentilesIn<Values extends object, Suffix extends string = ''>(
  values: Values,
  suffix: Suffix = '' as Suffix,
): (NonNullable<Values[keyof Values & `p${Percent}${Suffix}`]> | null)[] {
  const fields = values as Record<string, Values[keyof Values & `p${Percent}${Suffix}`]>;
  return PERCENTS.map((percent) => fields[`p${percent}${suffix}`] ?? null);
}
