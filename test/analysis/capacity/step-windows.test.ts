import { describe, expect, test } from 'vitest';
import { NoiseStatistics } from '../../../src/analysis/capacity/noise.ts';
import { StepWindows } from '../../../src/analysis/capacity/step-windows.ts';
import { parseSlo } from '../../../src/analysis/verdict/slo.ts';
import type { Send } from '../../../src/core/run.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { failed, refused, send } from '../../support/sends.ts';

const MS = 1e6;
const SLO = 'latency: p(90)<50';

function windowsOf(slo = SLO, leadInMs = 0): StepWindows {
  const thresholds = parseSlo([slo]);
  const lengths = { leadInNs: leadInMs * MS, windowNs: 1_000 * MS };
  return new StepWindows({ ...lengths, multiplier: 2, thresholds, waitsFor: null, bounds: {} });
}

/** A send every 100 ms, so ten in a window, answered after so long. */
function sendsOf(count: number, tookMs: (index: number) => number): Send[] {
  return Array.from({ length: count }, (_, index) =>
    send({ index, lastByteOffsetNs: index * 100 * MS + tookMs(index) * MS }),
  );
}

function played(windows: StepWindows, sends: readonly Send[]): StepWindows {
  for (const { intendedOffsetNs } of sends) windows.addPlanned(exchangeRow(), intendedOffsetNs);
  windows.addSends(sends);
  return windows;
}

