import { describe, expect, test } from 'vitest';
import { buildHistory, changePoints } from '../../../src/analysis/history/build-history.ts';
import { historyPage, historyView, sparkline } from '../../../src/analysis/history/view.ts';
import { viewMarkdown, viewText } from '../../../src/analysis/render/table.ts';
import { SeededRandom } from '../../../src/core/random.ts';
import { type HistoryRun, historySchema } from '../../../src/documents/history.ts';

/** Noise of ±1 around these levels. */
function noisy(levels: readonly number[], seed: number): number[] {
  const random = new SeededRandom(seed);
  return levels.map((level) => level + (random.nextUint32() / 2 ** 32) * 2 - 1);
}
const level = (value: number, count: number) => Array.from({ length: count }, () => value);

describe('change points', () => {
  test('are the first values of each new level', () => {
    const series = noisy([...level(10, 15), ...level(13, 12), ...level(8, 10)], 3);
    const found = changePoints(series, 0.0025);
    expect(found.map(({ index }) => index)).toEqual([15, 27]);
    for (const { p } of found) expect(p).toBeLessThanOrEqual(0.0025);
  });

  test('are none of equal values, of few, and of one outlier', () => {
    expect(changePoints(level(5, 40), 0.05)).toEqual([]);
    expect(changePoints([1, 1, 9, 9], 0.05)).toEqual([]);
    expect(changePoints(noisy([...level(10, 20), 40, ...level(10, 20)], 5), 0.01)).toEqual([]);
  });

  test('are named by chance no more often than was said', () => {
    const series = Array.from({ length: 100 }, (_, seed) => noisy(level(10, 24), seed + 1));
    const named = series.filter((values) => changePoints(values, 0.05).length > 0);
    // Binomial(100, 0.05): more than 12 has a chance of 0.1 %.
    expect(named.length).toBeLessThanOrEqual(12);
  });

  test('are found of a step as large as the noise', () => {
    const found = Array.from({ length: 50 }, (_, seed) =>
      changePoints(noisy([...level(10, 15), ...level(12, 15)], seed + 1), 0.01),
    );
    const near = found.filter((points) => points.length === 1 && Math.abs(points[0]!.index - 15) <= 1);
    expect(near.length).toBeGreaterThan(42);
  });
});

function runsOf(
  latencies: readonly number[],
  parts: (at: number) => Partial<HistoryRun> = () => ({}),
): HistoryRun[] {
  return latencies.map((value, at) => ({
    run: `run-${at}`,
    test: 'nightly',
    command: 'replay',
    startedAt: new Date(1.79e12 + at * 86_400_000).toISOString(),
    durationS: 60,
    verdict: 'PASS',
    result: 'passed',
    capture: 'monday',
    target: 'http://staging',
    version: '1',
    directory: `/runs/run-${at}`,
    figures: [
      { name: 'latency_p99', unit: 'ms', value },
      { name: 'sent', unit: 'count', value: 100 },
    ],
    ...parts(at),
  }));
}
const SLOWER = noisy([...level(100, 10), ...level(120, 8)], 7);

