import { describe, expect, test } from 'vitest';
import { LittlesLaw, StepRates } from '../../../src/analysis/capacity/early-stop.ts';
import {
  CapacitySearch,
  type PlayedWindow,
  type SearchOptions,
} from '../../../src/analysis/capacity/search.ts';
import { send } from '../../support/sends.ts';

const OPTIONS: SearchOptions = {
  goals: ['p99', 'p50'],
  start: 1,
  floor: 0.1,
  ceiling: 64,
  width: 0.1,
  noise: 0,
  windowSAt: () => 10,
  windowsToDecide: 3,
  overheadS: 5,
  budgetS: 600,
};

/** The load between 1x and 2x, as a search rounds it. */
const BETWEEN = Number(Math.SQRT2.toPrecision(5));

const SEEN = { endedEarly: false, isVoid: false, isCapped: false, lossRatio: 0 };

/** Plays until the search is done, against targets that stand so much. */
function played(search: CapacitySearch, stands: Readonly<Record<string, number>>, steps = 100): string {
  for (let step = 0; step < steps; step++) {
    const next = search.next();
    if (next.kind === 'done') return next.reason;
    const kept = Object.fromEntries(
      Object.entries(stands).map(([id, most]) => [id, next.multiplier <= most]),
    );
    const windows = Array.from({ length: next.windows }, (): PlayedWindow => ({ ...SEEN, kept }));
    search.add({
      multiplier: next.multiplier,
      windows,
      spentS: OPTIONS.overheadS + next.windows * OPTIONS.windowSAt(next.multiplier),
    });
  }
  return 'not done';
}

