import { describe, expect, test } from 'vitest';
import {
  dispersionFigure,
  drawnSeries,
  heatMap,
  ratioPlot,
  timeSeries,
} from '../../../src/analysis/render/charts.ts';
import { timesText } from '../../../src/analysis/render/table.ts';

const WORDS = { id: 'x', title: 'T', unit: 'ms', source: 's', lookFor: 'l', timeZone: 'UTC' };

function linesOf(values: readonly (number | null)[], at = values.map((_, index) => index)): string[][] {
  const { html } = timeSeries({ ...WORDS, at, lines: [{ label: 'a', values }] });
  return [...html.matchAll(/points="([^"]*)"/g)].map(([, points = '']) => points.split(' '));
}

describe('a time series that stands as a picture', () => {
  test('draws no line over steps of which nothing is known', () => {
    expect(linesOf([1, 2, null, 4, 5]).map(({ length }) => length)).toEqual([2, 2]);
    expect(linesOf([null, null, 3, 4]).map(({ length }) => length)).toEqual([2]);
    expect(linesOf([null, null])).toEqual([]);
  });

  test('shows a step that stands alone', () => {
    const [, alone] = linesOf([1, 1, null, 4, null, 1, 1]);
    expect(alone).toHaveLength(2);
    expect(alone?.[0]).not.toBe(alone?.[1]);
  });

  test('keeps the greatest of the steps that share a column, and is not broken where only some of them are known', () => {
    const values = Array.from({ length: 8_000 }, (_, index) =>
      index % 2 === 0 ? null : 1 + (index === 4_001 ? 9 : 0),
    );
    const lines = linesOf(values);
    expect(lines).toHaveLength(1);
    expect(lines[0]?.length).toBeLessThanOrEqual(801);
    expect(lines[0]?.filter((point) => point.endsWith(',6.0'))).toHaveLength(1);
  });

  test('tells the time of its ends and its middle in the zone of the page', () => {
    const parts = { ...WORDS, at: [0, 60], lines: [{ label: 'a', values: [1, 2] }] };
    expect(timeSeries(parts).html).toContain(
      '<span>1970-01-01 00:00:00</span><span>1970-01-01 00:00:30</span><span>1970-01-01 00:01:00</span>',
    );
    const there = timeSeries({ ...parts, timeZone: 'Asia/Kolkata' }).html;
    expect(there).toContain('<span>1970-01-01 05:30:00</span>');
  });

  test('draws a limit that is near, and only names one that would flatten all lines', () => {
    const withLimit = (at: number) =>
      timeSeries({
        ...WORDS,
        at: [0, 60],
        lines: [{ label: 'a', values: [1, 2] }],
        limits: [{ label: 'the limit', at }],
      });
    expect(withLimit(5).data.limits).toEqual([{ label: 'the limit', at: 5 }]);
    expect(withLimit(5).html).toContain('<line class="limit" x1="0" x2="800" y1="6.0" y2="6.0"/>');
    expect(withLimit(50).data).not.toHaveProperty('limits');
    expect(withLimit(50).html).not.toContain('class="limit"');
    expect(withLimit(50).html).toContain('the limit lies far above');
  });

  test('draws what is usual as a band, and is as high as it', () => {
    const { html } = timeSeries({
      ...WORDS,
      at: [0, 60],
      lines: [{ label: 'a', values: [1, 2] }],
      band: { label: 'recorded', from: 1, to: 4 },
    });
    expect(html).toContain('<rect class="band" x="0" width="800" y="6.0" height="145.5"/>');
  });
});

