import { describe, expect, test } from 'vitest';
import { playedSteps } from '../../../src/analysis/capacity/build-document.ts';
import { capacityPage } from '../../../src/analysis/capacity/page.ts';
import { capacityScreen, capacityView, observedText } from '../../../src/analysis/capacity/view.ts';
import { viewMarkdown, viewText } from '../../../src/analysis/render/table.ts';
import { ciReportOfCapacity } from '../../../src/analysis/verdict/ci-report.ts';
import { pageAssets } from '../../../src/app/package.ts';
import { TonedLine } from '../../../src/core/text.ts';
import { type CapacityDocument, capacitySchema } from '../../../src/documents/capacity.ts';
import { playedAt, searched } from '../../support/searched.ts';

const linesOf = (document: CapacityDocument) =>
  capacityScreen(document).map((line) => (line instanceof TonedLine ? line.text : line));
const LOADS = [1, 2, 3, 4, 4.5, 5, 6, 8, 16];

describe('the document of a search', () => {
  const document = searched(LOADS.map((load) => playedAt(load)));

  test('has the largest load that passes below the smallest that fails, and the interval between', () => {
    expect(capacitySchema.parse(document)).toEqual(document);
    expect(document).toMatchObject({
      limitedBy: 'objective',
      breakingPoint: {
        passes: { multiplier: 4.5, ratePerSecond: 90 },
        fails: { multiplier: 5, ratePerSecond: 100 },
        shape: 'cliff',
      },
      gaveFirst: { objective: 'latency: p(95)<200', multiplier: 5, window: 0 },
    });
    const [low = 0, high = 0] = document.breakingPoint.interval ?? [];
    expect(low).toBeLessThan(4.75);
    expect(high).toBeGreaterThan(4.75);
  });

  test('says what gave first by limits as they are compared, whatever their unit', () => {
    const broken = (goals: Record<string, number>) => {
      const names = Object.keys(goals);
      const step = playedAt(8);
      const windows = step.windows.map((window) => ({
        ...window,
        goals: Object.fromEntries(names.map((name) => [name, false])),
        observed: goals,
      }));
      return searched([playedAt(1), { ...step, windows }]).gaveFirst?.objective;
    };
    // 1,650 ms of 1.5 s are less beyond the limit than twice 200 ms.
    expect(broken({ 'latency: p(95)<1.5s': 1_650, 'service: p(95)<200': 400 })).toBe('service: p(95)<200');
    // 0.99 of 50 % is farther off than 220 of 200 ms.
    expect(broken({ 'latency: p(95)<200': 220, 'gpu_utilization: max<50%': 0.99 })).toBe(
      'gpu_utilization: max<50%',
    );
  });

  test('answers for each objective from the same windows', () => {
    const [latency, errors] = document.goals;
    expect(latency).toMatchObject({ name: 'latency: p(95)<200', fails: { multiplier: 5 } });
    expect(errors).toMatchObject({ passes: { multiplier: 16 }, fails: null, interval: null });
  });

  test('sizes by the peak, by what passed and by what is sure to pass, with the basis of each', () => {
    const rows = ({ sizing }: CapacityDocument) =>
      sizing?.replicasNeeded.map((each) => [each.timesPeak, each.replicasPassed, each.replicas]);
    expect(rows(document)).toEqual([
      [1, 1, 1],
      [1.5, 1, 2],
      [2, 2, 2],
    ]);
    const { passes, interval } = document.breakingPoint;
    expect(document.sizing?.certainMultiplier).toBe(Math.min(passes!.multiplier, interval![0]));
    const forms = [viewMarkdown(capacityView(document)), linesOf(document).join(' ')];
    for (const form of forms.map((text) => text.replaceAll(/\s+/g, ' '))) {
      expect(form).toContain('1, 1, 2 by what passed (4.5x); 1, 2, 2 certain at 95 %');
    }
    const open = searched([playedAt(1), playedAt(2)], 'budget');
    expect(open).toMatchObject({ breakingPoint: { interval: null }, sizing: { certainMultiplier: null } });
    expect(linesOf(open).join(' ')).toContain('2, 3, 3 by what passed (2x); none is certain at 95 %');
  });

  test('pays for good requests by the largest load that passes', () => {
    // Two replicas at 2.5 an hour answer 90 good requests a second.
    expect(document.sizing?.costPerThousandGood).toBeCloseTo((2 * 2.5 * 1_000) / (3_600 * 90), 6);
  });

  test('pays for good requests, not for all that were answered', () => {
    const late = LOADS.map((load) => {
      const step = playedAt(load);
      return { ...step, windows: step.windows.map((window) => ({ ...window, good: window.planned / 2 })) };
    });
    const half = searched(late).sizing?.costPerThousandGood ?? 0;
    expect(half / (document.sizing?.costPerThousandGood ?? 1)).toBeCloseTo(2, 6);
    // A search that began before windows counted them does not know.
    const unknown = LOADS.map((load) => {
      const step = playedAt(load);
      return { ...step, windows: step.windows.map(({ good: _, ...window }) => window) };
    });
    expect(searched(unknown).sizing?.costPerThousandGood).toBeNull();
  });

  test('without a step has no table of loads', () => {
    expect(linesOf(document).join('\n')).toMatch(/^ {2}load /m);
    expect(linesOf(searched([])).join('\n')).not.toMatch(/^ {2}load /m);
  });

  test('has what monitors saw at each load, and at the knee', () => {
    const facts = {
      name: 'gpu_utilization',
      source: 'target',
      labels: {},
      kind: 'gauge',
      unit: 'share',
    } as const;
    const seen = searched(
      LOADS.map((load) => {
        const at = { p50: load / 10, p95: load / 8, max: load / 6 };
        return playedAt(load, { monitors: load === 3 ? [] : [{ ...facts, ...at }] });
      }),
    );
    const knee = seen.knee?.multiplier ?? 0;
    expect(knee).toBeGreaterThan(0);
    expect(seen.monitors).toMatchObject([
      { ...facts, knee: { p50: knee / 10, p95: knee / 8, max: knee / 6 } },
    ]);
    expect(seen.monitors?.[0]?.loads.map(({ multiplier }) => multiplier)).toEqual(
      LOADS.filter((load) => load !== 3),
    );
    // The first of two equal steps is shown, and the violation was in the second.
    const again = playedAt(5, { monitors: [{ ...facts, p50: 0.7, p95: 0.9, max: 0.99 }] });
    const quiet = playedAt(5, { monitors: [{ ...facts, p50: 0.6, p95: 0.8, max: 0.93 }] });
    const twice = searched([
      ...LOADS.filter((load) => load !== 5).map((load) => playedAt(load)),
      quiet,
      again,
    ]);
    expect(twice.monitors?.[0]?.loads).toEqual([{ multiplier: 5, p50: 0.6, p95: 0.8, max: 0.99 }]);
    const text = viewText(capacityView(seen)).join('\n');
    expect(text).toContain('gpu_utilization');
    expect(text).toContain('knee p50');
    expect(capacityPage(seen, pageAssets())).toContain('id="monitor-gpu-utilization"');
  });

  test('the page named the loads beside their lines, where the names crossed, and said twice what was found', () => {
    const page = capacityPage(document, pageAssets());
    const [legend = '', passing = ''] = page.match(/<p class="legend">.*?<\/p>/gs) ?? [];
    const keysOf = (html: string) => [...html.matchAll(/<\/svg>([^<]+)/g)].map(([, key]) => key);
    const marks = ['knee 2x', 'passes 4.5x', 'fails 5x'];
    expect(keysOf(legend)).toEqual(['p50', 'p95', 'p99', 'objective latency: p(95)&#60;200', ...marks]);
    expect(keysOf(passing)).toEqual(['windows', 'fitted', ...marks]);
    expect(page).not.toMatch(/<text[^>]*>(knee|passes|fails)/);
    expect(page.match(/<line class="limit"/g)).toHaveLength(1);
    expect(page).toMatch(/<h1 class="verdict">Safe up to 4\.5x/);
    const both = { ...document, knee: document.breakingPoint.passes };
    expect(capacityPage(both, pageAssets())).toContain('</svg>knee and passes 4.5x<');
  });

  test('has no interval that is narrower than the noise of the target', () => {
    const [low = 0, high = 0] =
      searched(
        LOADS.map((load) => playedAt(load)),
        'resolved',
        0.5,
      ).breakingPoint.interval ?? [];
    expect(high / low).toBeGreaterThan(1.5);
  });

  test('a search that ended before its budget said neither why nor what narrows its result', () => {
    const steps = LOADS.map((load) => playedAt(load));
    const [wide, narrow] = [searched(steps, 'resolved', 1), searched(steps)];
    expect(capacityView(wide).reasons).toMatchObject([{ code: 'resolved' }]);
    expect(linesOf(wide).join(' ')).toMatch(/100 % or more longer .* --step/s);
    expect(capacityView(narrow).reasons).toEqual([]);
    expect(linesOf(narrow).join(' ')).toContain('--width 0.1');
  });

  test('a load that passes stood beside all windows, those that were not judged among them', () => {
    const [good] = playedAt(4).windows;
    const windows = [good!, { ...good!, index: 1, result: 'void' as const, doubts: ['lag_over_bound'] }];
    const lines = linesOf(searched([playedAt(1), playedAt(4, { windows }), playedAt(8)]));
    expect(lines.find((line) => line.startsWith('  4x'))).toContain('1 of 1');
    expect(lines.length).toBeLessThanOrEqual(20);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  test('takes a larger load that passed all the same for nothing', () => {
    const passing = playedAt(4);
    const steps = [...LOADS.map((load) => playedAt(load)), { ...passing, multiplier: 20 }];
    expect(searched(steps)).toMatchObject({ inverted: [20], breakingPoint: { passes: { multiplier: 4.5 } } });
  });

  test('names what kept it from a breaking point', () => {
    const steps = [1, 2].map((load) => playedAt(load));
    const stood = searched(steps, 'max_multiplier');
    expect(stood).toMatchObject({
      limitedBy: 'max_multiplier',
      breakingPoint: { fails: null, interval: null },
    });
    expect(linesOf(stood)[0]).toContain('not found');
  });

  test('has no interval where nothing failed but a window by chance', () => {
    const [good, bad] = [playedAt(2).windows[0]!, { ...playedAt(8).windows[0]!, index: 1 }];
    const steps = [playedAt(1), playedAt(2, { windows: [good, bad, { ...good, index: 2 }] }), playedAt(4)];
    const stood = searched(steps, 'max_multiplier');
    expect(stood.limitedBy).toBe('max_multiplier');
    expect(stood.breakingPoint).toMatchObject({ fails: null, boundary: null, interval: null, shape: null });
  });

  test('has no interval of a target that does not answer as was recorded', () => {
    const other = searched(
      LOADS.map((load) => playedAt(load)),
      'not_representative',
    );
    expect(other.limitedBy).toBe('not_representative');
    expect(other.breakingPoint).toMatchObject({ boundary: null, interval: null, shape: null });
    expect(other.goals.map(({ interval }) => interval)).toEqual([null, null]);
    expect(other.sizing).toBeNull();
  });

  test('names the scaling at the boundary', () => {
    const below = searched([
      { ...playedAt(8), multiplier: 1 },
      { ...playedAt(4), multiplier: 0.5 },
    ]);
    expect(below.breakingPoint.boundary?.multiplier).toBeLessThan(1);
    expect([below.scaling, document.scaling]).toEqual(['thin', 'compress']);
  });

  test('is limited by the least load where even that fails', () => {
    const least = searched([playedAt(8)], 'min_multiplier');
    expect(least).toMatchObject({ limitedBy: 'min_multiplier', breakingPoint: { interval: null } });
  });

  test('is no success where the target did not come back, with an interval or without', () => {
    const failed = searched(
      LOADS.map((load) => playedAt(load)),
      'target_failed',
    );
    expect(failed.breakingPoint.interval).not.toBeNull();
    expect(capacityView(failed).tone).toBe('warn');
    expect(ciReportOfCapacity(failed, capacityView(failed), null)).toMatchObject({ result: 'undecided' });
  });

  test('says that it goes on only where something was kept', () => {
    const steps = [playedAt(1)];
    const stopped = searched(steps, 'budget');
    expect(linesOf(stopped).join(' ')).toContain('goes on from here');
    const forecast = { fitted: {}, checked: { percentiles: [] }, assumptions: [] } as never;
    expect(linesOf({ ...stopped, forecast }).join(' ')).not.toContain('goes on from here');
  });

  test.each([
    ['errors: count<10', 12, '12 at 5x'],
    ['errors: rate<0.1', 0.12, '12.0 % at 5x'],
    ['service: p(95)<200', 240, '240.0 ms at 5x'],
    ['gpu_utilization: max<50', 70, '70 at 5x'],
  ])('says what was observed in the unit of the objective: %s', (objective, observed, text) => {
    expect(observedText({ objective, observed, multiplier: 5, window: 0 })).toBe(text);
  });

  test('fits on one screen of 20 lines of 80 columns', () => {
    const long = {
      ...document,
      gaveFirst: { ...document.gaveFirst!, objective: `latency{route=${'long '.repeat(30)}}: p(95)<200` },
    };
    for (const each of [document, long, searched([playedAt(1)], 'budget'), searched([], 'interrupted')]) {
      const lines = linesOf(each);
      expect(lines.length).toBeLessThanOrEqual(20);
      expect(lines.filter((line) => line.length > 80)).toEqual([]);
    }
  });
});

test('a step that the end of the budget cut counts by the windows that it had', () => {
  const isEarly = (endedEarly: string | null) =>
    playedSteps([playedAt(6, { endedEarly })])[0]?.windows.map((window) => window.endedEarly);
  expect(isEarly('budget')).toEqual([false, false]);
  expect(isEarly(null)).toEqual([false, false]);
  expect(isEarly('hopeless')).toEqual([false, true]);
  expect(isEarly('failed')).toEqual([false, true]);
});

test('a search that clients who left kept undecided names them, and how to wait for their answers', () => {
  const step = playedAt(1);
  const undecided = (doubts: string[]) => ({
    ...step,
    windows: step.windows.map((each) => ({ ...each, result: 'void' as const, doubts })),
  });
  const reasonsFor = (doubts: string[]) => capacityView(searched([undecided(doubts)], 'unjudged')).reasons;
  const [left] = reasonsFor(['censored']);
  expect(left).toMatchObject({ code: 'unjudged' });
  expect(left?.text).toContain('clients left');
  expect(left?.advice).toContain('--cancels wait');
  expect(left?.advice).not.toContain('--step');
  expect(reasonsFor(['too_few_samples'])[0]?.advice).toContain('--step');
  expect(reasonsFor(['achieved_below'])[0]?.advice).not.toContain('--step');
});

test('a load that passed far above what is certain is not called safe, on screen and page alike', () => {
  const found = searched(LOADS.map((load) => playedAt(load)));
  const wide = { ...found, breakingPoint: { ...found.breakingPoint, interval: [3.1, 6.2] as const } };
  const { headline } = capacityView(wide);
  // A rate is one that was sent, and 3.1x was not.
  expect(headline).toMatch(/^Safe up to 3\.1x of the \w+ [^(]*, breaks by \S+x \(/);
  expect(headline).not.toContain('4.5x');
  expect(linesOf(wide).join(' ').replaceAll(/\s+/g, ' ')).toContain('Safe up to 3.1x');
  expect(capacityView(found).headline).toMatch(/^Safe up to 4\.5x/);
});

test('the load that fails is in the table, however far it is from the boundary', () => {
  const found = searched(LOADS.map((load) => playedAt(load)));
  const fails = found.curve.at(-1)!;
  const far = { ...found, breakingPoint: { ...found.breakingPoint, fails } };
  const marks = linesOf(far).flatMap((line) => /^ +\S+x .* (passes|fails)$/.exec(line)?.[1] ?? []);
  expect(marks).toEqual(['passes', 'fails']);
});