describe('CapacitySearch', () => {
  test('weighs a window that ended its step early for the goals that broke in it alone', () => {
    const kept = { p99: false, p50: true };
    const search = new CapacitySearch(OPTIONS);
    search.add({ multiplier: 1, windows: [{ ...SEEN, kept, endedEarly: true }], spentS: 10 });
    expect(search.results().map(({ loads }) => loads)).toEqual([
      [{ multiplier: 1, good: 0, judged: 3 }],
      [{ multiplier: 1, good: 1, judged: 1 }],
    ]);
  });

  test.each([0.3, 1, 1.7, 3.3, 11, 50])('finds a cliff at %f within its width', (cliff) => {
    const search = new CapacitySearch(OPTIONS);
    expect(played(search, { p99: cliff, p50: cliff * 2 })).toBe('resolved');
    const [p99] = search.results();
    expect(p99?.fit?.low).toBeLessThanOrEqual(cliff * 1.02);
    expect(p99?.fit?.high).toBeGreaterThanOrEqual(cliff * 0.98);
    expect(p99?.fit?.width).toBeLessThanOrEqual(0.1);
    expect(p99?.fit?.shape).toBe('cliff');
    expect(p99?.bounds.lower?.multiplier).toBeLessThanOrEqual(cliff);
    expect(p99?.bounds.upper?.multiplier).toBeGreaterThan(cliff);
  });

  /** Plays against a target that fails between two loads and from a third one on. */
  function playedWithGap([from, to]: readonly [number, number], cliff: number) {
    const search = new CapacitySearch(OPTIONS);
    for (;;) {
      const next = search.next();
      if (next.kind === 'done') return { search, reason: next.reason };
      const { multiplier, windows } = next;
      const kept = { p99: multiplier < cliff && !(multiplier >= from && multiplier <= to) };
      const spentS = OPTIONS.overheadS + windows * OPTIONS.windowSAt(multiplier);
      search.add({ multiplier, windows: Array.from({ length: windows }, () => ({ ...SEEN, kept })), spentS });
    }
  }

  test('doubled over a region that fails: 1.3 to 1.45x, below 2x and 4x that pass', () => {
    const { search, reason } = playedWithGap([1.3, 1.45], 10);
    const [{ bounds, fit } = { bounds: null, fit: null }] = search.results();
    expect(reason).toBe('resolved');
    expect(bounds?.lower?.multiplier).toBeLessThan(1.3);
    expect(bounds?.upper?.multiplier).toBeLessThanOrEqual(1.45);
    expect(bounds?.inverted).toEqual([2]);
    expect(fit?.high).toBeLessThan(1.45);
    // One window is enough where nothing fails.
    const smooth = playedWithGap([0, 0], 10).search.steps.filter(({ multiplier }) => multiplier < 5);
    expect(smooth.map(({ multiplier, windows }) => [multiplier, windows.length])).toEqual([
      [1, 2],
      [2, 2],
      [BETWEEN, 1],
      [4, 2],
      [2.8284, 1],
    ]);
  });

  test('checks a skipped load that could not be judged a few times, and then goes on', () => {
    const isVoid = { ...SEEN, kept: { p99: null }, isVoid: true };
    const good = { ...SEEN, kept: { p99: true } };
    const stood = [1, 2].map((multiplier) => ({ multiplier, windows: [good, good], spentS: 20 }));
    const next = (voids: number) => {
      const checks = Array.from({ length: voids }, () => ({
        multiplier: BETWEEN,
        windows: [isVoid],
        spentS: 10,
      }));
      return new CapacitySearch(OPTIONS, [...stood, ...checks]).next();
    };
    expect(next(2)).toMatchObject({ multiplier: BETWEEN, purpose: 'check', windows: 1 });
    expect(next(3)).toMatchObject({ multiplier: 4, purpose: 'double' });
  });

  test('never passes its ceiling, and says that it is stood', () => {
    const search = new CapacitySearch({ ...OPTIONS, ceiling: 5 });
    expect(played(search, { p99: 100, p50: 100 })).toBe('ceiling');
    expect(Math.max(...search.steps.map(({ multiplier }) => multiplier))).toBe(5);
    expect(search.doublings).toEqual([1, 2, 4, 5]);
  });

  test('says that the least load is not stood', () => {
    expect(played(new CapacitySearch(OPTIONS), { p99: 0.01, p50: 0.01 })).toBe('floor');
  });

  test('is not limited by a load at which the generator had two hiccups and most windows were judged', () => {
    const kept = { p99: true, p50: true };
    const hiccup: PlayedWindow = { ...SEEN, kept: { p99: null, p50: null }, isVoid: true };
    const good: PlayedWindow = { ...SEEN, kept };
    const steps = [
      { multiplier: 1, windows: [good, good], spentS: 20 },
      { multiplier: 2, windows: [good, hiccup], spentS: 20 },
      { multiplier: 2, windows: [hiccup, good], spentS: 20 },
    ];
    const checked = [...steps, { multiplier: BETWEEN, windows: [good], spentS: 10 }];
    expect(new CapacitySearch(OPTIONS, checked).next()).toMatchObject({ kind: 'play', multiplier: 4 });
    const undecided = [
      steps[0]!,
      steps[1]!,
      { ...steps[1]!, windows: [hiccup, { ...good, kept: { p99: false } }] },
    ];
    expect(new CapacitySearch(OPTIONS, undecided).next()).toMatchObject({ multiplier: 2, purpose: 'decide' });
    const spoiled = [steps[0]!, ...[1, 2].map(() => ({ ...steps[1]!, windows: [hiccup, hiccup] }))];
    expect(new CapacitySearch(OPTIONS, spoiled).next()).toMatchObject({ purpose: 'narrow' });
  });

  const outcome = (isGood: boolean): PlayedWindow => ({ ...SEEN, kept: { p99: isGood, p50: true } });
  const hiccup: PlayedWindow = { ...SEEN, kept: { p99: null, p50: null }, isVoid: true };
  const stepAt = (multiplier: number, ...windows: PlayedWindow[]) => ({ multiplier, windows, spentS: 20 });
  const [good, bad] = [outcome(true), outcome(false)];
  const drowned = { ...bad, endedEarly: true };

  test('spent its budget on a load that our own cap kept from being sent', () => {
    const capped: PlayedWindow = { ...hiccup, isCapped: true };
    const stood = [stepAt(1, good, good), stepAt(2, good, good), stepAt(BETWEEN, good)];
    const first = new CapacitySearch(OPTIONS, [...stood, stepAt(2.8284, good, capped)]).next();
    expect(first).toMatchObject({ multiplier: 2.8284, purpose: 'decide' });
    const nextAfter = (window: PlayedWindow) =>
      new CapacitySearch(OPTIONS, [...stood, stepAt(2.8284, good, window), stepAt(2.8284, window)]).next();
    expect(nextAfter(capped)).toMatchObject({ multiplier: expect.closeTo(2.38, 1), purpose: 'narrow' });
    expect(nextAfter(hiccup)).toMatchObject({ multiplier: 2.8284, purpose: 'decide' });
  });

  test('left its bracket where a fit of few windows reached beyond it', () => {
    const bracketed = [1, 1, 2, 4].map((multiplier) => stepAt(multiplier, good, good));
    const search = new CapacitySearch(OPTIONS, [...bracketed, stepAt(8, drowned)]);
    // Whatever these windows show, the next lies between what is stood and what is not.
    for (const shown of [good, bad, hiccup, hiccup, bad, good, hiccup, bad]) {
      const next = search.next();
      if (next.kind === 'done') break;
      expect(next.multiplier).toBeGreaterThan(4);
      expect(next.multiplier).toBeLessThan(8);
      search.add(stepAt(next.multiplier, shown));
    }
    expect(search.steps).toHaveLength(13);
  });

  test('plays a load beyond close bounds only where windows contradict them', () => {
    const close = [
      stepAt(3.9, good, good),
      stepAt(4, good, good),
      stepAt(4.2, bad, bad),
      stepAt(4.4, bad, bad),
    ];
    const playedNext = (steps: typeof close) =>
      [0, 1, 2].flatMap((more) => {
        const next = new CapacitySearch(OPTIONS, [
          ...steps,
          ...Array.from({ length: more }, () => stepAt(1, good)),
        ]);
        const step = next.next();
        return step.kind === 'play' ? [step] : [];
      });
    for (const { multiplier, purpose } of playedNext(close)) {
      expect(purpose).toBe('narrow');
      expect(multiplier).toBeGreaterThanOrEqual(4);
      expect(multiplier).toBeLessThanOrEqual(4.2);
    }
    const contradicted = [...close, stepAt(3.9, bad), stepAt(4.4, good)];
    const beyond = playedNext(contradicted).filter(({ multiplier }) => multiplier < 4 || multiplier > 4.2);
    expect(beyond.map(({ purpose }) => purpose)).toEqual(['widen', 'widen']);
  });

  test('took three hiccups of the generator for its limit', () => {
    const steps = [stepAt(1, good, good), stepAt(2, hiccup, good), stepAt(2, hiccup), stepAt(2, hiccup)];
    expect(new CapacitySearch(OPTIONS, steps).next()).toMatchObject({ multiplier: 2, purpose: 'decide' });
  });

  test('ends below a load that only the generator limits, also where a larger one failed', () => {
    const limited = [stepAt(4, hiccup, hiccup), stepAt(4, hiccup, hiccup)];
    const steps = [stepAt(1, good, good), ...limited, stepAt(8, bad, bad)];
    expect(new CapacitySearch(OPTIONS, steps).next()).toMatchObject({ multiplier: 2, purpose: 'narrow' });
    const closed = [...steps, stepAt(3.8, good, good)];
    expect(new CapacitySearch(OPTIONS, closed).next()).toEqual({ kind: 'done', reason: 'generator' });
  });

  test('never spends more than its budget', () => {
    const search = new CapacitySearch({ ...OPTIONS, budgetS: 100 });
    expect(played(search, { p99: 3.3, p50: 3.3 })).toBe('budget');
    expect(search.remainingS).toBeGreaterThanOrEqual(0);
  });

  test('goes on as it would have after it was written and read', () => {
    const whole = new CapacitySearch(OPTIONS);
    played(whole, { p99: 3.3, p50: 5 });
    const part = new CapacitySearch(OPTIONS);
    played(part, { p99: 3.3, p50: 5 }, 3);
    const read = new CapacitySearch(OPTIONS, JSON.parse(JSON.stringify(part.steps)));
    expect(read.steps).toHaveLength(3);
    played(read, { p99: 3.3, p50: 5 });
    expect(read.steps).toEqual(whole.steps);
  });
});

