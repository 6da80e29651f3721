import { describe, expect, it } from 'vitest';
import { NOTHING_EXPECTED } from '../../src/replay/expected-answer.ts';
import { packBatch } from '../../src/replay/send-batch.ts';
import type { SendResult } from '../../src/replay/send-result.ts';
import { Sender } from '../../src/replay/sender.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { prepared } from '../support/prepared.ts';
import { ScriptedTransport } from '../support/scripted-transport.ts';

const MS = 1e6;
const SIGNALS = { setSenderAwake: () => undefined, setDispatched: () => undefined };

/** Plays requests that are due at once; each is answered after so many milliseconds, its client leaves after others. */
function play(requests: readonly { readonly answerMs: number; readonly leaveMs: number | null }[]) {
  const clock = new ManualClock();
  const results: SendResult[] = [];
  const sender = new Sender(
    {
      startNs: clock.nowNs(),
      maxInFlight: 100,
      totalTimeoutMs: 60_000,
      drainDeadlineMs: 60_000,
      catchUp: { fromLagNs: 50 * MS, gapNs: MS, slackNs: MS },
      spinNs: 0,
    },
    {
      clock,
      transport: new ScriptedTransport(clock, ({ index }) => ({
        afterNs: (requests[index]?.answerMs ?? 0) * MS,
      })),
      signals: SIGNALS,
      afterTurn: (callback) => clock.sleepUntil(clock.nowNs(), callback),
      afterMs: (callback, ms) => clock.sleepUntil(clock.nowNs() + ms * MS, callback),
      loopIdleNs: () => 0,
      onResults: (batch) => results.push(...batch),
      onOver: () => undefined,
    },
  );
  const batch = requests.map(({ leaveMs }, index) =>
    prepared(index, 0, {
      answer: { ...NOTHING_EXPECTED, cancelAfterNs: leaveMs === null ? null : leaveMs * MS },
    }),
  );
  sender.accept(packBatch(batch));
  sender.finish();
  clock.advance(10_000 * MS);
  sender.tick();
  return results
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
