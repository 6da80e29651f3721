/** Where an integer may stand that a number cannot hold: sixteen digits and more, without fraction or exponent. */
const MAY_BE_LARGE = /(?:^|[[:,\s])-?\d{16,}(?:[\s,\]}]|$)/;
const INTEGER = /^-?\d+$/;

type Reviver = (
  this: unknown,
  name: string,
  value: unknown,
  context: { readonly source?: string },
) => unknown;

/**
 * Parses JSON with integers beyond 2^53 as `bigint`: as numbers, ids that differ in their last digits are equal.
 * @throws SyntaxError for what is no JSON
 */
export function parseExactly(text: string): unknown {
  if (!MAY_BE_LARGE.test(text)) return JSON.parse(text) as unknown;
  const exact: Reviver = (_name, value, { source }) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && source !== undefined && INTEGER.test(source)
      ? BigInt(source)
      : value;
  return JSON.parse(text, exact as Parameters<typeof JSON.parse>[1]) as unknown;
}
