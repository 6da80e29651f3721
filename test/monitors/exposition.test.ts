import { expect, test } from 'vitest';
import { parseExposition } from '../../src/monitors/metrics-scrape.ts';

test('reads names, labels, values and timestamps as the text format has them', () => {
  const text = [
    '# HELP http_requests_total The total number of HTTP requests.',
    '# TYPE http_requests_total counter',
    'http_requests_total{method="post",code="200"} 1027 1395066363000',
    'msdos_file_access_time_seconds{path="C:\\\\DIR\\\\FILE.TXT",error="Cannot find file:\\n\\"FILE.TXT\\""} 1.458255915e9',
    'metric_without_timestamp_and_labels 12.47',
    'something_weird{problem="division by zero"} +Inf -3982045',
    ':tensorflow:serving:request_count{a="x, y}",} 3',
    'empty_labels{} NaN',
    '',
  ].join('\n');
  const { samples, malformed } = parseExposition(text);
  expect(malformed).toBe(0);
  expect(samples).toEqual([
    {
      name: 'http_requests_total',
      labels: { method: 'post', code: '200' },
      value: 1027,
      timestampMs: 1395066363000,
    },
    {
      name: 'msdos_file_access_time_seconds',
      labels: { path: 'C:\\DIR\\FILE.TXT', error: 'Cannot find file:\n"FILE.TXT"' },
      value: 1.458255915e9,
      timestampMs: null,
    },
    { name: 'metric_without_timestamp_and_labels', labels: {}, value: 12.47, timestampMs: null },
    {
      name: 'something_weird',
      labels: { problem: 'division by zero' },
      value: Number.POSITIVE_INFINITY,
      timestampMs: -3982045,
    },
    { name: ':tensorflow:serving:request_count', labels: { a: 'x, y}' }, value: 3, timestampMs: null },
    { name: 'empty_labels', labels: {}, value: Number.NaN, timestampMs: null },
  ]);
});

test('reads OpenMetrics: seconds, exemplars and the end of the text', () => {
  const text = 'foo_bucket{le="0.1"} 8 # {id="a"} 0.07 1520879607.789\nfoo_total 17.0 1520879607.5\n# EOF\n';
  expect(parseExposition(text, () => true, true)).toEqual({
    samples: [
      { name: 'foo_bucket', labels: { le: '0.1' }, value: 8, timestampMs: null },
      { name: 'foo_total', labels: {}, value: 17, timestampMs: 1520879607500 },
    ],
    unknown: 0,
    malformed: 0,
  });
});

test('counts the names that nobody wants, and the parts of a histogram as one', () => {
  const text = 'a_bucket{le="1"} 1\na_bucket{le="2"} 2\na_sum 3\na_count 2\nb 1\nc 2\n';
  const { samples, unknown } = parseExposition(text, (name) => name === 'c');
  expect({ names: samples.map(({ name }) => name), unknown }).toEqual({ names: ['c'], unknown: 2 });
});

test.each([
  ['a page', '<!doctype html>\n<html><body>no</body></html>'],
  ['JSON', '{"error":"no"}'],
  ['a word', 'ok'],
  ['an unclosed label', 'a{b="c 1'],
  ['a word for a value', 'a{b="c"} fine'],
])('finds nothing in %s', (_, text) => {
  const { samples, malformed } = parseExposition(text);
  expect(samples).toEqual([]);
  expect(malformed).toBeGreaterThan(0);
});
