import { expect, it } from 'vitest';
import { Problems } from '../../../src/core/errors.ts';
import { byProgram, readOptions, type StatedOptions } from '../../../src/core/options.ts';
import { formatInstantUs } from '../../../src/core/units.ts';
import { WINDOW_OPTIONS, windowRequestOf } from '../../../src/replay/options/window-options.ts';
import type { SecondSums } from '../../../src/replay/window/capture.ts';
import { chooseWindow } from '../../../src/replay/window/window.ts';
import { rolledUp } from '../../support/rolled-up.ts';

/** The worst stretch of a capture whose seconds, from 0 on, hold so many answers of so many milliseconds each. */
function worstOf(
  seconds: readonly (readonly [count: number, ms: number])[],
  raw: StatedOptions<typeof WINDOW_OPTIONS>,
) {
  const sums = seconds.map(
    ([exchanges, ms], second): SecondSums => ({
      second,
      exchanges,
      latencyCount: exchanges,
      latencySumUs: exchanges * ms * 1e3,
    }),
  );
  const problems = new Problems();
  const request = windowRequestOf(
    readOptions(WINDOW_OPTIONS, byProgram(WINDOW_OPTIONS, raw), problems),
    problems,
  );
  problems.throwIfAny();
  return chooseWindow(
    {
      name: 'capture',
      exchanges: 1,
      coverage: 1,
      arrivalsOnly: false,
      targets: [],
      sessionKeys: [],
      firstArrivalUs: 0,
      lastArrivalUs: seconds.length * 1e6 - 1,
      seconds: rolledUp(sums),
      hardest: () => expect.unreachable(),
    },
    request,
    1,
  );
}

it('is no stretch of seven latencies: none of it has twenty, and a longer one has', () => {
  const quiet = Array.from({ length: 20 }, (_, at) => [7, at === 3 ? 900 : 1] as const);
  const refusal = (length: string) =>
    expect.objectContaining({
      code: 'CAPTURE_EMPTY',
      message: expect.stringMatching(new RegExp(`--window worst: .* ${length} in capture .* 20 `)),
      hint: expect.stringContaining('longer window'),
    });
  expect(() => worstOf(quiet, { window: ['worst=2s'] })).toThrow(refusal('2\\.0 s'));
  expect(worstOf(quiet, { window: ['worst=3s'] })).toMatchObject({
    found: { exchanges: 21 },
    fromUs: 1_000_000,
  });
  expect(() => worstOf([[19, 5]], { window: ['worst=15m'] })).toThrow(refusal('15\\.0 min'));
  expect(worstOf([[20, 5]], { window: ['worst=15m'] })).toMatchObject({ found: { exchanges: 20 } });
});

it('is found within a night that has twenty, however busy the day was', () => {
  const day = Array.from({ length: 20 }, (_, at) => (at < 10 ? [1_000, 5] : [21, at]) as [number, number]);
  const night = [`${formatInstantUs(10_000_000)}..`];
  expect(worstOf(day, { window: ['worst=1s', ...night] })).toMatchObject({ fromUs: 19_000_000 });
});
