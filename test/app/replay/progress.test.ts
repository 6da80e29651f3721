import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ReplayReporter } from '../../../src/app/replay/progress.ts';
import { ReplayProgress } from '../../../src/app/replay/progress.ts';
import { Terminal } from '../../../src/cli/terminal.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { send } from '../../support/sends.ts';

const SECOND_NS = 1e9;

/** Keeps what it is told. */
const reporterOf = (lines: string[], told: unknown[]): ReplayReporter => ({
  interactive: false,
  note: (...more) => void lines.push(...more.map(String)),
  progress: () => undefined,
  endProgress: () => undefined,
  event: (event) => void told.push(event),
});

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('tells of no second before the run has begun, and of the rest at its end', () => {
  const told: unknown[] = [];
  let elapsedNs = 0;
  const progress = new ReplayProgress({
    position: () => ({ elapsedNs, outstanding: 0, inFlight: 0, waiting: 0 }),
    warmupNs: 0,
    plannedNs: 10 * SECOND_NS,
    calibrates: false,
    reporter: reporterOf([], told),
  });
  vi.advanceTimersByTime(5_000);
  expect(told).toEqual([]);
  elapsedNs = SECOND_NS;
  progress.add([send({ index: 0 })]);
  vi.advanceTimersByTime(1_000);
  elapsedNs = 1.5 * SECOND_NS;
  progress.end();
  expect(told).toMatchObject([
    { event: 'second', elapsedS: 1, spanS: 1, achieved: 1, etaS: 9 },
    { event: 'second', elapsedS: 1.5, spanS: 0.5, achieved: 0, etaS: 8.5 },
  ]);
});

test('tells what waits for its connection from what the target has, and of no drain before it is sent', () => {
  const lines: string[] = [];
  const told: unknown[] = [];
  let waiting = 56;
  const progress = new ReplayProgress({
    position: () => ({ elapsedNs: 12 * SECOND_NS, outstanding: 63, inFlight: 7, waiting }),
    warmupNs: 0,
    plannedNs: 6 * SECOND_NS,
    calibrates: false,
    reporter: reporterOf(lines, told),
  });
  vi.advanceTimersByTime(10_000);
  expect(lines.join('')).toContain('waiting 56  in flight 7');
  expect(lines.join('')).not.toContain('last answers');
  expect(told[0]).toMatchObject({ phase: 'run', inFlight: 7, waiting: 56, offered: 63 });
  waiting = 0;
  vi.advanceTimersByTime(10_000);
  expect(lines.at(-1)).toContain('waiting for answers');
  progress.end();
});

test.each([
  [60, /^22\.5 h left {2}calibration {2}90\.0 min {2}2\.3\/s$/],
  [80, /^22\.5 h left {2}calibration .* p50 10\.0 ms p95 10\.0 ms {2}errors 1000$/],
])('fits %i columns with whole figures, the time left first, whatever they are', (columns, expected) => {
  const drawn: string[] = [];
  const stderr = { isTTY: true, columns, write: (text: string) => drawn.push(text) };
  const screen = new Terminal(stderr, stderr, { ...systemClock, nowNs: () => 0 });
  const progress = new ReplayProgress({
    position: () => ({ elapsedNs: 5_400 * SECOND_NS, outstanding: 63, inFlight: 123_456, waiting: 123_456 }),
    warmupNs: 0,
    plannedNs: 86_400 * SECOND_NS,
    calibrates: true,
    reporter: {
      ...reporterOf([], []),
      interactive: true,
      progress: (parts) => screen.progress(...parts),
    },
  });
  progress.add(
    Array.from({ length: 12_345 }, (_, index) => send({ index, status: index < 1_000 ? 503 : 200 })),
  );
  vi.advanceTimersByTime(1_000);
  progress.end();
  const line = drawn[0]?.replace('\r\u001b[2K', '') ?? '';
  expect(line.length).toBeLessThan(columns);
  expect(line).toMatch(expected);
});

test('a step shows how long the whole search may take, within 60 columns and before all else', () => {
  const lines: string[] = [];
  let elapsedNs = 12 * SECOND_NS;
  const progress = new ReplayProgress({
    position: () => ({ elapsedNs, outstanding: 0, inFlight: 3, waiting: 0 }),
    warmupNs: 0,
    plannedNs: 30 * SECOND_NS,
    calibrates: false,
    reporter: { ...reporterOf(lines, []), within: { name: '2.828x', leftS: () => 384 } },
  });
  vi.advanceTimersByTime(10_000);
  elapsedNs = 31 * SECOND_NS;
  vi.advanceTimersByTime(10_000);
  progress.end();
  const [sending = '', draining = ''] = lines.map((line) => line.slice(0, 59));
  expect(sending).toMatch(/^up to 6\.4 min left {2}2\.828x {2}12\.0 s /);
  expect(draining).toMatch(/^up to 6\.4 min left {2}2\.828x {2}waiting for answers /);
});
