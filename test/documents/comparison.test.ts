import { expect, test } from 'vitest';
import { COMPARE_OPTIONS, compareNamed, resolveCompareOptions } from '../../src/app/compare.ts';
import { byProgram } from '../../src/core/options.ts';
import { comparisonSchema } from '../../src/documents/comparison.ts';
import { captureOf } from '../support/captures.ts';
import { calmSends, comparedRun } from '../support/compared-runs.ts';
import { exchangeOf, TEST_EPOCH_US } from '../support/exchanges.ts';

test('the schema of comparisons has every field of a comparison of runs, of failing ones, and of profiles', async () => {
  const { a, b } = calmSends(900, 1.2, (index) => (index % 3 === 0 ? { status: 503 } : {}));
  const runs = [comparedRun(a), comparedRun(b, { run: { options: { multiplier: 2 } } })] as const;
  const capture = captureOf(
    Array.from({ length: 1_200 }, (_, at) => exchangeOf({ arrivalUs: TEST_EPOCH_US + at * 10_000 })),
  );
  const options = resolveCompareOptions(byProgram(COMPARE_OPTIONS, { allowDifferences: true }));
  for (const [one, other] of [runs, [runs[0], runs[0]], [capture, capture]] as const) {
    const document = JSON.parse(JSON.stringify(await compareNamed(one, other, options))) as unknown;
    // What the schema does not name it would leave out.
    expect(comparisonSchema.parse(document)).toEqual(document);
  }
});
