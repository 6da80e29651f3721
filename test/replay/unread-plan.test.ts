import { expect, test } from 'vitest';
import type { ExchangeRow } from '../../src/core/exchange.ts';
import type { CaptureSource } from '../../src/core/ports.ts';
import { UnreadPlan } from '../../src/replay/unread-plan.ts';
import { Playback } from '../../src/replay/windows/playback.ts';
import { exchangeRow } from '../support/exchange-row.ts';
import { ManualClock } from '../support/manual-clock.ts';

test('counts a stopped plan for a second, and says that it is not all', () => {
  let nowNs = 0;
  const unread = new UnreadPlan({
    nowNs: () => nowNs,
    epochUs: () => 0,
    anchor: () => ({ monotonicNs: 0, epochUs: 0 }),
  });
  nowNs = 5e9;
  expect(unread.goesOn()).toBe(true);
  unread.begin();
  let counted = 0;
  for (; unread.goesOn() && counted < 1e6; counted += 1) {
    unread.addPlanned();
    nowNs += 1e6;
  }
  expect(counted).toBe(1_001);
  expect(unread.counts()).toEqual({ recorded: 0, planned: counted, warmup: 0, toTheEnd: false });
  expect(unread.goesOn()).toBe(false);
});

test.each([
  ['the window', { fromUs: 0, toUs: 1e12 }],
  ['what precedes it', { fromUs: 0, toUs: 1e6 }],
])('counts no longer than that where a filter leaves out all that is left of %s', (_, range) => {
  const clock = new ManualClock();
  let read = 0;
  const capture: CaptureSource = {
    *rows(): Generator<ExchangeRow> {
      for (; read < 100_000; read += 1) {
        clock.advance(1e6);
        yield exchangeRow({ id: read, arrivalUs: read });
      }
    },
    payload: () => null,
    close: () => undefined,
  };
  const window = { fromUs: 0, toUs: 1e12, parts: [{ fromUs: 0, toUs: 1e12 }], loops: null };
  const playback = new Playback({ source: capture, window, selection: { selects: ({ id }) => id < 10 } });
  const unread = new UnreadPlan(clock);
  const rows = playback.rows(range);
  for (let at = 0; at < 10; at += 1) rows.next();
  unread.begin();
  playback.countOn(() => unread.goesOn());
  expect(rows.next()).toMatchObject({ done: true });
  expect(read).toBeLessThan(1_020);
  expect(unread.counts()).toEqual({ recorded: 0, planned: 0, warmup: 0, toTheEnd: false });
});