describe('a band far below the values', () => {
  const far = (top: number) =>
    timeSeries({
      ...WORDS,
      at: [0, 60],
      lines: [{ label: 'a', values: [top / 2, top] }],
      band: { label: 'recorded', from: 1, to: 4 },
    });

  test('is seen beside them, on a logarithmic axis in the picture and for the script', () => {
    const height = (html: string) => Number(/<rect class="band" x[^>]*height="([\d.]+)"/.exec(html)?.[1]);
    expect(far(39).data).not.toHaveProperty('from');
    expect(far(4_000).data.from).toBe(0.1);
    expect(height(far(4_000).html)).toBeGreaterThan(20);
    // The greatest value stays in the picture.
    expect(far(4_000).html).toMatch(/<polyline class="one" points="0,[\d.]+ 800,(?:[0-9]|1\d)\./);
    expect(far(4_000).html).toContain('>1 s</text>');
  });
});

describe('what pages do not draw', () => {
  test('a map without any value, and lines of a single time', () => {
    const grid = { rows: ['a'], columns: ['b'], text: String, description: 'd' };
    expect(heatMap({ ...grid, values: [null] })).toBe('');
    expect(heatMap({ ...grid, values: [0] })).toBe('');
    const line = { ...WORDS, isShown: true, lines: [{ label: 'a', values: [1] }] };
    expect(drawnSeries([line], [0])).toEqual([]);
  });
});

describe('dispersion', () => {
  const idc = (value: number | null) => ({ '0.1': value, '1': 1, '10': null, '60': null, '600': null });

  test('of all streams lies on one scale, so that equal values lie at one place', () => {
    const streams = [
      { name: 'recorded', idc: idc(100) },
      { name: 'sent', idc: idc(2) },
    ];
    const drawn = dispersionFigure(streams, '');
    const xs = [...drawn.matchAll(/cx="([\d.]+)%"/g)].map(([, x]) => Number(x));
    expect(xs).toHaveLength(4);
    expect(xs[2]).toBe(xs[3]);
    expect(xs[0]).toBeGreaterThan(xs[1] ?? 0);
  });

  test('is not drawn where fewer than two windows are known', () => {
    expect(dispersionFigure([{ name: 'sent', idc: { ...idc(null), '1': null } }], '')).toBe('');
    expect(dispersionFigure([{ name: 'sent', idc: idc(null) }], '')).toBe('');
  });
});

describe('ratios', () => {
  const metric = (ratio: number, interval: [number, number]) => ({
    ...{
      name: 'latency_p50',
      unit: 'ms' as const,
      a: 10,
      b: 10 * ratio,
      ratio,
      interval,
      interval90: interval,
    },
    ratioLessLag: null,
    difference: null,
    shift: ratio,
    windows: 20,
    blindWindows: 0,
    pairs: 2_000,
    verdict: 'worse' as const,
    doubt: null,
    required: true,
    pairsNeeded: null,
  });
  const placesOf = (drawn: string, name: string) =>
    [...drawn.matchAll(new RegExp(`${name}="([\\d.]+)%"`, 'g'))].map(([, place]) => Number(place));

  test('lie about no change in the middle, and the picture is as wide as the widest interval', () => {
    const drawn = ratioPlot([metric(1.1, [1.02, 1.18])], 0.05);
    const [centre] = placesOf(drawn, 'cx');
    expect(centre).toBeGreaterThan(50);
    expect(centre).toBeLessThan(95);
    expect(drawn).toContain('latency p50: 10 % slower (worse)');
    expect(drawn).not.toContain('class="arrow"');
  });

  test('that leave the picture end in an arrow at its edge', () => {
    const drawn = ratioPlot([metric(3, [1.2, 9])], 0.05);
    expect(drawn.match(/class="arrow" x="95.00%"/g)).toHaveLength(1);
    for (const place of placesOf(drawn, 'x[12]')) expect(place).toBeLessThanOrEqual(95);
  });

  test('are not drawn without intervals', () => {
    expect(ratioPlot([{ ...metric(1, [1, 1]), interval: null }], 0.05)).toBe('');
  });
});

describe('a ratio', () => {
  test.each([
    [1.07, '7 % slower'],
    [1 / 1.07, '6.5 % faster'],
    [0.4, '2.5x as fast'],
    [1.18, '18 % slower'],
    [1.0004, 'as fast'],
    [3.038, '3.04x as slow'],
  ])('is read in its direction: %d', (ratio, text) => {
    expect(timesText(ratio)).toBe(text);
  });
});
