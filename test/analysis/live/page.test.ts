import { expect, test } from 'vitest';
import { type LiveChart, type LiveView, livePage, livePolicy } from '../../../src/analysis/live/page.ts';

const ASSETS = { script: 'let a;', style: 'p{}' };
const VIEW: LiveView = {
  title: 'Replay',
  state: 'RUN',
  tone: 'good',
  badge: 'sending',
  why: '',
  about: ['</main><script>alert(1)</script>'],
  facts: [['in flight', 'in-flight', '7']],
  charts: [],
  tables: [{ key: 't', title: 'T', columns: ['a'], rows: [['<b>']] }],
};

function chart(values: readonly (number | null)[], limits: LiveChart['limits'] = []): string {
  const one = { key: 'c', caption: 'C', lines: [{ label: 'l', values }], limits, text: String };
  return livePage({ ...VIEW, charts: [one] }, ASSETS);
}

test('nothing that was recorded becomes part of the page', () => {
  const html = livePage(VIEW, ASSETS);
  expect(html.match(/<script/g)).toHaveLength(1);
  expect(html).toContain('&#60;b&#62;');
});

test('the policy allows this script and this style, and questions to where the page came from', () => {
  expect(livePolicy(ASSETS)).toMatch(
    /^default-src 'none'; style-src 'sha256-\S+'; script-src 'sha256-\S+'; connect-src 'self'; frame-ancestors 'none'/,
  );
});

test('a page without a script loads itself again, and says so', () => {
  const html = livePage(VIEW, ASSETS);
  expect(html).toContain('<noscript><meta http-equiv="refresh" content="5"></noscript>');
  expect(html).toContain('<noscript><p>JavaScript is off');
});

test('the newest value lies at the right end, and what is not known interrupts the line', () => {
  const html = chart([...Array.from({ length: 58 }, () => 2), null, 4]);
  const points = [...html.matchAll(/points="([^"]*)"/g)].map(([, each]) => each);
  expect(points).toHaveLength(2);
  expect(points[0]).toMatch(/^-5\.1,62\.0 0\.0,62\.0 .* 579\.7,62\.0$/);
  expect(points[1]).toBe('594.9,6.0 600.0,6.0');
  expect(html).toContain('Top: 4.');
});

test('a limit above all values is still in the picture', () => {
  expect(chart([1], [{ label: 'p(95)<10', at: 10 }])).toContain('<line x1="0" x2="600" y1="6.0" y2="6.0"/>');
});

test('a chart without a value has no top', () => {
  expect(chart([null])).toContain('Top: –.');
});
