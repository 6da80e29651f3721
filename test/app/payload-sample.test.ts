import { describe, expect, test } from 'vitest';
import { PROFILE_OPTIONS, profileCapture, resolveProfileOptions } from '../../src/app/profile.ts';
import { byProgram } from '../../src/core/options.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';

/** Bodies grow from the first exchange to the last, so that their sizes say where a sample was taken. */
const EXCHANGES = 640;
const sizeAt = (index: number) => 1_000 + index;

describe('the payloads that a profile looks into', () => {
  const directory = captureOf(
    Array.from({ length: EXCHANGES }, (_, index) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + index * 1_000,
        status: index % 2 === 0 ? 200 : 503,
        request: requestMessage({ body: 'x'.repeat(sizeAt(index)) }),
      }),
    ),
  );
  const sampled = (payloadSample: string, status?: string) => {
    const options = resolveProfileOptions(
      byProgram(PROFILE_OPTIONS, {
        payloadSample,
        ...(status === undefined ? {} : { filter: [`status=${status}`] }),
      }),
    );
    return profileCapture({ directory, options }).payloads;
  };

  test('are no more than were asked for', () => {
    expect(sampled('300')).toMatchObject({ sampled: 300, complete: false });
    expect(sampled('1')).toMatchObject({ sampled: 1, complete: false });
    expect(sampled('640')).toMatchObject({ sampled: 640, complete: true });
  });

  test('lie evenly over what the filters leave', () => {
    const odd = sampled('100', '503');
    expect(odd).toMatchObject({ sampled: 100, complete: false });
    expect(Math.abs((odd?.bodyBytes.p50 ?? 0) - sizeAt(EXCHANGES / 2))).toBeLessThan(40);
    expect(odd?.bodyBytes.max).toBeGreaterThan(sizeAt(EXCHANGES - 80));
  });

  test('are all of what the filters leave where that is no more', () => {
    expect(sampled('320', '503')).toMatchObject({ sampled: 320, complete: true });
  });
});
