import { describe, expect, test } from 'vitest';
import { NoiseStatistics } from '../../../src/analysis/capacity/noise.ts';
import { StepWindows } from '../../../src/analysis/capacity/step-windows.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { failed, refused, send } from '../../support/sends.ts';

const MS = 1e6;
const SLO = 'latency: p(90)<50';

function windowsOf(slo = SLO, settlingMs = 0, tiers: readonly string[] = []): StepWindows {
  const objectives = parseObjectives([slo]);
  const lengths = { settlingNs: settlingMs * MS, windowNs: 1_000 * MS };
  return new StepWindows({
    ...lengths,
    multiplier: 2,
    objectives,
    waitsFor: null,
    bounds: {},
    tiers: tiers.map((text) => ({ name: text, objectives: parseObjectives([text]) })),
  });
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

  test('took copies that leave later than what was recorded after them for an error', () => {
    const windows = windowsOf();
    const sends = sendsOf(10, () => 10);
    for (const { index, intendedOffsetNs } of sends)
      windows.addPlanned(exchangeRow({ arrivalUs: 1_000_000 - index }), intendedOffsetNs);
    windows.addSends(sends);
    windows.finish('complete');
    expect(windows.over.map(({ result }) => result)).toEqual(['good']);
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

  test('begin behind the settling time, which is not judged', () => {
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

  test('are bad from the first on where the step drowned in its settling time', () => {
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

  test('have one name for the implied bound on refusals, whatever each window recorded of them', () => {
    const windows = windowsOf();
    const sends = sendsOf(20, () => 10).map((each, index) =>
      index === 12 ? { ...each, status: 429 } : each,
    );
    for (const { index, intendedOffsetNs } of sends)
      windows.addPlanned(exchangeRow({ status: index === 12 ? 429 : 200 }), intendedOffsetNs);
    windows.addSends(sends);
    windows.finish('complete');
    expect(windows.over.map(({ goals }) => Object.keys(goals).at(-1))).toEqual([
      'rejected: rate<0.01',
      'rejected: rate<0.01',
    ]);
    expect(windows.over[1]?.goals['rejected: rate<0.01']).toBe(true);
    expect(windows.over[1]?.observed['rejected: rate<0.01']).toBe(0);
  });

  test('lost an objective on the refusals of a slice to the implied one on all requests', () => {
    const windows = played(
      windowsOf('rejected{model=resnet}: count<5'),
      sendsOf(20, () => 10),
    );
    windows.finish('complete');
    expect(windows.over[0]?.goals).toMatchObject({
      'rejected{model=resnet}: count<5': true,
      'rejected: rate<0.01': true,
    });
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

  test('of a hopeless step break what is looser than what broke, and keep nothing', () => {
    const [looser, slice] = ['latency: p(90)<5000', 'latency{model=quick}: p(90)<5000'];
    const open = sendsOf(10, () => 400).map((each, index) => ({
      ...each,
      ...(index > 4 && { error: 'stopped' as const, status: null }),
      model: 'quick',
    }));
    const windows = played(windowsOf(`${SLO}; ${looser}; ${slice}`), open);
    windows.finish('hopeless', 1_000 * MS);
    expect(windows.over[0]).toMatchObject({
      result: 'bad',
      goals: { [SLO]: false, [looser]: false, [slice]: null, 'errors: rate<0.01': null },
    });
  });

  test('count the requests that were served within every limit', () => {
    const slow = sendsOf(20, (index) => (index % 10 < 2 ? 60 : 10));
    const broken = [...slow.slice(0, 19), failed(19)];
    const windows = played(windowsOf('latency: p(50)<50'), broken);
    windows.finish('complete');
    expect(windows.over.map(({ completed, good }) => [completed, good])).toEqual([
      [10, 8],
      [9, 7],
    ]);
    const unlimited = played(windowsOf('errors: rate<0.5'), broken);
    unlimited.finish('complete');
    expect(unlimited.over.map(({ good }) => good)).toEqual([10, 9]);
  });

  /** How many of these requests, all of one window, are good. */
  function goodOf(slo: string, sends: readonly Send[], tiers: readonly string[] = []) {
    const windows = played(windowsOf(slo, 0, tiers), sends);
    windows.finish('complete');
    return windows.over.map(({ good }) => good);
  }

  test('count as good what no limit on streams concerns', () => {
    const answer = { contentEvents: 5, gapMaxNs: null, gaps: null, promptTokens: null, outputTokens: 5 };
    const sends = sendsOf(10, () => 10).map((each, index) => {
      const firstTokenOffsetNs = each.intendedOffsetNs + (index === 0 ? 600 : 5) * MS;
      const lastTokenOffsetNs = firstTokenOffsetNs + 4 * MS;
      const tokens = { ...answer, firstTokenOffsetNs, lastTokenOffsetNs, finish: null };
      if (index === 2) return { ...each, unstreamed: true };
      return index < 2 ? { ...each, streamed: true, answer: tokens } : each;
    });
    // One stream is late, and one request was to have a stream and has none.
    expect(goodOf('ttft: p(50)<500', sends)).toEqual([8]);
    expect(goodOf('latency: p(90)<50; goodput: rate>0.5 where ttft<500', sends)).toEqual([8]);
    expect(goodOf('goodput: rate>0.5 where ttft<500', sends.slice(3))).toEqual([7]);
  });

  test('have an unknown number of good requests where their times could not be read', () => {
    const unread = sendsOf(10, () => 10).map((each, index) => ({ ...each, streamed: index < 2 }));
    expect(goodOf('ttft: p(50)<500', unread)).toEqual([null]);
    expect(goodOf(SLO, unread)).toEqual([10]);
  });

  test('count no request as good that breaks a limit on its slice', () => {
    const sends = sendsOf(10, (index) => (index < 5 ? 10 : 90)).map((each, index) => ({
      ...each,
      model: index % 2 === 0 ? 'a' : 'b',
    }));
    expect(goodOf('latency{model=a}: p(90)<50', sends)).toEqual([8]);
    expect(goodOf('latency{*model}: p(90)<50', sends)).toEqual([5]);
    expect(goodOf('goodput{model=b}: rate>0.5 where latency<50', sends)).toEqual([7]);
    const unnamed = sends.map((each) => ({ ...each, model: null }));
    expect(goodOf('latency{*model}: p(90)<50', unnamed)).toEqual([10]);
  });

  test('count no request as good that keeps one limit of two', () => {
    const sends = sendsOf(10, (index) => (index < 5 ? 10 : 90)).map((each, index) =>
      index < 5 ? { ...each, model: 'a' } : each,
    );
    expect(goodOf('latency: p(90)<50; goodput{model=a}: rate>0.5 where latency<5', sends)).toEqual([0]);
    expect(goodOf('latency: p(50)<5, p(99)<50', sends)).toEqual([5]);
  });

  test('with tiers count what keeps the limits of each, whatever percentile they are on', () => {
    const sends = sendsOf(10, (index) => (index < 5 ? 10 : 90));
    const tiers = ['latency: p(90)<50', 'latency: p(99)<500'];
    expect(goodOf(tiers.join(';'), sends, tiers)).toEqual([5]);
  });

  test('are bad by refusals where these break first', () => {
    const refusing = sendsOf(10, () => 10).map((each, index) => ({ ...each, status: index < 3 ? 429 : 200 }));
    const windows = played(windowsOf(), refusing);
    windows.finish('complete');
    expect(windows.over[0]).toMatchObject({
      result: 'bad',
      goals: { [SLO]: true, 'errors: rate<0.01': true, 'rejected: rate<0.01': false },
    });
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
