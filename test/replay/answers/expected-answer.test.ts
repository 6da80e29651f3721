import { describe, expect, it } from 'vitest';
import { AnswerForecast, NOTHING_EXPECTED } from '../../../src/replay/answers/expected-answer.ts';
import { exchangeRow } from '../../support/exchange-row.ts';

const CHAT = 'POST /v1/chat/completions';

describe('what is expected of an answer', () => {
  it('is nothing for tensors', () => {
    expect(new AnswerForecast('replay').of(exchangeRow(), Buffer.from('{"stream":true}'))).toEqual(
      NOTHING_EXPECTED,
    );
  });

  it('is what was recorded, and else what the request asks for', () => {
    const forecast = new AnswerForecast('replay');
    const asking = Buffer.from('{"stream":true}');
    const streams = (streamed: boolean | null) =>
      forecast.of(exchangeRow({ route: CHAT, streamed }), asking).streams;
    expect([streams(true), streams(false), streams(null)]).toEqual([true, false, true]);
    expect(forecast.of(exchangeRow({ route: CHAT, streamed: null }), null).streams).toBe(false);
    expect(forecast.of(exchangeRow({ route: CHAT }), asking)).toMatchObject({ counts: true, ends: true });
    expect(forecast.of(exchangeRow({ route: 'POST /generate_stream' }), asking)).toMatchObject({
      counts: true,
      ends: false,
    });
  });

  it('is given up when the recorded client had, unless all are to be waited for', () => {
    const left = exchangeRow({
      outcome: 'client_aborted',
      lastByteOffsetUs: 4_000,
      clientLeftOffsetUs: 1_500_000,
    });
    const replayed = new AnswerForecast('replay');
    expect(replayed.of(left, null).cancelAfterNs).toBe(1.5e9);
    expect(replayed.of(exchangeRow(), null).cancelAfterNs).toBeNull();
    expect(new AnswerForecast('wait').of(left, null).cancelAfterNs).toBeNull();
    expect(replayed.untimedCancels).toBe(0);
    expect(replayed.of({ ...left, clientLeftOffsetUs: null }, null).cancelAfterNs).toBeNull();
    expect(replayed.untimedCancels).toBe(1);
  });
});
