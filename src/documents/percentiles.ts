import type { z } from 'zod';

/**
 * The percentiles of times, ascending: fields of documents, columns of tables, lines of charts, names in CI reports,
 * histories and trackers.
 */
export const PERCENTS = [50, 95, 99] as const;
/** Documents of earlier versions lack others, so a schema has those as optional fields. */
const EARLY_PERCENTS = [50, 95, 99] as const;

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

type PercentileFields<Field extends z.ZodType, Suffix extends string> = {
  [Of in Percent as `p${Of}${Suffix}`]: Of extends (typeof EARLY_PERCENTS)[number]
    ? Field
    : z.ZodOptional<Field>;
};

/** The fields of all percentiles in a schema. */
export function percentileFields<Field extends z.ZodType, Suffix extends string = ''>(
  field: Field,
  suffix: Suffix = '' as Suffix,
) {
  const isEarly = (percent: number) => EARLY_PERCENTS.some((each) => each === percent);
  const fieldOf = (percent: Percent) => (isEarly(percent) ? field : field.optional());
  return byPercent(PERCENTS, fieldOf, suffix) as object as PercentileFields<Field, Suffix>;
}

/** The values of all percentiles in their order; null for those that a document lacks. */
export function percentilesIn<Values extends object, Suffix extends string = ''>(
  values: Values,
  suffix: Suffix = '' as Suffix,
): (NonNullable<Values[keyof Values & `p${Percent}${Suffix}`]> | null)[] {
  const fields = values as Record<string, Values[keyof Values & `p${Percent}${Suffix}`]>;
  return PERCENTS.map((percent) => fields[`p${percent}${suffix}`] ?? null);
}
