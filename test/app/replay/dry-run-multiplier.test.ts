import { describe, expect, it } from 'vitest';
import type { RawReplayOptions } from '../../../src/replay/options/replay-options.ts';
import { captureOf } from '../../support/captures.ts';
import { dryRunPlan } from '../../support/dry-run-plan.ts';
import { exchangeOf, TEST_EPOCH_US } from '../../support/exchanges.ts';

/** Half a minute of ten requests a second by sessions. */
function captureBy(sessionAt: (n: number) => number): string {
  return captureOf(
    Array.from({ length: 300 }, (_, n) =>
      exchangeOf({ arrivalUs: TEST_EPOCH_US + n * 100_000, session: Buffer.alloc(8, sessionAt(n)) }),
    ),
  );
}

/** Forty sessions. */
const capture = captureBy((n) => (n % 40) * 6 + 1);
/** Three sessions, the largest of 210 requests. */
const tooLarge = captureBy((n) => (n % 10 < 7 ? 1 : n % 10 < 9 ? 2 : 3));

const planOf = (flags: RawReplayOptions, of = capture) => dryRunPlan(of, flags);

const amplified = { scaling: 'amplify', multiplier: '1.5' };

describe('a dry run of a plan whose sessions are drawn', () => {
  it('comes to what was asked within 2 % whatever the seed', async () => {
    const plans = await Promise.all(
      Array.from({ length: 8 }, (_, seed) => planOf({ ...amplified, seed: String(seed) })),
    );
    for (const { text, document } of plans) {
      const reached = document.planned / document.recorded;
      expect(Math.abs(reached / 1.5 - 1)).toBeLessThanOrEqual(0.02);
      expect(document.reasons).toEqual([]);
      expect(text).toContain(`  the plan is ${Number(reached.toPrecision(4))} times`);
      expect(text).toContain('; asked for: 1.5');
      expect(text).not.toContain('WARNING');
    }
  });

  it('warns of sessions too large to come to what was asked, above it and below', async () => {
    for (const [multiplier, planned] of [
      ['1.5', 390],
      ['1.6', 510],
    ] as const) {
      const { text, document } = await planOf({ ...amplified, multiplier }, tooLarge);
      expect(document).toMatchObject({ planned, reasons: [{ code: 'multiplier_not_reached' }] });
      const drawn = { asked: Math.round(300 * Number(multiplier)), planned, largest: 210 };
      expect(document).toMatchObject({ scalingPlan: { drawn } });
      expect(text).toContain(`WARNING: sessions are too large to draw: ${planned} requests are planned`);
    }
  });

  it('says the same to each shard, of which none has all of the plan', async () => {
    const whole = (await planOf({ ...amplified, seed: '1' })).document;
    for (const shard of ['0/2', '1/2']) {
      const { document } = await planOf({ ...amplified, seed: '1', shard });
      expect(document.planned).toBeLessThan(whole.planned);
      expect(document.effectiveMultiplier).toBe(whole.effectiveMultiplier);
      expect(document.reasons).toEqual(whole.reasons);
    }
  });

  it('has the mean of stages for its multiplier, as a run has', async () => {
    const { document } = await planOf({ scaling: 'amplify', stages: '15s@1x,15s@2x' });
    expect(document.multiplier).toBeCloseTo(1.5, 1);
    expect(
      (await planOf({ scaling: 'amplify', stages: '15s@2x', multiplier: '2' })).document.multiplier,
    ).toBe(4);
  });
});

describe('a plan that --max-requests ends', () => {
  it('is as long as what is sent of it, and says what ends it', async () => {
    const { text, document } = await planOf({ maxRequests: '101' });
    expect(document).toMatchObject({ planned: 101, durationS: 10, endsWith: 'requests' });
    expect(text).toContain('the plan ends after 10.0 s of the run, with its requests: --max-requests');
  });

  it('is shorter by what goes before', async () => {
    const from = new Date(TEST_EPOCH_US / 1e3 + 10_000).toISOString();
    const { document } = await planOf({ maxRequests: '101', warmup: '5s', window: [`${from}..`] });
    expect(document).toMatchObject({ planned: 51, durationS: 5, endsWith: 'requests' });
  });

  it('ends for all shards with the last request of the whole', async () => {
    for (const shard of ['0/2', '1/2']) {
      expect((await planOf({ maxRequests: '101', shard })).document).toMatchObject({
        durationS: 10,
        endsWith: 'requests',
      });
    }
  });

  it('ends with its windows where it has no more requests, or with its duration where that comes first', async () => {
    expect((await planOf({ maxRequests: '300' })).document.endsWith).toBe('windows');
    const brief = (await planOf({ maxRequests: '51', duration: '5s' })).document;
    expect(brief).toMatchObject({ planned: 50, endsWith: 'duration', durationS: 5 });
    expect((await planOf({ maxRequests: '50', duration: '5s' })).document.endsWith).toBe('duration');
  });
});