describe('LittlesLaw', () => {
  const sends = (tookNs: (at: number) => number) =>
    Array.from({ length: 100 }, (_, at) => ({ actualOffsetNs: at, lastByteOffsetNs: at + tookNs(at) }));

  test('is near 0 for a steady step, and far from it for one whose backlog grows', () => {
    const steady = new LittlesLaw(100);
    steady.add(sends(() => 4));
    // Of 97 requests 4 each, and 3, 2 and 1 of those that were open at the end.
    expect(steady.residual).toBe(6 / (97 * 4 + 6));
    const drowning = new LittlesLaw(100);
    drowning.add(sends((at) => at));
    expect(drowning.residual).toBeGreaterThan(0.3);
  });

  test('is unknown where nothing was in flight', () => {
    const law = new LittlesLaw(100);
    law.add([{ actualOffsetNs: null, lastByteOffsetNs: null }]);
    expect(law.residual).toBeNull();
  });
});

test('sends and answers count in the second of their first and last bytes, not by when they were due', () => {
  const rates = new StepRates(1e9);
  // One of 100 a second is due every 10 ms for 3 s; 60 a second are sent, and 50 a second are answered.
  const sends = Array.from({ length: 300 }, (_, index) =>
    send({
      index,
      intendedOffsetNs: index * 1e7,
      actualOffsetNs: index * (1e9 / 60),
      lastByteOffsetNs: index * 2e7,
    }),
  );
  rates.add(sends, 3e9);
  expect(rates.until(3e9)).toEqual({ sentPerS: 60, answeredPerS: 50.5 });
  expect(new StepRates(4e9).until(3e9)).toEqual({ sentPerS: 0, answeredPerS: 0 });
});
