import { describe, expect, test } from 'vitest';
import { timeSeries } from '../../../src/analysis/render/charts.ts';

const WORDS = { id: 'x', title: 'T', unit: 'ms', source: 's', lookFor: 'l' };

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

  test('names the ends to the second where the whole is short', () => {
    const { html } = timeSeries({ ...WORDS, at: [0, 59], lines: [{ label: 'a', values: [1, 2] }] });
    expect(html).toContain('1970-01-01 00:00:59 UTC');
    const long = timeSeries({ ...WORDS, at: [0, 7_200], lines: [{ label: 'a', values: [1, 2] }] });
    expect(long.html).toContain('<span>1970-01-01 02:00 UTC</span>');
  });
});