describe('windows of a step', () => {
  test('are each judged by what was planned in them', () => {
    const windows = played(
      windowsOf(),
      sendsOf(30, (index) => (index >= 10 && index < 20 ? 200 : 10)),
    );
    windows.finish('complete');
    expect(windows.over.map(({ index, result, planned }) => [index, result, planned])).toEqual([
      [0, 'good', 10],
      [1, 'bad', 10],
      [2, 'good', 10],
    ]);
    expect(windows.over[1]?.goals).toMatchObject({ [SLO]: false, 'errors: rate<0.01': true });
    expect(windows.over[1]?.observed[SLO]).toBeGreaterThan(190);
  });

  test('are over when everything planned in them has ended, in whatever order', () => {
    const windows = windowsOf();
    const sends = sendsOf(20, () => 10);
    for (const { intendedOffsetNs } of sends) windows.addPlanned(exchangeRow(), intendedOffsetNs);
    windows.addSends([...sends.slice(10), ...sends.slice(1, 10)]);
    expect(windows.over).toHaveLength(0);
    windows.addSends(sends.slice(0, 1));
    expect(windows.over.map(({ index }) => index)).toEqual([0]);
  });

  test('count what is due, not what is read ahead', () => {
    const windows = windowsOf();
    for (const { intendedOffsetNs } of sendsOf(20, () => 10))
      windows.addPlanned(exchangeRow(), intendedOffsetNs);
    expect(windows.dueAt(950 * MS)).toBe(10);
    expect(windows.dueAt(1_000 * MS)).toBe(11);
  });

  test('begin behind the lead-in, which is not judged', () => {
    const windows = played(
      windowsOf(SLO, 1_000),
      sendsOf(30, (index) => (index < 10 ? 200 : 10)),
    );
    windows.finish('complete');
    expect(windows.over.map(({ index, result, planned }) => [index, result, planned])).toEqual([
      [0, 'good', 10],
      [1, 'good', 10],
    ]);
  });

  test('are bad from the first on where the step drowned in its lead-in', () => {
    const open = sendsOf(10, () => 400).map((each) => ({ ...each, error: 'stopped' as const, status: null }));
    const windows = played(windowsOf(SLO, 2_000), open);
    windows.finish('hopeless', 1_000 * MS);
    expect(windows.over.map(({ index, result }) => [index, result])).toEqual([[0, 'bad']]);
  });

  test('of a hopeless step are no failure of the target where we had not sent what was due', () => {
    const open = sendsOf(10, () => 10).map((each, index) =>
      index < 5 ? each : { ...each, error: 'stopped' as const, status: null, actualOffsetNs: null },
    );
    const windows = played(windowsOf(), open);
    windows.finish('hopeless', 900 * MS);
    expect(windows.over.map(({ result, goals }) => [result, goals[SLO]])).toEqual([['void', null]]);
    expect(windows.over[0]?.doubts).toContain('achieved_below');
    // What was not due yet was not to be sent.
    const early = played(windowsOf(), open);
    early.finish('hopeless', 450 * MS);
    expect(early.over.map(({ result, goals }) => [result, goals[SLO]])).toEqual([['bad', false]]);
  });

  test('without a request of a slice are not good by all objectives', () => {
    const rare = 'latency{model=rare}: p(90)<50';
    const windows = played(
      windowsOf(`${SLO}; ${rare}`),
      sendsOf(10, () => 10),
    );
    windows.finish('complete');
    expect(windows.over[0]).toMatchObject({ result: 'void', goals: { [SLO]: true, [rare]: null } });
    expect(windows.over[0]?.doubts).toContain('slice_empty');
  });

  test('are judged although the end of the step cut the slowest tail', () => {
    const sends = sendsOf(40, (index) => (index % 20 === 0 ? 2_000 : 10)).map((each, index) =>
      index % 20 === 0 ? { ...each, error: 'stopped' as const, status: null } : each,
    );
    const windows = played(windowsOf(), sends);
    windows.finish('complete');
    expect(windows.over.map(({ result, doubts }) => [result, doubts])).toEqual(
      Array.from({ length: 4 }, () => ['good', []]),
    );
  });

  test('are told of also where what we cut leaves an objective open', () => {
    const sends = sendsOf(10, () => 20).map((each, index) =>
      index < 2 ? { ...each, error: 'stopped' as const, status: null } : each,
    );
    const windows = played(windowsOf(), sends);
    windows.finish('complete');
    expect(windows.over.map(({ result, doubts }) => [result, doubts])).toEqual([['void', ['censored']]]);
  });

  test('are bad by failures where these break first', () => {
    const sends = sendsOf(10, () => 10).map((each, index) => (index < 2 ? failed(index) : each));
    const windows = played(windowsOf(), sends);
    windows.finish('complete');
    expect(windows.over[0]).toMatchObject({
      result: 'bad',
      failed: 2,
      goals: { 'errors: rate<0.01': false },
    });
  });

  test('that our own cap emptied say nothing of the target', () => {
    const sends = sendsOf(10, () => 10).map((each, index) => (index % 2 === 0 ? refused(index) : each));
    const windows = played(windowsOf(), sends);
    windows.finish('complete');
    expect(windows.over[0]?.result).toBe('void');
    expect(windows.over[0]?.doubts).toContain('in_flight_cap');
    expect(windows.over[0]?.goals[SLO]).toBeNull();
  });

  test('that were cut say nothing, unless the step was beyond hope', () => {
    const open = sendsOf(20, () => 10).map((each, index) =>
      index < 10 ? each : { ...each, error: 'stopped' as const, status: null },
    );
    const cut = played(windowsOf(), open);
    cut.finish('complete');
    expect(cut.over.map(({ result }) => result)).toEqual(['good', 'void']);
    const unreached = open.map((each, index) => (index < 15 ? each : { ...each, actualOffsetNs: null }));
    const stopped = played(windowsOf(), unreached);
    stopped.finish('cut');
    expect(stopped.over.map(({ result }) => result)).toEqual(['good']);
    const hopeless = played(windowsOf(), unreached);
    hopeless.finish('hopeless', 1_450 * MS);
    expect(hopeless.over.map(({ result }) => result)).toEqual(['good', 'bad']);
    expect(hopeless.over[1]?.goals[SLO]).toBe(false);
    expect(hopeless.over[1]?.goals['errors: rate<0.01']).not.toBe(false);
  });

  test('count what we stopped as at least so slow, and as no failure', () => {
    const slow = sendsOf(10, () => 400).map((each) => ({ ...each, error: 'stopped' as const, status: null }));
    const windows = played(windowsOf(), slow);
    windows.finish('complete');
    expect(windows.over[0]).toMatchObject({ result: 'bad', failed: 0, goals: { [SLO]: false } });
  });

  test('judge a slice from the same rows', () => {
    const slice = 'latency{model=slow}: p(90)<50';
    const sends = sendsOf(10, (index) => (index % 2 === 0 ? 10 : 200)).map((each, index) => ({
      ...each,
      model: index % 2 === 0 ? 'quick' : 'slow',
    }));
    const windows = played(windowsOf(`latency{model=quick}: p(90)<50; ${slice}`), sends);
    windows.finish('complete');
    expect(windows.over[0]?.goals).toMatchObject({ 'latency{model=quick}: p(90)<50': true, [slice]: false });
  });
});

describe('the noise of a target', () => {
  const measured = (second: (index: number) => number) => {
    const noise = new NoiseStatistics();
    noise.addSends(sendsOf(100, (index) => 10 + (index % 7)));
    noise.beginSecond();
    noise.addSends(sendsOf(100, second));
    return noise.figures();
  };

  test('is nothing where both halves are the same', () => {
    expect(measured((index) => 10 + (index % 7))).toEqual({ share: 0, source: 'measured', pairs: 100 });
  });

  test('is how much slower one half is', () => {
    expect(measured((index) => (10 + (index % 7)) * 1.1)?.share).toBeCloseTo(0.1, 3);
    expect(measured((index) => (10 + (index % 7)) / 1.1)?.share).toBeCloseTo(0.1, 3);
  });

  test('is unknown without pairs', () => {
    expect(new NoiseStatistics().figures()).toBeNull();
  });
});
