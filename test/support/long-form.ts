/** Set by `npm run test:long`: suites repeat what they repeat as often as a release asks for. */
const IS_LONG = process.env['REPRISE_TEST_LONG'] === '1';

/** How often something is repeated: in CI, and in the long form. */
export function repeated(inCi: number, inLongForm: number): number {
  return IS_LONG ? inLongForm : inCi;
}
