import { expect, it } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US } from '../support/exchanges.ts';
import { documentOf, replay, serverOf } from '../support/replaying.ts';

/** Four seconds of fifty requests a second; ten sessions of twenty requests each. */
const exchanges = Array.from({ length: 200 }, (_, n) =>
  exchangeOf({ arrivalUs: TEST_EPOCH_US + n * 20_000, session: Buffer.alloc(8, (n % 10) * 20 + 1) }),
);

it('a run of a plan that its seed drew too small says so', async () => {
  const server = await serverOf();
  const capture = captureOf(exchanges);
  // Of the ten sessions the one seed draws three to be played again, and the other seven.
  for (const [seed, planned, isShort] of [
    ['2', 26, true],
    ['4', 34, false],
  ] as const) {
    const run = await replay(capture, server.url, [
      ...['--scaling', 'amplify', '--multiplier', '1.5', '--seed', seed],
      ...['--duration', '400ms', '--jitter', '0s', '--json'],
    ]);
    const document = documentOf(run);
    expect(document).toMatchObject({ recorded: 20, planned });
    expect(document.reasons.some(({ code }) => code === 'multiplier_not_reached')).toBe(isShort);
  }
});