describe('a history', () => {
  test('names the run where a metric changed, in every form', () => {
    const document = buildHistory('history.sqlite', runsOf(SLOWER));
    historySchema.parse(document);
    const [first] = document.tests;
    expect(first).toMatchObject({ test: 'nightly', judged: 18, enough: true });
    const [latency, sent] = first!.metrics;
    expect(latency?.changes.map(({ run }) => run)).toEqual(['run-10']);
    expect(latency?.changes[0]?.ratio).toBeCloseTo(1.2, 1);
    expect(sent?.changes).toEqual([]);
    const view = historyView(document);
    for (const text of [
      viewText(view).join('\n'),
      viewMarkdown(view),
      historyPage(document, { script: '', style: '' }),
    ])
      expect(text).toContain('CHANGED');
    expect(viewText(view).join('\n')).toMatch(/latency_p99.*changed at run run-10 of/);
  });

  test('drew passed, failed and unjudged runs alike, and no limit', () => {
    const ends: readonly Partial<HistoryRun>[] = [
      {},
      { result: 'failed', verdict: 'FAIL' },
      { result: 'undecided', verdict: 'INCONCLUSIVE' },
      { verdict: null },
    ];
    const runs = runsOf([100, 5_000, 110, 120], (at) => ({
      ...ends[at],
      figures: [{ name: 'latency_p99', unit: 'ms', value: [100, 5_000, 110, 120][at] ?? 0, limit: 150 }],
    }));
    const html = historyPage(buildHistory('h', runs), { script: '', style: '' });
    const [, json = '{}'] = /id="charts">(.*?)<\/script>/.exec(html) ?? [];
    const [chart] = JSON.parse(json).charts;
    expect(chart.tones).toEqual(['good', 'bad', 'warn', 'plain']);
    expect(chart.limits).toEqual([expect.objectContaining({ at: 150 })]);
    // The failed run is beyond the axis, which would be flat with it.
    expect(chart.to).toBe(150);
    expect(html.match(/<polyline class="\w+ point"/g)).toEqual(
      ['good', 'bad', 'warn', 'plain'].map((tone) => `<polyline class="${tone} point"`),
    );
    for (const text of ['passed', 'failed', 'undecided', 'no verdict', 'beyond the axis'])
      expect(html).toMatch(new RegExp(`class="legend">.*${text}`));
  });

  test('seeks no change in undecided runs, nor in too few', () => {
    const undecided = runsOf(SLOWER, (at) =>
      at % 2 === 0 ? {} : { result: 'undecided', verdict: 'INCONCLUSIVE' },
    );
    expect(buildHistory('h', undecided).tests[0]).toMatchObject({ judged: 9, enough: false });
    expect(buildHistory('h', runsOf([1, 1, 1, 9, 9, 9])).tests[0]?.metrics[0]?.changes).toEqual([]);
    expect(historyView(buildHistory('h', [])).verdict).toBeNull();
  });

  test('printed the verdict `none` of too few runs, and did not say that they are too few', () => {
    const few = historyView(buildHistory('h', runsOf([1, 1, 1])));
    expect(viewText(few)[0]).toBe('No verdict: No test has enough runs to tell a change.');
    const steady = historyView(buildHistory('h', runsOf(level(100, 20))));
    expect(viewText(steady)[0]).toBe('Verdict: STEADY. No metric is known to have changed.');
  });

  test.each([3, 20])('was green with a tick, although the last of %i runs had failed', (count) => {
    const failed = runsOf(level(100, count), (at) =>
      at === count - 1 ? { result: 'failed', verdict: 'FAIL' } : {},
    );
    const view = historyView(
      buildHistory('h', [...failed, ...runsOf(level(1, 2), () => ({ test: 'spike' }))]),
    );
    expect(view.tone).toBe('bad');
    expect(view.headline).toContain('nightly');
    expect(view.headline).not.toContain('spike');
  });

  test('is green only if it is known to be steady, and its last runs passed', () => {
    const toneAfter = (last: Partial<HistoryRun>, count = 20) =>
      historyView(
        buildHistory(
          'h',
          runsOf(level(100, count), (at) => (at === count - 1 ? last : {})),
        ),
      ).tone;
    expect(toneAfter({})).toBe('good');
    expect(toneAfter({}, 3)).toBe('plain');
    expect(toneAfter({ result: 'undecided', verdict: 'INCONCLUSIVE' })).toBe('warn');
    expect(historyView(buildHistory('h', runsOf(SLOWER))).tone).toBe('warn');
    expect(historyView(buildHistory('h', [])).tone).toBe('plain');
  });

  test('keeps tests apart', () => {
    const two = [...runsOf(SLOWER.slice(0, 10)), ...runsOf(SLOWER.slice(10), () => ({ test: 'spike' }))];
    expect(buildHistory('h', two).tests.map(({ test, metrics }) => [test, metrics[0]?.changes])).toEqual([
      ['nightly', []],
      ['spike', []],
    ]);
  });
});

test('a sparkline shows what is missing, and what is flat', () => {
  expect(sparkline([1, 2, null, 8])).toBe('▁▂·█');
  expect(sparkline([3, 3])).toBe('▁▁');
});
