/** A number of a column of numbers: NaN stands for one that is missing. */
export function orNull(value: number | undefined): number | null {
  return value === undefined || Number.isNaN(value) ? null : value;
}
