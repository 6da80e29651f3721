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
      const heartbeat = new Heartbeat(clock, () => undefined);
      heartbeat.opens();
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
  const heartbeat = new Heartbeat(clock, () => undefined);
  heartbeat.opens();
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

/** A request opens, the oldest one ends, or time passes. */
const event = fc.oneof(
  fc.constantFrom('opens' as const, 'closes' as const),
  fc.integer({ min: 1, max: 40 }).map((ms) => ({ ms })),
);

test('it beats while a request is open and once after it, and the time without beats is no pause', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 80 }), (events) => {
      const clock = new ManualClock(0);
      let due: number | null = null;
      let [open, beats, spanNs] = [0, 0, 0];
      const heartbeat = new Heartbeat(clock, () => {
        expect(due).toBeNull();
        due = clock.nowNs() + BEAT_MS * MS;
      });
      for (const each of events) {
        if (each === 'opens') {
          heartbeat.opens();
          open += 1;
        } else if (each === 'closes' && open > 0) {
          heartbeat.closes();
          open -= 1;
        } else if (each !== 'closes') {
          if (open > 0) spanNs += each.ms * MS;
          for (const untilNs = clock.nowNs() + each.ms * MS; clock.nowNs() < untilNs; ) {
            clock.advance(Math.min(BEAT_MS * MS, untilNs - clock.nowNs()));
            if (due === null || due > clock.nowNs()) continue;
            due = null;
            beats += 1;
            heartbeat.beat();
          }
        }
        if (open > 0) expect(due).not.toBeNull();
        expect(heartbeat.waitedNs(clock.nowNs())).toBe(0);
        expect(heartbeat.pausedNs(clock.nowNs())).toBe(0);
      }
      expect(beats).toBeLessThanOrEqual(spanNs / (BEAT_MS * MS) + events.length);
    }),
  );
});
