import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BEAT_MS, Heartbeat } from '../../../src/replay/engine/heartbeat.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const MS = 1e6;

/** What a loop does after a time: it beats, reads, or does not run at all. */
const step = fc.record({
  kind: fc.constantFrom('beat', 'read'),
  afterNs: fc.oneof(
    fc.integer({ min: 0, max: 2 * MS }),
    fc.integer({ min: 0, max: 2 * MS }),
    fc.integer({ min: 6 * MS, max: 300 * MS }),
  ),
});

test('what is read was not there at the look before a pause, and never waits longer than it stood still', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const clock = new ManualClock(1_000 * MS);
      const heartbeat = new Heartbeat(clock);
      let [before, last] = [clock.nowNs(), clock.nowNs()];
      let longestNs = 0;
      for (const { kind, afterNs } of steps) {
        clock.advance(afterNs);
        const nowNs = clock.nowNs();
        longestNs = Math.max(longestNs, nowNs - last, last - before);
        const waitedNs = heartbeat.waitedNs(nowNs);
        // The loop has looked between the last two beats, so what comes now came after the first of them.
        expect(waitedNs).toBeLessThanOrEqual(nowNs - before);
        // A delay that is not seen is short.
        if (nowNs - last > 5 * MS || last - before > 5 * MS)
          expect(waitedNs).toBeGreaterThanOrEqual(nowNs - last);
        else expect(waitedNs).toBe(0);
        expect(waitedNs).toBeLessThanOrEqual(2 * longestNs);
        expect(heartbeat.pausedNs(nowNs)).toBeLessThanOrEqual(nowNs - 1_000 * MS);
        if (kind === 'read') continue;
        heartbeat.beat();
        [before, last] = [last, nowNs];
      }
    }),
  );
});

test('a loop in time delays nothing, and a pause only what is read until the next beat in time', () => {
  const clock = new ManualClock(0);
  const heartbeat = new Heartbeat(clock);
  const pass = (ms: number) => {
    clock.advance(ms * MS);
    return heartbeat.waitedNs(clock.nowNs()) / MS;
  };
  for (let beats = 0; beats < 100; beats += 1) {
    expect(pass(BEAT_MS)).toBe(0);
    heartbeat.beat();
  }
  expect(pass(80)).toBe(80);
  heartbeat.beat();
  expect(pass(1)).toBe(81);
  heartbeat.beat();
  expect(pass(1)).toBe(0);
  expect(heartbeat.pausedNs(clock.nowNs())).toBe(80 * MS);
});
