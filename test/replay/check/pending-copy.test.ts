import { describe, expect, test } from 'vitest';
import { NOTHING_EXPECTED } from '../../../src/replay/answers/expected-answer.ts';
import { KeepingBudget } from '../../../src/replay/check/answer-copy.ts';
import type { SendResult } from '../../../src/replay/engine/messages.ts';
import { PendingSend } from '../../../src/replay/engine/pending-send.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { NEVER_PAUSED } from '../engine/sender-stage.ts';

function pending(keeping: KeepingBudget | null) {
  const results: SendResult[] = [];
  const request = {
    index: 3,
    intendedOffsetNs: 0,
    method: 'POST',
    path: '/',
    headers: [],
    body: null,
    chunked: false,
    answer: NOTHING_EXPECTED,
  };
  const send = new PendingSend(request, {
    startNs: 0,
    clock: new ManualClock(),
    heartbeat: NEVER_PAUSED,
    events: 0,
    keeping,
    bodyWritten: () => undefined,
    served: () => undefined,
    answerBegins: () => null,
    over: (_, result) => results.push(result),
  });
  return { send, result: () => results[0] };
}

const head = (contentType: string) => ({
  contentType,
  contentEncoding: null,
  hasLength: true,
  inferenceHeaderLength: '5',
});

describe('an answer that is to be compared', () => {
  test('comes with its result, whole', () => {
    const budget = KeepingBudget.create(1_048_576, 65_536);
    const { send, result } = pending(budget);
    send.onStatus(200, head('application/json'));
    send.onData(Buffer.from('{"a"'));
    send.onData(Buffer.from(':1}'));
    send.onEnd();
    const kept = result()?.kept;
    expect(String(kept?.bytes)).toBe('{"a":1}');
    expect(budget.held).toBe(7);
    expect(kept).toMatchObject({ contentType: 'application/json', inferenceHeaderLength: '5' });
  });

  test('leaves nothing behind where it broke off', () => {
    const budget = KeepingBudget.create(1_048_576, 65_536);
    const { send, result } = pending(budget);
    send.onStatus(200, head('application/json'));
    send.onData(Buffer.from('{"a"'));
    expect(budget.held).toBeGreaterThan(0);
    send.onError('reset');
    expect(result()).toMatchObject({ error: 'reset' });
    expect(result()?.kept).toBeUndefined();
    expect(budget.held).toBe(0);
  });

  test('is not copied where it streams, for its facts are read as it comes', () => {
    const budget = KeepingBudget.create(1_048_576, 65_536);
    const { send, result } = pending(budget);
    send.onStatus(200, head('text/event-stream'));
    send.onData(Buffer.from('data: {"choices":[{"delta":{"content":"w"}}]}\n\n'));
    expect(budget.held).toBe(0);
    send.onEnd();
    expect(result()?.answer).toMatchObject({ contentEvents: 1 });
    expect(result()?.kept).toBeUndefined();
  });

  test('is not copied where nothing asks for that', () => {
    const { send, result } = pending(null);
    send.onStatus(200, head('application/json'));
    send.onData(Buffer.from('{}'));
    send.onEnd();
    expect(result()).not.toHaveProperty('kept');
  });
});
