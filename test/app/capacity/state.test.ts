import { afterEach, describe, expect, test } from 'vitest';
import { windowLengthS } from '../../../src/app/capacity/load.ts';
import { CAPACITY_OPTIONS, resolveCapacityOptions } from '../../../src/app/capacity/options.ts';
import { planCapacity } from '../../../src/app/capacity/plan.ts';
import { goingOn } from '../../../src/app/capacity/state.ts';
import { type OpenedCapture, openForReplay } from '../../../src/app/open-capture.ts';
import { byProgram, type StatedOptions } from '../../../src/core/options.ts';
import type { CapacityState } from '../../../src/documents/capacity.ts';
import { captureOf } from '../../support/captures.ts';
import { TEST_EPOCH_US } from '../../support/exchanges.ts';
import { requestsOf } from '../../support/replaying.ts';
import { playedAt } from '../../support/searched.ts';

const opened: OpenedCapture[] = [];
afterEach(() => {
  for (const each of opened.splice(0)) each.source.close();
});

const CAPTURE = captureOf(requestsOf(300, 10_000));

function planned(
  stated: StatedOptions<typeof CAPACITY_OPTIONS>,
  directory = CAPTURE,
  kept: Pick<CapacityState, 'windowS' | 'load'> | null = null,
) {
  const capture = openForReplay(directory, null, []);
  opened.push(capture);
  const asked = { target: 'http://127.0.0.1:1', slo: 'latency: p(90)<500', ...stated };
  return planCapacity(capture, resolveCapacityOptions(byProgram(CAPACITY_OPTIONS, asked)), kept);
}

describe('what a search that goes on must ask for again', () => {
  const first = planned({ header: ['x-model: v1'] });

  test.each([
    { header: ['x-model: v1'], budget: '20m' },
    { header: ['x-model: v1'], compareAt1x: 'p50=5,status=0.1,size=0.5' },
    { header: ['x-model: v1'], maxInFlight: 10, threads: 1, maxRate: 1_000 },
  ] as const)('is the same for %o', (stated) => {
    expect(planned(stated as StatedOptions<typeof CAPACITY_OPTIONS>).settings).toBe(first.settings);
  });

  test.each([
    { header: ['x-model: v2'] },
    { header: ['x-model: v1'], monitor: 'target' },
    { header: ['x-model: v1'], slo: 'latency: p(90)<400' },
  ])('is another for %o', (stated) => {
    expect(planned(stated).settings).not.toBe(first.settings);
  });

  test('holds no header', () => {
    expect(first.settings).toMatch(/^[0-9a-f]{64}$/);
    expect(first.generator).not.toContain('v1');
  });
});

describe('the load of a search', () => {
  // 10 a second for two minutes, and 30 a second from the 60th to the 69th.
  const requests = requestsOf(1_200, 100_000).flatMap((each, at) => {
    const isBusy = at >= 600 && at < 700;
    const later = (us: number) => ({ ...each, arrivalUs: each.arrivalUs + us });
    return isBusy ? [each, later(30_000), later(60_000)] : [each];
  });
  const capture = captureOf(requests);
  const secondsOf = ({ load }: ReturnType<typeof planned>) =>
    load.parts.map(({ fromUs, toUs }) => [fromUs, toUs].map((us) => Math.round((us - TEST_EPOCH_US) / 1e6)));

  test('is the busiest stretch, as long as the budget or --step says', () => {
    const short = planned({ budget: '5m' }, capture);
    expect(secondsOf(short)).toEqual([[60, 70]]);
    expect(short).toMatchObject({ load: { isBusiest: true }, ratePerSecond: expect.closeTo(30, 1) });
    expect(secondsOf(planned({ budget: '5m', step: '4s' }, capture))).toEqual([[60, 64]]);
    expect(planned({ budget: '20m' }, capture).load).toMatchObject({ isBusiest: false });
  });

  test('is the busiest of what filters leave', () => {
    const early = requests.map((each, at) => (at < 200 ? { ...each, status: 404 } : each));
    const { load, ratePerSecond } = planned({ budget: '5m', filter: ['status=404'] }, captureOf(early));
    expect(load.parts[0]!.toUs).toBeLessThanOrEqual(TEST_EPOCH_US + 20e6);
    expect(ratePerSecond).toBeCloseTo(10, 1);
  });

  test('stays the same where a search goes on with a larger budget', () => {
    const first = planned({ budget: '5m' }, capture);
    const kept = { windowS: first.windowS, load: { ...first.load, parts: [...first.load.parts] } };
    const second = planned({ budget: '20m' }, capture, kept);
    expect(secondsOf(second)).toEqual([[60, 70]]);
    expect(second).toMatchObject({ settings: first.settings, windowS: first.windowS });
    expect(() => planned({ step: '7s' }, capture, kept)).toThrow('--step');
  });

  test.each([
    { lengthS: 10, leastS: 4, pace: 1, windowS: 10 },
    { lengthS: 10, leastS: 4, pace: 2, windowS: 5 },
    { lengthS: 10, leastS: 4, pace: 2.5, windowS: 4 },
    { lengthS: 10, leastS: 4, pace: 4, windowS: 5 },
    { lengthS: 2, leastS: 5, pace: 1, windowS: 6 },
  ])('is in a window as a whole, for long enough: %o', ({ lengthS, leastS, pace, windowS }) => {
    expect(windowLengthS(lengthS, leastS, pace)).toBe(windowS);
  });
});

test('rates are of what filters leave', () => {
  const tenth = requestsOf(300, 10_000).map((each, at) => (at % 10 === 0 ? { ...each, status: 404 } : each));
  const capture = captureOf(tenth);
  const all = planned({}, capture);
  const some = planned({ filter: ['status=404'], maxRate: 40 }, capture);
  expect(some.ratePerSecond).toBeCloseTo(all.ratePerSecond / 10, 1);
  expect(some.peakPerSecond).toBeCloseTo(all.peakPerSecond / 10, 1);
  // Twice the busiest second, since its requests may fall into one second of the run with those of the next.
  expect(some.search.ceiling).toBe(2);
});

describe('a search that goes on', () => {
  const good = playedAt(1);
  const spoiled = { ...good.windows[1]!, result: 'void', doubts: ['in_flight_cap'] } as const;
  const state: CapacityState = {
    schemaVersion: 1,
    kind: 'capacity-state',
    settings: '',
    generator: 'small',
    windowS: 5,
    load: { isBusiest: true, parts: [{ fromUs: 0, toUs: 30e6 }] },
    startedAt: '2026-11-24T15:00:00.000000Z',
    endedAt: null,
    calibration: null,
    noise: null,
    baselineMs: 40,
    steps: [good, playedAt(2, { windows: [good.windows[0]!, spoiled] }), playedAt(4, { windows: [spoiled] })],
  };

  test('forgets what the generator spoiled when the generator is another', () => {
    expect(goingOn(state, 'small')).toEqual(state);
    const { steps, generator } = goingOn(state, 'large');
    expect(generator).toBe('large');
    expect(steps.map(({ multiplier, windows }) => [multiplier, windows.length])).toEqual([
      [1, 2],
      [2, 1],
    ]);
  });

  test('forgets a target that was not the recorded one', () => {
    const representative = { representative: false } as NonNullable<CapacityState['calibration']>;
    expect(goingOn({ ...state, calibration: representative }, 'small')).toMatchObject({
      calibration: null,
      baselineMs: null,
      steps: [],
    });
  });
});
