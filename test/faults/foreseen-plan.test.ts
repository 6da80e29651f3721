import { expect, it } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US } from '../support/exchanges.ts';
import { documentOf, replay, serverOf } from '../support/replaying.ts';

/** Four seconds of fifty requests a second; ten sessions of twenty requests each. */
const exchanges = Array.from({ length: 200 }, (_, n) =>
  exchangeOf({ arrivalUs: TEST_EPOCH_US + n * 20_000, session: Buffer.alloc(8, (n % 10) * 20 + 1) }),
);

it('a plan that its seed drew too small is warned of before the start, and judged in the same words', async () => {
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
    expect(run.stderr).toContain(`the plan is ${planned / 20} times`);
    expect(run.stderr.includes('WARNING')).toBe(isShort);
  }
});

it('what a ceiling on requests ends is told to last no longer than they do', async () => {
  const server = await serverOf();
  const run = await replay(captureOf(exchanges), server.url, ['--max-requests', '26', '--ndjson']);
  const [start] = run.stdout.split('\n');
  expect(JSON.parse(start ?? '')).toMatchObject({ event: 'start', plannedRequests: 26, plannedS: 0.5 });
  expect(run.stderr).toContain('the plan ends after 500.0 ms of the run, with its requests: --max-requests');
});
