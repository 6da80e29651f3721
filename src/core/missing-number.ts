/** A number that may be missing, as a column of numbers keeps it. */
export function numberOf(value: number | null): number {
  return value ?? Number.NaN;
}

/** The same read back: NaN is one that is missing. */
export function orNull(value: number | undefined): number | null {
  return value === undefined || Number.isNaN(value) ? null : value;
}
