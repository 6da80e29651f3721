import { describe, expect, it } from 'vitest';
import type { RawReplayOptions } from '../../src/replay/options.ts';
import { captureOf } from '../support/captures.ts';
import { dryRunPlan } from '../support/dry-run-plan.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';

const at = (seconds: number) => new Date(TEST_EPOCH_US / 1e3 + seconds * 1e3).toISOString();

/** A minute of ten requests a second. */
function minute(): string {
  return captureOf(
    Array.from({ length: 600 }, (_, n) => exchangeOf({ arrivalUs: TEST_EPOCH_US + n * 100_000 })),
  );
}

describe('a dry run', () => {
  it('refuses what leaves nothing to judge, as the run does', () => {
    const capture = minute();
    const from = at(30);
    expect(() => dryRunPlan(capture, { maxRequests: '50', warmup: '5s', from })).toThrow(
      '--max-requests 50 leaves nothing to judge: at least 50 go before',
    );
    expect(() => dryRunPlan(capture, { maxRequests: '100', calibrate: '20s', from })).toThrow(
      '--max-requests 100 leaves nothing to judge: at least 100 go before',
    );
    expect(() => dryRunPlan(capture, { maxRequests: '50', from })).not.toThrow();
  });

  it('refuses nothing for requests that go before and turn out not to be replayable', () => {
    const tunnel = { request: requestMessage({ method: 'CONNECT', target: 'model.internal:8000' }) };
    const capture = captureOf(
      Array.from({ length: 100 }, (_, n) =>
        exchangeOf({ arrivalUs: TEST_EPOCH_US + n * 100_000, ...(n >= 10 && n < 50 ? tunnel : {}) }),
      ),
    );
    const planned = (flags: RawReplayOptions) =>
      dryRunPlan(capture, { maxRequests: '30', from: at(5), ...flags });
    expect(planned({ warmup: '5s' }).document).toMatchObject({
      planned: 20,
      warmup: { plannedRequests: 10 },
    });
    const { document } = planned({ calibrate: '5s' });
    expect(document).toMatchObject({ planned: 20, calibration: { plannedRequests: 10 } });
    expect(() => planned({ maxRequests: '10', warmup: '5s' })).toThrow('at least 10 go before');
  });

  it('refuses nothing for requests that lie in the second of the warm-up, and not in it', () => {
    // Sixty lie in the second in front of the ten that warm up, nineteen behind them.
    const arrivals = [
      ...Array.from({ length: 60 }, (_, n) => n * 1_000),
      ...Array.from({ length: 10 }, (_, n) => 800_000 + n * 30_000),
      ...Array.from({ length: 90 }, (_, n) => 1_200_000 + n * 100_000),
    ];
    const capture = captureOf(
      arrivals.map((offsetUs) => exchangeOf({ arrivalUs: TEST_EPOCH_US + offsetUs })),
    );
    const { text, document } = dryRunPlan(capture, { maxRequests: '30', warmup: '500ms', from: at(1.25) });
    expect(document).toMatchObject({ planned: 19, warmup: { plannedRequests: 11 } });
    expect(text).toContain('no more than 19 are sent of it: --max-requests 30, of which some 11 go before');
  });

  it('leaves of --max-requests what warms up and calibrates, and says what goes before', () => {
    const from = at(30);
    const flags = { maxRequests: '180', warmup: '5s', calibrate: '10s', from };
    const { text, document } = dryRunPlan(minute(), flags);
    expect(document).toMatchObject({
      planned: 30,
      maxRequests: 180,
      warmup: { askedS: 5, spanS: 5, plannedRequests: 50 },
      calibration: { from: at(15).replace('Z', '000Z'), precedesWindow: true, plannedRequests: 100 },
    });
    expect(text).toContain('no more than 30 are sent of it: --max-requests 180, of which some 150 go before');
    expect(text).toContain('warm-up: 5.0 s before the window, some 50 requests that are in no figure');
    expect(text).toContain('calibration: 10.0 s at 1x before all else, some 100 requests');
  });

  it('says that a recording is too short to warm up, and that the run repeats what calibrates', () => {
    const { text, document } = dryRunPlan(minute(), { warmup: '5s', calibrate: '10s', from: at(2) });
    expect(document).toMatchObject({
      warmup: { askedS: 5, spanS: 2, plannedRequests: 20 },
      calibration: { precedesWindow: false, plannedRequests: 100 },
    });
    expect(text).toContain(
      'warm-up: 2.0 s before the window (the recording goes no farther back; 5.0 s were asked for)',
    );
    expect(text).toContain('some 100 requests, which the run repeats');
  });

  it('says what --max-rate will refuse', () => {
    const { text, document } = dryRunPlan(minute(), { maxRate: '7' });
    expect(document).toMatchObject({ planned: 600, maxRatePerSecond: 7, refusedForRate: 180 });
    expect(text).toContain('--max-rate 7 refuses 180 of 600 planned');
    const halved = dryRunPlan(minute(), { maxRate: '7', multiplier: '2', maxRequests: '100' });
    expect(halved.document).toMatchObject({ planned: 100, refusedForRate: 65 });
    const enough = dryRunPlan(minute(), { maxRate: '1000' });
    expect(enough.document).toMatchObject({ refusedForRate: 0 });
    expect(enough.text).toContain('--max-rate 1000 refuses nothing');
    expect(dryRunPlan(minute(), {})).toMatchObject({
      document: { maxRatePerSecond: null, refusedForRate: 0 },
    });
  });

  it('refuses no shard for what falls to others: it plays copies alone, or nothing and says so', () => {
    const session = Buffer.from('session1');
    const capture = captureOf(
      Array.from({ length: 5 }, (_, n) => exchangeOf({ arrivalUs: TEST_EPOCH_US + n * 100_000, session })),
    );
    const shards = [0, 1, 2, 3].map((index) =>
      dryRunPlan(capture, { scaling: 'amplify', multiplier: '2', shard: `${index}/4` }),
    );
    const counts = shards.map(({ document }) => document as { planned: number; selected: number });
    expect(counts.reduce((sum, { planned }) => sum + planned, 0)).toBe(10);
    expect(counts).toContainEqual(expect.objectContaining({ planned: 5, selected: 0 }));
    for (const [index, { text }] of shards.entries()) {
      expect(text.includes(`plays nothing: nothing of the plan fell to ${index}/4`)).toBe(
        counts[index]?.planned === 0,
      );
    }
    expect(() => dryRunPlan(capture, { status: ['404'], shard: '0/4' })).toThrow(
      'No exchange of the window has',
    );
  });

  it('says nothing of what was not asked for', () => {
    const { text, document } = dryRunPlan(minute(), {});
    expect(document).toMatchObject({ warmup: null, calibration: null });
    expect(text).not.toMatch(/warm-up|calibration|--max-rate/);
  });
});
