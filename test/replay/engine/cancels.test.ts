import { describe, expect, it } from 'vitest';
import { NOTHING_EXPECTED } from '../../../src/replay/answers/expected-answer.ts';
import { prepared } from '../../support/prepared.ts';
import { MS, Stage } from './sender-stage.ts';

/** Plays requests that are due at once; each is answered after so many milliseconds, its client leaves after others. */
function play(requests: readonly { readonly answerMs: number; readonly leaveMs: number | null }[]) {
  const stage = new Stage((index) => ({ afterNs: (requests[index]?.answerMs ?? 0) * MS }));
  const batch = requests.map(({ leaveMs }, index) =>
    prepared(index, 0, {
      answer: { ...NOTHING_EXPECTED, cancelAfterNs: leaveMs === null ? null : leaveMs * MS },
    }),
  );
  stage.hand(batch);
  stage.sender.finish();
  stage.playTo(6_000 * MS);
  return stage.results
    .sort((a, b) => a.index - b.index)
    .map(({ cancelled, error, status, actualOffsetNs, lastByteOffsetNs }) => ({
      cancelled,
      error,
      status,
      afterMs: Math.round(((lastByteOffsetNs ?? 0) - (actualOffsetNs ?? 0)) / MS),
    }));
}

describe('a client that left', () => {
  it('leaves again after the same time, which is neither an answer nor a failure', () => {
    expect(play([{ answerMs: 5_000, leaveMs: 300 }])).toEqual([
      { cancelled: true, error: null, status: null, afterMs: 300 },
    ]);
  });

  it('has its answer where that comes sooner, and nobody else is cancelled for it', () => {
    const requests = [
      { answerMs: 200, leaveMs: 300 },
      { answerMs: 2_000, leaveMs: null },
      { answerMs: 1_000, leaveMs: 999 },
    ];
    expect(play(requests).map(({ cancelled, status, afterMs }) => [cancelled, status, afterMs])).toEqual([
      [false, 200, 200],
      [false, 200, 2_000],
      [true, null, 999],
    ]);
  });
});
