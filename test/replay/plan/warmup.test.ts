import { describe, expect, it } from 'vitest';
import { exchangeRow } from '../../support/exchange-row.ts';
import { MemoryCapture, requestPayload } from '../../support/memory-capture.ts';
import { replayOf, SECOND_US } from '../staged-replay.ts';

const never = new AbortController().signal;

describe('a warm-up', () => {
  it('plays what precedes the window first, as one schedule, and marks it', async () => {
    const { replay, engines, sends, planned, listener, recorded } = replayOf({
      count: 9,
      raw: { window: ['1970-01-01T00:00:06Z..'], multiplier: '2', warmup: '1500ms' },
    });
    const outcome = await replay.run(listener, never);
    expect(
      engines[0]?.requests.map(({ index, path, intendedOffsetNs }) => [index, path, intendedOffsetNs]),
    ).toEqual([2, 3, 4, 5, 6, 7, 8].map((id, at) => [at, `/base/${id}`, at * 0.5e9]));
    expect(sends.map(({ exchangeId, warmup }) => [exchangeId, warmup])).toEqual(
      [2, 3, 4, 5, 6, 7, 8].map((id) => [id, id < 5]),
    );
    expect(planned).toEqual([5, 6, 7, 8]);
    expect(recorded()).toBe(4);
    expect(outcome.audit.skipped).toMatchObject({ truncated_request: 0 });
  });

  it('plays as much of a warm-up as there is', async () => {
    const { replay, sends, listener } = replayOf({
      count: 4,
      raw: { window: ['1970-01-01T00:00:03Z..'], warmup: '1m', maxRequests: '3' },
    });
    await replay.run(listener, never);
    expect(sends.map(({ exchangeId, warmup }) => [exchangeId, warmup])).toEqual([
      [0, true],
      [1, true],
      [2, false],
    ]);
    const whole = replayOf({ count: 2, raw: { warmup: '1m' } });
    await whole.replay.run(whole.listener, never);
    expect(whole.sends.map(({ index, warmup }) => [index, warmup])).toEqual([
      [0, false],
      [1, false],
    ]);
  });

  it.each([
    ['of both parts', '5', 0, 5],
    ['less what was sent before', '5', 2, 3],
    ['already within the warm-up', '2', 0, 2],
    ['and nothing where nothing is left', '5', 7, 0],
  ])('sends no more than --max-requests %s', async (_, maxRequests, sentBefore, sent) => {
    const raw = { window: ['1970-01-01T00:00:04Z..'], warmup: '1m', maxRequests };
    const { replay, sends, listener } = replayOf({ count: 9, raw });
    await replay.run(listener, never, sentBefore);
    expect(sends.map(({ index, warmup }) => [index, warmup])).toEqual(
      Array.from({ length: sent }, (_each, index) => [index, index < 3]),
    );
  });

  it('counts what it did to requests of the judged part alone', async () => {
    const body = '{"prompt":"x","stream":true,"at":"1970-01-01T00:00:01Z"}';
    const rows = [1, 2, 3, 4].map((second, id) =>
      exchangeRow({
        id,
        arrivalUs: second * SECOND_US,
        route: 'POST /v1/completions',
        outcome: id === 3 ? 'completed' : 'client_aborted',
        outputTokens: id === 3 ? 7 : null,
        lastByteOffsetUs: null,
      }),
    );
    const capture = new MemoryCapture(rows, () => requestPayload('/v1/completions', [], body));
    const asked = { rewrite: ['time=/at', 'output-length=limit', 'usage'] };
    const raw = { window: ['1970-01-01T00:00:03Z..'], warmup: '1m', ...asked };
    const { replay, engines, listener } = replayOf({ count: 4, capture, raw });
    const { changes, untimedCancels, timeShift } = await replay.run(listener, never);
    expect(changes).toMatchObject({ pinned: 1, unpinned: 1, usageRequested: 2 });
    expect([untimedCancels, timeShift?.shifted]).toEqual([1, 2]);
    expect(engines[0]?.options.judgedFromNs).toBe(2e9);
    // The warm-up is changed all the same.
    expect(engines[0]?.requests.map((request) => String(request.body).includes('include_usage'))).toEqual(
      Array(4).fill(true),
    );
  });
});
