/** Set by `npm run test:long`: suites use the numbers of repetitions for a release. */
const IS_LONG = process.env['TEST_LONG'] === '1';

/** Number of repetitions, or the cases to use: in CI, and in the long form. */
export function repeated<Repeats>(inCi: Repeats, inLongForm: Repeats): Repeats {
  return IS_LONG ? inLongForm : inCi;
}
