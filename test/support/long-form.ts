/** Set by `npm run test:long`: suites repeat what they repeat as often as a release asks for. */
const IS_LONG = process.env['REPRISE_TEST_LONG'] === '1';

/** How often, or over which cases, something is repeated: in CI, and in the long form. */
export function repeated<Repeats>(inCi: Repeats, inLongForm: Repeats): Repeats {
  return IS_LONG ? inLongForm : inCi;
}
